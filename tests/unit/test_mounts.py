"""Which mount a path lies on, found without touching it."""

import os
from pathlib import Path

import pytest

from ckpt_tier.system import mounts
from ckpt_tier.system.mounts import device_of, mount_of

TABLE = r"""22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:41 / /mnt/nas rw,relatime shared:2 master:3 - nfs4 server:/export rw,hard
41 22 0:42 / /mnt/my\040nas rw - cifs //server/share rw
42 22 8:17 / /mnt/disk rw - xfs /dev/sdb1 rw
43 42 0:43 / /mnt/disk/fast rw - lustre mgs@tcp:/fs rw
44 22 0:44 / /net rw - autofs /etc/auto.net rw
45 22 0:45 / /home/me/s3 rw - fuse.sshfs me@host: rw
46 22 0:46 / /run/new rw - a-file-system-nobody-knows none rw
47 22 0:47 / /covered rw - nfs server:/old rw
48 47 8:18 / /covered rw - ext4 /dev/sdc rw"""


@pytest.mark.parametrize(
    ("path", "point", "hangs"),
    [
        ("/", "/", False),
        ("/mnt", "/", False),
        ("/mnt/nas", "/mnt/nas", True),
        ("/mnt/nas/ckpt/swelu", "/mnt/nas", True),
        ("/mnt/nas2/ckpt", "/", False),
        ("/mnt/my nas/x", "/mnt/my nas", True),
        ("/mnt/disk/x", "/mnt/disk", False),
        ("/mnt/disk/fast/x", "/mnt/disk/fast", True),
        ("/mnt/disk/../nas/x", "/mnt/nas", True),
        ("/net/server/export", "/net", True),
        ("/home/me/s3", "/home/me/s3", True),
        ("/run/new/x", "/run/new", True),
        ("/covered/x", "/covered", False),
    ],
)
def test_a_path_lies_on_the_deepest_mount_above_it(path: str, point: str, hangs: bool) -> None:
    mount = mount_of(Path(path), TABLE)
    assert (str(mount.point), mount.may_hang) == (point, hangs)


def test_a_mount_has_its_number_and_device() -> None:
    mount = mount_of(Path("/mnt/nas"), TABLE)
    assert (mount.id, mount.device, mount.kind) == (40, os.makedev(0, 41), "nfs4")
    assert mount_of(Path("/covered"), TABLE).id == 48


def test_nothing_on_a_mount_that_may_hang_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def readlink(path: Path) -> str:
        looked_at.append(str(path))
        raise OSError

    monkeypatch.setattr(mounts.os, "readlink", readlink)
    mount_of(Path("/mnt/nas/a/b"), TABLE)
    assert looked_at == ["/mnt"]


def test_links_that_lead_to_a_mount_are_followed(tmp_path: Path) -> None:
    table = f"1 0 254:1 / / rw - ext4 x rw\n2 1 0:9 / {tmp_path}/real/nas rw - nfs s:/x rw"
    (tmp_path / "real").mkdir()
    (tmp_path / "absolute").symlink_to(tmp_path / "real" / "nas")
    (tmp_path / "relative").symlink_to("real/../real/nas/deep")
    (tmp_path / "chain").symlink_to("absolute")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("absolute", "relative", "chain", "chain/x"):
        assert mount_of(tmp_path / name, table).may_hang, name
    assert not mount_of(tmp_path / "circle", table).may_hang


def test_without_a_table_a_path_may_hang_for_all_we_know() -> None:
    assert mount_of(Path("/anything"), "").may_hang


def test_the_device_is_the_file_systems_own(tmp_path: Path) -> None:
    assert device_of(tmp_path) == tmp_path.stat().st_dev
    assert device_of(tmp_path / "not" / "there") == tmp_path.stat().st_dev


def test_what_is_no_line_of_the_table_is_passed_over() -> None:
    table = "nonsense\n30 22 0:45 / /mnt/na\\040s rw shared:9 - nfs4 nas:/ex\\040port rw,vers=4.2\n"
    mount = mount_of(Path("/mnt/na s/ckpt"), table)
    assert (mount.point, mount.kind, mount.source) == (Path("/mnt/na s"), "nfs4", "nas:/ex port")
