"""The documents of `--json` fit the schemas in docs/, which tests/unit/test_docs_are_fresh.py keeps fresh."""

import json
from typing import Any

import jsonschema
import pytest

from tests.cli.ground import ROOT, Ground

SCHEMAS = ROOT / "docs/schemas"


def fits(document: Any, name: str) -> bool:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    return bool(document["schema"] == schema["properties"]["schema"]["const"])


def test_every_document_fits_its_schema(ground: Ground) -> None:
    for step in (0, 1000, 2000):
        ground.save(step)
    ground.save(3000).write_bytes(b"cut")
    assert fits(ground.run("sync", "--dry-run", "--json").document, "sync-plan")
    synced = ground.run("sync", "--json", code=9)
    assert fits(synced.document, "sync")
    assert fits(synced.error, "error")
    assert fits(ground.run("list", "--json").document, "list")
    assert fits(ground.run("status", "--json", code=9).document, "status")
    assert fits(ground.run("verify", "--json").document, "verify")
    assert fits(ground.run("restore", "--latest", "--json").document, "restore")
    assert fits(ground.run("pin", "0", "--reason", "why", "--json").document, "pin")
    assert fits(ground.run("unpin", "0", "--json").document, "unpin")
    assert fits(ground.run("annotate", "0", "loss=1.83", "--json").document, "annotate")
    assert fits(ground.run("pin", "--best", "loss", "--json").document, "pin")
    assert fits(ground.run("unpin", "0", "--json").document, "unpin")
    assert fits(ground.run("prune", "--yes", "--json").document, "prune")
    assert fits(ground.run("prune", "--tier", "hot", "--dry-run", "--json").document, "prune")
    assert fits(ground.run("sync", "--dismiss", "all", "--json").document, "dismissed")
    assert fits(ground.run("estimate", "--price", "0.023", "--json").document, "estimate")
    initialised = ground.run("init", "hot", str(ground.cold), "--same-device", "--force", "--json")
    assert fits(initialised.document, "init")


def test_a_document_without_a_field_does_not_fit(ground: Ground) -> None:
    document = ground.run("list", "--json").document
    del document["run"]
    with pytest.raises(jsonschema.ValidationError):
        fits(document, "list")
