"""Pins: the name counts, whatever the object says."""

from pathlib import Path

from ckpt_tier.cold.cache import ManifestCache
from ckpt_tier.cold.manifests import Manifests
from ckpt_tier.cold.pins import Pin, list_pins, read_pins, remove_pin, write_pin
from tests.stores import folder_store


def test_a_pin_that_can_not_be_read_pins_all_the_same_and_other_names_are_none(tmp_path: Path) -> None:
    store = folder_store(tmp_path / "cold")
    manifests = Manifests(store, "run", ManifestCache(tmp_path / "cache"))
    write_pin(manifests, Pin(series="0", step=1, pinned_at="2026-01-01T00:00:00Z", reason="the paper"))
    write_pin(manifests, Pin(series="0", step=2, pinned_at="2026-01-01T00:00:00Z"))
    store.put("run/0/pins/000000000003.json", b"not json")
    store.put("run/0/pins/notes.txt", b"not a pin")
    assert read_pins(manifests, ["0", "1"]) == {
        ("0", 1): "pinned: the paper",
        ("0", 2): "pinned",
        ("0", 3): "pinned",
    }
    remove_pin(manifests, "0", 3)
    remove_pin(manifests, "0", 3)
    assert list_pins(manifests, ["0"]) == {("0", 1), ("0", 2)}
