"""The layout of the cold tier: every key there is, and how to read one back.

<run>/run.json
<run>/_configs/<16 hex digits of its SHA-256>.toml
<run>/<series>/manifests/000000740000.<generation>.json
<run>/<series>/data/000000740000/<member id>/<path>
<run>/<series>/data/000000740000/<member id>/SHA256SUMS.<member id>
<run>/<series>/receipts/000000740000/<save id>/rank-3-of-6.json
<run>/<series>/pins/000000740000.json
<run>/<series>/tombstones/000000740000.<generation>.json
<run>/<series>/notes/abandoned.000000740000.<microseconds since the epoch>.json
<run>/<series>/notes/metric.000000740000.<generation>.<microseconds since the epoch>.<name>=<value>.json

Where a share has no save id, its time of saving stands in its place: _at-<microseconds since the epoch>.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from ckpt_tier.core.nouns import ID_HEX_DIGITS, STEP_DIGITS

RUN_DOCUMENT = "run.json"
CONFIGS = "_configs"
"""No series can have such a name."""
_GENERATION = re.compile(rf"(\d{{{STEP_DIGITS}}})\.([0-9a-f]{{{ID_HEX_DIGITS}}})\.json")
_MEMBER_FILE = re.compile(rf"(\d{{{STEP_DIGITS}}})/([0-9a-f]{{{ID_HEX_DIGITS}}})/.+")
_RECEIPT = re.compile(r"(?P<save>[A-Za-z0-9_][A-Za-z0-9._-]{0,95})/rank-(?P<rank>\d{1,6})-of-(?P<world>\d{1,7})\.json")
_CONFIG = re.compile(rf"([0-9a-f]{{{ID_HEX_DIGITS}}})\.toml")
_BRANCH = re.compile(rf"abandoned\.(\d{{{STEP_DIGITS}}})\.(\d{{16}})\.json")
_METRIC = re.compile(
    rf"metric\.(\d{{{STEP_DIGITS}}})\.([0-9a-f]{{{ID_HEX_DIGITS}}})\.(\d{{16}})"
    r"\.([A-Za-z0-9_.!~-]{1,160})=(-?\d[0-9.e-]{0,30})\.json"
)
_PIN = re.compile(rf"(\d{{{STEP_DIGITS}}})\.json")


def step_name(step: int) -> str:
    """The step with leading zeros, so that keys sort by step."""
    return f"{step:0{STEP_DIGITS}d}"


def run_key(run: str) -> str:
    return f"{run}/{RUN_DOCUMENT}"


def configs_prefix(run: str) -> str:
    """A series of this name lies beside: its keys go on with ``manifests/``, ``data/`` and the like."""
    return f"{run}/{CONFIGS}/"


def config_key(run: str, identity: str) -> str:
    return f"{configs_prefix(run)}{identity}.toml"


def parse_config_name(name: str) -> str | None:
    """The id from the last segment of a configuration's key; None for anything else."""
    match = _CONFIG.fullmatch(name)
    return match[1] if match else None


def manifests_prefix(run: str, series: str) -> str:
    return f"{run}/{series}/manifests/"


def manifest_key(run: str, series: str, step: int, generation: str) -> str:
    return f"{manifests_prefix(run, series)}{step_name(step)}.{generation}.json"


def manifests_before(run: str, series: str, step: int) -> str:
    """A key that sorts after every manifest of the steps before `step`, and before all others."""
    return f"{manifests_prefix(run, series)}{step_name(step)}"


def parse_manifest_name(name: str) -> tuple[int, str] | None:
    """(step, generation) from the last segment of a manifest's or tombstone's key; None for anything else."""
    match = _GENERATION.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def data_prefix(run: str, series: str) -> str:
    return f"{run}/{series}/data/"


def parse_data_name(name: str) -> tuple[int, str] | None:
    """(step, member id) from what follows `data_prefix` in the key of a member's object; None for anything else."""
    match = _MEMBER_FILE.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def step_prefix(run: str, series: str, step: int) -> str:
    return f"{data_prefix(run, series)}{step_name(step)}/"


def member_prefix(run: str, series: str, step: int, member: str) -> str:
    return f"{step_prefix(run, series, step)}{member}/"


def sums_name(member: str) -> str:
    return f"SHA256SUMS.{member}"


def all_receipts_prefix(run: str, series: str) -> str:
    return f"{run}/{series}/receipts/"


def receipts_prefix(run: str, series: str, step: int) -> str:
    return f"{all_receipts_prefix(run, series)}{step_name(step)}/"


def receipt_key(run: str, series: str, step: int, save_id: str | None, saved: float, rank: int, world_size: int) -> str:
    """`saved` in seconds since the epoch."""
    save = save_id or f"_at-{round(saved * 1e6):016d}"
    return f"{receipts_prefix(run, series, step)}{save}/rank-{rank}-of-{world_size}.json"


def is_receipt_name(name: str) -> bool:
    """Whether the part of a key after `receipts_prefix` is that of a receipt."""
    return _RECEIPT.fullmatch(name) is not None


def named_ranks(names: Iterable[str], save_id: str, world_size: int) -> set[int]:
    """Which ranks of one save have a receipt, by the names of the step's receipts alone."""
    ending = f"-of-{world_size}.json"
    found = (match for name in names if name.endswith(ending) and (match := _RECEIPT.search(name)))
    return {int(match["rank"]) for match in found if match["save"] == save_id}


def notes_prefix(run: str, series: str) -> str:
    return f"{run}/{series}/notes/"


def branch_key(run: str, series: str, after: int, before: float) -> str:
    """`before` in seconds since the epoch."""
    return f"{notes_prefix(run, series)}abandoned.{step_name(after)}.{round(before * 1e6):016d}.json"


def parse_branch_name(name: str) -> tuple[int, float] | None:
    """(step, seconds since the epoch) from the last segment of a branch's key; None for anything else."""
    match = _BRANCH.fullmatch(name)
    return (int(match[1]), int(match[2]) / 1e6) if match else None


def metric_key(run: str, series: str, step: int, generation: str, at: int, name: str, value: float) -> str:
    """`at` in microseconds since the epoch; `value` finite."""
    # S3's documentation has "!" among the characters that are safe in keys, and "%" and "+" not.
    written = quote(name, safe="").replace("%", "!")
    number = repr(value).replace("+", "")
    return f"{notes_prefix(run, series)}metric.{step_name(step)}.{generation}.{at:016d}.{written}={number}.json"


def parse_metric_name(name: str) -> tuple[int, str, int, str, float] | None:
    """(step, generation, microseconds since the epoch, metric, value) from the last segment of a metric's key; None for
    anything else, and for what `metric_key` would write in another way."""
    match = _METRIC.fullmatch(name)
    if match is None:
        return None
    try:
        metric, value = unquote(match[4].replace("!", "%"), errors="strict"), float(match[5])
    except ValueError:
        return None
    found = (int(match[1]), match[2], int(match[3]), metric, value)
    is_ours = metric.isprintable() and metric_key("", "", *found).rpartition("/")[2] == name
    return found if is_ours else None


def pins_prefix(run: str, series: str) -> str:
    return f"{run}/{series}/pins/"


def pin_key(run: str, series: str, step: int) -> str:
    return f"{pins_prefix(run, series)}{step_name(step)}.json"


def parse_pin_name(name: str) -> int | None:
    """The step from the last segment of a pin's key; None for anything else."""
    match = _PIN.fullmatch(name)
    return int(match[1]) if match else None


def tombstones_prefix(run: str, series: str) -> str:
    return f"{run}/{series}/tombstones/"


def tombstone_key(run: str, series: str, step: int, generation: str) -> str:
    return f"{tombstones_prefix(run, series)}{step_name(step)}.{generation}.json"


def tombstones_before(run: str, series: str, step: int) -> str:
    """A key that sorts after every tombstone of the steps before `step`, and before all others."""
    return f"{tombstones_prefix(run, series)}{step_name(step)}"
