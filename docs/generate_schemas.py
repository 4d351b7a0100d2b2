"""docs/json.md and docs/schemas/*.json, from the Structs that are written: see generate.py."""

import functools
import json
from collections.abc import Callable
from typing import Any

import msgspec

from ckpt_tier.cli.documents.doctor import DoctorDocument
from ckpt_tier.cli.documents.error import ErrorDocument
from ckpt_tier.cli.documents.estimate import EstimateDocument
from ckpt_tier.cli.documents.exec import ExecDocument
from ckpt_tier.cli.documents.init import InitDocument
from ckpt_tier.cli.documents.inspect import InspectDocument
from ckpt_tier.cli.documents.list import ListDocument
from ckpt_tier.cli.documents.marks import AbandonDocument, AnnotateDocument, PinDocument, UnpinDocument
from ckpt_tier.cli.documents.prune import PruneDocument
from ckpt_tier.cli.documents.recover import RecoverDocument
from ckpt_tier.cli.documents.restore import RestoreDocument
from ckpt_tier.cli.documents.sync import DismissedDocument, PlanDocument, SyncDocument
from ckpt_tier.cli.documents.track import TrackDocument
from ckpt_tier.cli.documents.verify import VerifyDocument
from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.core.events import Event
from ckpt_tier.flow.disk import SCHEMA as DISK_SCHEMA
from ckpt_tier.flow.disk import DiskReport
from ckpt_tier.flow.status import SCHEMA as STATUS_SCHEMA
from ckpt_tier.flow.status import Status
from ckpt_tier.report.data import SCHEMA as REPORT_SCHEMA
from ckpt_tier.report.data import Report
from ckpt_tier.tensors.compared import SCHEMA as DIFF_SCHEMA
from ckpt_tier.tensors.compared import Comparison

Schema = dict[str, Any]

DOCUMENTS: dict[str, tuple[str, type[msgspec.Struct], str]] = {
    "status": (STATUS_SCHEMA, Status, "`ckpt-tier status --json`"),
    "disk": (DISK_SCHEMA, DiskReport, "`ckpt-tier status --disk --json`"),
    "report": (REPORT_SCHEMA, Report, "`ckpt-tier report --json`"),
    "list": ("ckpt-tier/list/1", ListDocument, "`ckpt-tier list --json`"),
    "inspect": ("ckpt-tier/inspect/1", InspectDocument, "`ckpt-tier inspect --json`"),
    "track": ("ckpt-tier/track/1", TrackDocument, "`ckpt-tier track --json`"),
    "diff": (DIFF_SCHEMA, Comparison, "`ckpt-tier diff --json`"),
    "verify": ("ckpt-tier/verify/1", VerifyDocument, "`ckpt-tier verify --json`"),
    "restore": ("ckpt-tier/restore/1", RestoreDocument, "`ckpt-tier restore --json`"),
    "exec": ("ckpt-tier/exec/1", ExecDocument, "`ckpt-tier exec --json`, the last line on stderr"),
    "recover": ("ckpt-tier/recover/1", RecoverDocument, "`ckpt-tier recover --json`"),
    "sync-plan": ("ckpt-tier/sync-plan/1", PlanDocument, "`ckpt-tier sync --dry-run --json`"),
    "sync": ("ckpt-tier/sync/1", SyncDocument, "`ckpt-tier sync --json`"),
    "dismissed": ("ckpt-tier/dismissed/1", DismissedDocument, "`ckpt-tier sync --dismiss STEP --json`"),
    "prune": ("ckpt-tier/prune/1", PruneDocument, "`ckpt-tier prune --json`"),
    "pin": ("ckpt-tier/pin/1", PinDocument, "`ckpt-tier pin --json`"),
    "unpin": ("ckpt-tier/unpin/1", UnpinDocument, "`ckpt-tier unpin --json`"),
    "annotate": ("ckpt-tier/annotate/1", AnnotateDocument, "`ckpt-tier annotate --json`"),
    "abandon": ("ckpt-tier/abandon/1", AbandonDocument, "`ckpt-tier abandon --json`"),
    "init": ("ckpt-tier/init/1", InitDocument, "`ckpt-tier init --json`"),
    "estimate": ("ckpt-tier/estimate/1", EstimateDocument, "`ckpt-tier estimate --json`"),
    "doctor": ("ckpt-tier/doctor/1", DoctorDocument, "`ckpt-tier doctor --json`"),
    "error": ("ckpt-tier/error/1", ErrorDocument, "any command with `--json`, on stderr"),
}
"""File name in docs/schemas/ → the document's `schema`, its Struct, and who prints it."""

_INTRODUCTION = """<!-- Written by docs/generate.py from the code: edit that, not this. -->
# The documents of `--json`

With `--json` a command prints one JSON document on stdout, and nothing else there; an error is one document on
stderr, and the exit code is the same as without. Fields are added, never renamed or removed: a reader ignores what it
does not know. `*_bytes` and `*_seconds` are integers, times are RFC 3339 in UTC, `null` stands for what nobody knows
or has looked at.
"""

_MANIFEST = """
## Manifests

`<url>/<run>/<series>/manifests/<step>.<generation>.json` commits a checkpoint in the cold tier. Its fields are fixed by
`format`, which is 1; schema: [schemas/manifest.json](schemas/manifest.json).
"""

_EVENTS = """
## `ckpt-tier sync --watch --json`

One line for each event as it happens, with `at` (RFC 3339) and `type`. A field that has its default value
(`false`, `0`, `""`) is left out.

| `type` | Fields | |
|---|---|---|
"""


def schema(name: str) -> Schema:
    """The JSON schema (2020-12) of a document."""
    identity, struct, _ = DOCUMENTS[name]
    written = msgspec.json.schema(struct)
    definitions = written.pop("$defs")
    top = definitions.pop(struct.__name__)
    top["properties"]["schema"] = {"const": identity}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_always_there(top),
        "$defs": {key: _always_there(value) for key, value in definitions.items()},
    }


def manifest_schema() -> str:
    """The JSON schema of a manifest in the cold tier. Every field is there, and no other."""
    written = msgspec.json.schema(Manifest)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **written}, indent=2) + "\n"


def _always_there(definition: Schema) -> Schema:
    """Every field is printed, even one that has a default."""
    if "properties" in definition:
        definition["required"] = list(definition["properties"])
        for field in definition["properties"].values():
            field.pop("default", None)
    return definition


def page() -> str:
    """docs/json.md."""
    parts = [_INTRODUCTION, _MANIFEST]
    for name, (identity, struct, by) in DOCUMENTS.items():
        whole = schema(name)
        parts.append(f"\n## `{identity}`\n\nFrom {by}. Schema: [schemas/{name}.json](schemas/{name}.json).\n\n")
        parts.append(f"{_prose(struct.__doc__)}\n\n{_table(whole)}")
        for title, definition in sorted(whole["$defs"].items()):
            if "properties" in definition:
                parts.append(f"\n### {title}\n\n{_prose(definition.get('description'))}\n\n{_table(definition)}")
    parts.append(_EVENTS)
    for event in sorted(Event.__subclasses__(), key=lambda each: each.__name__):
        fields = ", ".join(f"`{field}`" for field in event.__struct_fields__)
        parts.append(f"| `{event.__name__.lower()}` | {fields} | {_prose(event.__doc__)} |\n")
    return "".join(parts)


def _table(definition: Schema) -> str:
    rows = [f"| `{name}` | {_kind(field)} |" for name, field in definition["properties"].items()]
    return "\n".join(["| Field | |", "|---|---|", *rows]) + "\n"


def _kind(field: Schema) -> str:
    if "const" in field:
        return f'`"{field["const"]}"`'
    if "enum" in field:
        return " or ".join(f'`"{each}"`' for each in field["enum"])
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(_kind(each) for each in field["anyOf"])
    if field.get("type") == "array":
        items = field.get("items") or field.get("prefixItems")
        inner = " and ".join(_kind(each) for each in items) if isinstance(items, list) else _kind(items or {})
        return f"list of {inner}"
    if "additionalProperties" in field:
        return f"object of {_kind(field['additionalProperties'])} by name"
    return str(field.get("type", "any"))


def _prose(text: str | None) -> str:
    return " ".join((text or "").split("Attributes:")[0].split())


def _schema_text(name: str) -> str:
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "json.md": page,
    "schemas/manifest.json": manifest_schema,
    **{f"schemas/{name}.json": functools.partial(_schema_text, name) for name in DOCUMENTS},
}
"""File name in docs/ → what writes it."""
