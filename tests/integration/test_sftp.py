"""A cold tier over SFTP, against a real server on loopback: what goes wrong on the way, and the commands end to end."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt_tier.errors import (
    AccessDeniedError,
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    UnavailableError,
)
from ckpt_tier.store.fsspec_store import FsspecStore
from tests.cli.ground import Ground
from tests.sftp import Sftp
from tests.stores import Counter, fsspec_store, source_of

MakeFile = Callable[[bytes], Path]
SIZE = 3 * 2**20 + 1
KEY = "data/x.pt"


@pytest.fixture
def root(sftp: Sftp, tmp_path: Path) -> Path:
    """The store's folder on the server."""
    folder = sftp.root / tmp_path.name
    folder.mkdir()
    return folder


@pytest.fixture
def store(sftp: Sftp, root: Path) -> FsspecStore:
    return fsspec_store(sftp.url(root.name))


def files(root: Path) -> list[str]:
    """All files on the server's disk, hidden ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def visible(store: FsspecStore) -> list[str]:
    return [entry.key for entry in store.list("")]


def written(path: Path) -> int:
    """Bytes of a file that may be gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


# What goes wrong on the way


def test_a_connection_cut_in_the_middle_of_an_upload_leaves_nothing_visible_and_the_next_one_cleans_up(
    sftp: Sftp, store: FsspecStore, root: Path, make_file: MakeFile
) -> None:
    data = os.urandom(SIZE)
    source = source_of(make_file(data))
    sftp.trouble.cut_after = SIZE // 2
    with pytest.raises(UnavailableError):
        store.upload(KEY, source, Counter())
    assert visible(store) == []
    with pytest.raises(MissingKeyError):
        store.stat(KEY)
    [left] = files(root)
    assert left.startswith(".ckpt-tier/")
    store.upload(KEY, source, Counter())
    assert files(root) == [KEY]
    assert (root / KEY).read_bytes() == data


@pytest.mark.parametrize("trouble", ["lose_from", "flip_at"])
def test_what_the_server_lost_or_changed_is_found_by_reading_back_and_never_visible(
    sftp: Sftp, store: FsspecStore, root: Path, make_file: MakeFile, trouble: str
) -> None:
    source = source_of(make_file(os.urandom(SIZE)))
    setattr(sftp.trouble, trouble, SIZE - 100)
    with pytest.raises(UnavailableError if trouble == "lose_from" else IntegrityError):
        store.upload(KEY, source, Counter())
    assert files(root) == []
    setattr(sftp.trouble, trouble, None)
    store.upload(KEY, source, Counter())
    assert files(root) == [KEY]


def test_a_last_block_that_became_zeros_is_found_by_reading_back(
    sftp: Sftp, store: FsspecStore, root: Path, make_file: MakeFile
) -> None:
    """As a server's crash leaves it: the size is right, the bytes are not."""
    source = source_of(make_file(os.urandom(SIZE)))
    sftp.trouble.zero_from = SIZE - 100
    with pytest.raises(IntegrityError, match="other bytes"):
        store.upload(KEY, source, Counter())
    assert files(root) == []


@pytest.mark.parametrize("trouble", ["lose_from", "flip_at"])
def test_a_small_object_is_read_back_too(sftp: Sftp, store: FsspecStore, root: Path, trouble: str) -> None:
    setattr(sftp.trouble, trouble, 3)
    with pytest.raises((IntegrityError, UnavailableError)):
        store.put("manifest", b"0123456789", if_absent=True)
    assert files(root) == []


def test_an_object_that_appears_just_before_the_move_is_not_replaced(
    sftp: Sftp, store: FsspecStore, root: Path, make_file: MakeFile
) -> None:
    def another_machine() -> None:
        (root / KEY).write_bytes(b"another machine's")

    sftp.trouble.on_rename = another_machine
    with pytest.raises(KeyExistsError):
        store.upload(KEY, source_of(make_file(b"ours")), Counter())
    with pytest.raises(KeyExistsError):
        store.put(KEY, b"ours", if_absent=True)
    assert files(root) == [KEY]
    assert (root / KEY).read_bytes() == b"another machine's"


def test_a_folder_that_another_machines_delete_removes_before_the_move_is_made_again(
    sftp: Sftp, store: FsspecStore, root: Path, make_file: MakeFile
) -> None:
    times = iter((True, True))

    def another_machine() -> None:
        if next(times, False):
            (root / KEY).parent.rmdir()

    sftp.trouble.on_rename = another_machine
    store.upload(KEY, source_of(make_file(b"ours")), Counter())
    assert files(root) == [KEY]


def test_a_hidden_file_that_somebody_removes_before_the_move_is_written_anew(
    sftp: Sftp, store: FsspecStore, root: Path, make_file: MakeFile
) -> None:
    source = source_of(make_file(b"ours"))

    def another_process() -> None:
        for hidden in (root / ".ckpt-tier").iterdir():
            hidden.unlink()

    sftp.trouble.on_rename = another_process
    with pytest.raises(UnavailableError, match="got no name"):
        store.upload(KEY, source, Counter())
    assert files(root) == []
    sftp.trouble.on_rename = lambda: None
    store.upload(KEY, source, Counter())
    assert files(root) == [KEY]


def test_the_same_object_that_another_machine_finished_meanwhile_is_success(
    sftp: Sftp, store: FsspecStore, root: Path, make_file: MakeFile
) -> None:
    sftp.trouble.on_rename = lambda: (root / KEY).write_bytes(b"the same") and None
    store.upload(KEY, source_of(make_file(b"the same")), Counter())
    assert files(root) == [KEY]


def test_a_server_whose_rename_replaces_is_found_out(sftp: Sftp, store: FsspecStore, root: Path) -> None:
    sftp.trouble.rename_replaces = True
    assert not store.capabilities().conditional_put
    assert files(root) == []
    store.put("once", b"first", if_absent=True)
    with pytest.raises(KeyExistsError):  # then by looking first
        store.put("once", b"second", if_absent=True)


def test_a_server_that_was_away_is_used_again(sftp: Sftp, store: FsspecStore) -> None:
    store.put("a", b"x")
    sftp.disconnect()
    with pytest.raises(UnavailableError):
        store.stat("a")
    assert store.get("a", 1) == b"x"


def test_a_server_that_hangs_is_not_waited_for_for_ever(
    sftp: Sftp, store: FsspecStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckpt_tier.store.sftp.SECONDS", 1)
    store.put("a", b"x")
    sftp.trouble.hung.set()
    try:
        with pytest.raises(UnavailableError, match=r"[Tt]ime"):
            store.get("a", 1)
    finally:
        sftp.trouble.hung.clear()
    assert store.get("a", 1) == b"x"


def test_hidden_files_of_others_are_removed_when_they_are_a_day_old(
    store: FsspecStore, root: Path, make_file: MakeFile
) -> None:
    hidden = root / ".ckpt-tier"
    hidden.mkdir()
    for name, age in (("old", 90_000), ("young", 80_000)):
        (hidden / name).write_bytes(b"x")
        then = time.time() - age
        os.utime(hidden / name, (then, then))
    store.upload(KEY, source_of(make_file(b"x")), Counter())
    assert files(root) == [".ckpt-tier/young", KEY]


def test_a_folder_that_is_missing_on_the_server_is_neither_made_nor_taken_for_an_empty_one(
    sftp: Sftp, make_file: MakeFile
) -> None:
    store = fsspec_store(sftp.url("not/mounted"))
    for call in (
        lambda: visible(store),
        lambda: store.folders(""),
        lambda: store.put("a", b""),
        lambda: store.upload("a", source_of(make_file(b"x")), Counter()),
    ):
        with pytest.raises(UnavailableError, match="is not there"):
            call()
    assert not (sftp.root / "not").exists()


def test_links_on_the_server_are_not_listed(store: FsspecStore, root: Path) -> None:
    store.put("a/b", b"x")
    (root / "loop").symlink_to(root)
    (root / "link").symlink_to(root / "a/b")
    assert visible(store) == ["a/b"]
    assert list(store.folders("")) == ["a"]


def test_a_file_that_may_not_be_read_is_an_access_error(sftp: Sftp, store: FsspecStore) -> None:
    store.put("a", b"x")
    sftp.trouble.denied = True
    with pytest.raises(AccessDeniedError):
        store.get("a", 1)


# Who is who


def test_an_unknown_server_is_refused_and_the_way_to_know_it_is_said(
    sftp: Sftp, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path.home() / ".ssh", tmp_path / ".ssh")
    (tmp_path / ".ssh/known_hosts").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AccessDeniedError, match="not known") as caught:
        fsspec_store(sftp.url(root.name)).stat("a")
    assert f"ssh-keyscan -p {sftp.port} 127.0.0.1 >> ~/.ssh/known_hosts" in caught.value.fix


def test_a_server_with_another_key_than_the_known_one_is_refused(
    sftp: Sftp, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path.home() / ".ssh", tmp_path / ".ssh")
    import paramiko

    other = paramiko.ECDSAKey.generate()
    line = f"[127.0.0.1]:{sftp.port} {other.get_name()} {other.get_base64()}\n"
    (tmp_path / ".ssh/known_hosts").write_text(line)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AccessDeniedError, match="BadHostKey"):
        fsspec_store(sftp.url(root.name)).stat("a")


def test_a_refused_login_is_an_access_error(sftp: Sftp, root: Path) -> None:
    url = sftp.url(root.name).replace("trainer@", "somebody@")
    with pytest.raises(AccessDeniedError, match="Authentication"):
        fsspec_store(url).stat("a")


def test_the_ssh_configuration_gives_what_the_url_leaves_out(
    sftp: Sftp, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / ".ssh"
    shutil.copytree(Path.home() / ".ssh", ssh)
    (ssh / "id_ecdsa").rename(ssh / "for-the-archive")
    lines = (
        "Host archive",
        "HostName 127.0.0.1",
        f"Port {sftp.port}",
        "User trainer",
        f"IdentityFile {ssh}/for-the-archive",
    )
    (ssh / "config").write_text("\n".join(lines))
    monkeypatch.setenv("HOME", str(tmp_path))
    store = fsspec_store(f"sftp://archive/{root.name}")
    store.put("a", b"x")
    assert files(root) == ["a"]


def test_nobody_at_the_port_is_unavailable(sftp: Sftp) -> None:
    with pytest.raises(UnavailableError):
        fsspec_store(f"sftp://127.0.0.1:{sftp.port + 1}/x").stat("a")


# The commands


@pytest.fixture
def ground(tmp_path: Path, sftp: Sftp, root: Path) -> Ground:
    """A hot folder of checkpoints, not set up yet; commands run at a home that knows the server."""
    ground = Ground(tmp_path)
    shutil.copytree(Path.home() / ".ssh", tmp_path / ".ssh")
    ground.config.unlink()
    return ground


def test_init_sync_verify_and_restore_over_sftp(ground: Ground, sftp: Sftp, root: Path) -> None:
    saved = {step: ground.save(step, size=100_000).read_bytes() for step in (1, 2, 3)}
    said = ground.run("init", "hot", sftp.url(root.name), "--run", "swelu", "--keep-last", "1").out
    assert "read back" in said
    assert "PASSWORD" not in ground.config.read_text().upper()
    ground.config.write_text(ground.config.read_text().replace("[hot]", '[hot]\nsettle = "0s"'))
    ground.run("sync")
    assert [path.name for path in ground.hot.rglob("*.safetensors")] == ["model_step_3.safetensors"]
    verified = ground.run("verify", "--read", "--json").document
    assert verified["schema"] == "ckpt-tier/verify/1"
    ground.run("restore", "--step", "1", "--to", "back")
    [back] = (ground.root / "back").rglob("*.safetensors")
    assert back.read_bytes() == saved[1]
    assert not list((root / ".ckpt-tier").iterdir())
    [damaged] = root.glob("swelu/main/data/000000000002/*/*/*.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    ground.run("verify", code=0)
    ground.run("verify", "--read", code=5)


def test_a_killed_sync_leaves_nothing_visible_and_the_next_one_finishes(ground: Ground, sftp: Sftp, root: Path) -> None:
    ground.save(1, size=30_000_000)
    ground.run("init", "hot", sftp.url(root.name), "--run", "swelu")
    ground.config.write_text(ground.config.read_text().replace("[hot]", '[hot]\nsettle = "0s"'))
    process = ground.start("sync")
    hidden = root / ".ckpt-tier"
    # Before the checkpoint, a few bytes are written to try out what the server can do.
    while not any(written(path) > 100_000 for path in hidden.iterdir()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    [left] = hidden.iterdir()
    assert left.stat().st_size < 30_000_000
    assert not list(root.glob("swelu/main/*"))
    ground.run("sync")
    assert len(list(root.glob("swelu/main/manifests/*.json"))) == 1
    assert not list(hidden.iterdir())


def test_a_server_that_is_away_is_exit_code_6_without_a_traceback(ground: Ground, sftp: Sftp, root: Path) -> None:
    ground.save(1)
    result = ground.run("init", "hot", f"sftp://127.0.0.1:{sftp.port + 1}/{root.name}", code=6)
    assert "Traceback" not in result.err
    assert "sftp://127.0.0.1" in result.err
