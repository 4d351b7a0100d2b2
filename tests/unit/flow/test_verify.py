import pytest

from ckpt_tier.errors import CancelledError, MissingKeyError, UnavailableError
from ckpt_tier.flow import verify as verify_module
from ckpt_tier.flow.verify import Proved, Verified
from ckpt_tier.operations import Operations
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Blocks
from tests.builders import TwoTiers


@pytest.fixture
def filled(tiers: TwoTiers) -> TwoTiers:
    for step in range(3):
        tiers.write(step)
    tiers.sync()
    return tiers


def verdicts(tiers: TwoTiers, *, read: bool) -> dict[int, Verified]:
    return {each.step: each for each in tiers.operations().verify(read=read)}


def test_what_is_whole_is_proved_present_or_with_reading_proved_right(filled: TwoTiers) -> None:
    for read, proved in ((False, Proved.PRESENCE), (True, Proved.CONTENT)):
        found = verdicts(filled, read=read)
        assert list(found) == [0, 1, 2]
        assert all((each.problem, each.proved) == ("", proved) for each in found.values())
        assert all(each.size_bytes > 1000 for each in found.values())


def test_a_flipped_bit_is_found_by_reading_only_and_a_short_or_missing_object_by_looking(
    filled: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "_STRETCH", 512)
    flipped, short, missing = (
        next((filled.cold / "run" / "0" / "data" / f"{step:012}").rglob("*.pt")) for step in range(3)
    )
    data = bytearray(flipped.read_bytes())
    data[700] ^= 1
    flipped.write_bytes(data)
    short.write_bytes(short.read_bytes()[:-1])
    missing.unlink()
    looked = {step: each.problem for step, each in verdicts(filled, read=False).items()}
    assert looked[0] == ""
    assert "bytes, the manifest says" in looked[1]
    assert "is missing" in looked[2]
    assert "another checksum" in verdicts(filled, read=True)[0].problem


def test_a_manifest_that_cannot_be_trusted_is_a_verdict_too(filled: TwoTiers) -> None:
    next((filled.cold / "run" / "0" / "manifests").glob("000000000001.*")).write_bytes(b"{}")
    found = verdicts(filled, read=False)
    assert [step for step, each in found.items() if each.problem] == [1]
    assert found[1].size_bytes == 0


def test_an_object_that_vanishes_between_the_look_and_the_reading_is_missing(filled: TwoTiers) -> None:
    class Vanishing(FolderStore):
        def read(self, key: str, offset: int, length: int) -> Blocks:
            raise MissingKeyError("gone")

    found = list(Operations(filled.wiring(Vanishing(filled.cold))).verify(read=True))
    assert all("is missing" in each.problem for each in found)


def test_a_cold_tier_that_is_away_is_not_damage(filled: TwoTiers) -> None:
    class Away(FolderStore):
        def read(self, key: str, offset: int, length: int) -> Blocks:
            raise UnavailableError("away")

    with pytest.raises(UnavailableError, match="away"):
        list(Operations(filled.wiring(Away(filled.cold))).verify(read=True))


def test_only_the_step_asked_for_is_verified(filled: TwoTiers) -> None:
    assert [each.step for each in filled.operations().verify("0", 1, read=False)] == [1]


@pytest.mark.parametrize("read", [False, True])
def test_whoever_is_asked_to_stop_looks_at_no_other_checkpoint(filled: TwoTiers, read: bool) -> None:
    found = filled.operations().verify(read=read)
    filled.clock.cancelled = True
    with pytest.raises(CancelledError):
        list(found)


def test_whoever_is_asked_to_stop_asks_for_no_other_stretch(filled: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Watched(FolderStore):
        def read(self, key: str, offset: int, length: int) -> Blocks:
            asked.append(key)
            filled.clock.cancelled = True
            return super().read(key, offset, length)

    monkeypatch.setattr(verify_module, "_STRETCH", 512)
    with pytest.raises(CancelledError):
        list(Operations(filled.wiring(Watched(filled.cold))).verify("0", 1, read=True))
    assert len(asked) == 1
