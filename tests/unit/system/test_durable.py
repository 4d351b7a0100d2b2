import ctypes
import errno
import os
from pathlib import Path

import pytest

from ckpt_tier.errors import ConflictError, NoSpaceError
from ckpt_tier.system import durable
from ckpt_tier.system.durable import (
    fsync_file,
    fsync_folder,
    make_folders,
    out_of_space_is_said,
    publish,
    rename_no_replace,
    write_atomic,
)


def test_an_atomic_write_replaces_the_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, b"one", mode=0o600)
    write_atomic(target, b"two", durable=False)
    assert target.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_finds_no_space_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpaceError, match="no space left"):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_other_failures_of_a_write_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "file", b"new")
    with pytest.raises(ValueError, match="mine"), out_of_space_is_said(tmp_path):
        raise ValueError("mine")


def without_renameat2(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    class Libc:
        @staticmethod
        def renameat2(*_: object) -> int:
            ctypes.set_errno(code)
            return -1

    monkeypatch.setattr(durable, "_libc", Libc)


@pytest.mark.parametrize("fallback", [False, True])
def test_a_rename_never_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fallback: bool) -> None:
    if fallback:
        without_renameat2(monkeypatch, errno.EINVAL)
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("one")
    rename_no_replace(one, two)
    assert (two.read_text(), one.exists()) == ("one", False)
    one.write_text("other")
    with pytest.raises(FileExistsError):
        rename_no_replace(one, two)
    assert (one.read_text(), two.read_text()) == ("other", "one")


def test_a_rename_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rename_no_replace(tmp_path / "nothing", tmp_path / "target")


def test_a_folder_is_renamed_and_never_merged(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with pytest.raises(FileExistsError):
        rename_no_replace(tmp_path / "one", tmp_path / "two")


def test_publishing_over_a_file_is_a_conflict(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    publish(tmp_path / "new", tmp_path / "target")
    (tmp_path / "new").write_text("newer")
    with pytest.raises(ConflictError, match="already there"):
        publish(tmp_path / "new", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "new"


def test_folders_are_made_down_from_a_root_that_is_there(tmp_path: Path) -> None:
    make_folders(tmp_path / "a" / "b", tmp_path)
    make_folders(tmp_path / "a" / "b" / "c", tmp_path)
    make_folders(tmp_path, tmp_path)
    assert (tmp_path / "a" / "b" / "c").is_dir()


@pytest.mark.parametrize(("code", "fails"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_flushed_is_passed_over_and_a_disk_error_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fails: bool
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    if fails:
        with pytest.raises(OSError, match="Input/output"):
            fsync_folder(tmp_path)
    else:
        fsync_folder(tmp_path)


def test_a_failed_flush_of_a_file_is_never_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    fsync_file(tmp_path / "file")

    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no"):
        fsync_file(tmp_path / "file")
