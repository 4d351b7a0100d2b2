"""The edges of taking up and sending that a whole pass seldom meets."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ckpt_tier.core.events import Changed
from ckpt_tier.core.states import State
from ckpt_tier.errors import ConfigError, SourceChangedError
from ckpt_tier.flow.ingest import locate, set_aside, take_up
from ckpt_tier.flow.meter import Bandwidth
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.upload import manifest_of, upload
from ckpt_tier.hot.scan import stamp_in
from ckpt_tier.journal.saves import Save, SavedFile
from tests.builders import TwoTiers, checkpoint


@pytest.fixture
def parts(tiers: TwoTiers) -> Iterator[Parts]:
    with tiers.parts() as parts:
        yield parts


def found(tiers: TwoTiers, step: int = 1, link: str | None = None, **fields: object) -> Save:
    """The row of a file that is on disk, as scanning would make it."""
    path = tiers.write(step)
    status = path.stat()
    plain = Save(
        series="0",
        step=step,
        path=path.relative_to(tiers.hot).as_posix(),
        stamp=stamp_in(status),
        files=(SavedFile(path=path.relative_to(tiers.hot).as_posix(), stamp=stamp_in(status), link=link),),
        saved_at=status.st_mtime,
    )
    return msgspec.structs.replace(plain, **fields)


def test_the_bytes_are_found_under_their_name_else_under_the_hooks_link(tiers: TwoTiers, parts: Parts) -> None:
    [file] = found(tiers, link="link").files
    assert locate(parts, file) == tiers.path(1)
    parts.inbox.unsent.mkdir(parents=True)
    (parts.inbox.unsent / "link").hardlink_to(tiers.path(1))
    tiers.path(1).unlink()
    assert locate(parts, file) == parts.inbox.unsent / "link"
    (parts.inbox.unsent / "link").unlink()
    with pytest.raises(SourceChangedError):
        locate(parts, file)


def test_another_content_under_the_name_is_not_the_save(tiers: TwoTiers, parts: Parts) -> None:
    save = found(tiers)
    os.utime(tiers.path(1), (5, 5))
    assert take_up(parts, save) is None
    assert tiers.happened(Changed)
    assert parts.journal.saves() == []


def test_a_validated_row_holds_all_that_the_upload_needs(tiers: TwoTiers, parts: Parts) -> None:
    row = take_up(parts, found(tiers))
    assert row is not None
    assert row.state is State.VALIDATED
    [file] = row.files
    assert file.digest is not None
    assert file.pieces is not None
    assert row.findings is not None
    assert file.digest.size == len(checkpoint(1))
    assert manifest_of(parts, row) == manifest_of(parts, row), "the same row always gives the same manifest"
    assert upload(parts, row, Bandwidth(None, tiers.clock)).state is State.UPLOADED


def test_what_was_not_validated_is_not_sent(tiers: TwoTiers, parts: Parts) -> None:
    row = take_up(parts, found(tiers))
    assert row is not None
    [file] = row.files
    for missing in (
        {"files": (msgspec.structs.replace(file, digest=None),)},
        {"findings": None},
        {"files": (msgspec.structs.replace(file, pieces=None),)},
    ):
        with pytest.raises(SourceChangedError, match="has not been validated"):
            upload(parts, msgspec.structs.replace(row, **missing), Bandwidth(None, tiers.clock))
    assert list(tiers.objects()) == ["run/run.json"]


def test_a_file_that_vanishes_while_it_is_looked_at_is_looked_at_again(
    tiers: TwoTiers, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ckpt_tier.flow import ingest

    def vanish(path: Path) -> bool:
        path.unlink()
        raise FileNotFoundError(2, "gone", str(path))

    monkeypatch.setattr(ingest, "is_open_for_writing", vanish)
    assert take_up(parts, found(tiers)) is None


def test_a_rejected_file_that_is_gone_by_now_needs_no_place(tiers: TwoTiers, parts: Parts) -> None:
    save = parts.journal.put(found(tiers, state=State.REJECTED))
    tiers.path(1).unlink()
    set_aside(parts, save)
    assert parts.journal.saves() == [save]


def test_a_validator_that_is_broken_stops_the_pass_as_a_configuration_does(tiers: TwoTiers) -> None:
    tiers.set(validate={"custom": "no_such_module_anywhere:check"})
    tiers.write(1)
    with pytest.raises(ConfigError):
        tiers.sync()
    assert tiers.cold_steps() == []
