"""The layout of the cold tier: every key there is, and how to read one back.

<run>/run.json
<run>/<series>/manifests/000000740000.<generation>.json
<run>/<series>/data/000000740000/<member id>/<path>
<run>/<series>/data/000000740000/<member id>/SHA256SUMS.<member id>
<run>/<series>/pins/000000740000.json
"""

import re

from ckpt_tier.core.nouns import ID_HEX_DIGITS, STEP_DIGITS

RUN_DOCUMENT = "run.json"
_MANIFEST = re.compile(rf"(\d{{{STEP_DIGITS}}})\.([0-9a-f]{{{ID_HEX_DIGITS}}})\.json")
_PIN = re.compile(rf"(\d{{{STEP_DIGITS}}})\.json")


def step_name(step: int) -> str:
    """The step with leading zeros, so that keys sort by step."""
    return f"{step:0{STEP_DIGITS}d}"


def run_key(run: str) -> str:
    return f"{run}/{RUN_DOCUMENT}"


def manifests_prefix(run: str, series: str) -> str:
    return f"{run}/{series}/manifests/"


def manifest_key(run: str, series: str, step: int, generation: str) -> str:
    return f"{manifests_prefix(run, series)}{step_name(step)}.{generation}.json"


def manifests_before(run: str, series: str, step: int) -> str:
    """A key that sorts after every manifest of the steps before `step`, and before all others."""
    return f"{manifests_prefix(run, series)}{step_name(step)}"


def parse_manifest_name(name: str) -> tuple[int, str] | None:
    """(step, generation) from the last segment of a manifest's key; None for anything else."""
    match = _MANIFEST.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def data_prefix(run: str, series: str) -> str:
    return f"{run}/{series}/data/"


def member_prefix(run: str, series: str, step: int, member: str) -> str:
    return f"{data_prefix(run, series)}{step_name(step)}/{member}/"


def sums_name(member: str) -> str:
    return f"SHA256SUMS.{member}"


def pins_prefix(run: str, series: str) -> str:
    return f"{run}/{series}/pins/"


def parse_pin_name(name: str) -> int | None:
    """The step from the last segment of a pin's key; None for anything else."""
    match = _PIN.fullmatch(name)
    return int(match[1]) if match else None
