"""The case that the tool is for: not a single byte is free on the hot tier."""

import os
import subprocess
import sys

import pytest

from tests.cli.ground import Ground

SCRIPT = """
set -e
hot="$1"; shift
mount -t tmpfs -o size=2m none "$hot"
cp -a "$hot-before/." "$hot/"
cat /dev/zero > "$hot/filler" 2>/dev/null || true
test "$(df --output=avail "$hot" | tail -1)" -eq 0
"$@" || echo "exit $?"
ls "$hot"
"""


def test_a_disk_without_a_free_byte_is_emptied_by_one_sync(ground: Ground) -> None:
    for step in range(6):
        ground.save(step * 1000)
    ground.hot.rename(ground.hot.with_name(f"{ground.hot.name}-before"))
    ground.hot.mkdir()
    isolated = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    command = [*isolated, "sh", "-c", SCRIPT, "sh", str(ground.hot)]
    if subprocess.run([*isolated, "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode != 0:
        pytest.skip("no mount namespace for this user")
    done = subprocess.run(
        [*command, sys.executable, "-m", "ckpt_tier", "sync"],
        cwd=ground.root,
        env=ground.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "evicted    4 copies" in done.stdout, done.stdout + done.stderr
    assert "exit" not in done.stdout.split()
    assert "filler" in done.stdout
