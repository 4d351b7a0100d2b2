"""The configuration: where it comes from, and what in it depends on where a command is run."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from ckpt_tier.config import KEYS, Config
from ckpt_tier.doctor.finding import Finding, good, warning

_PATHS = {("", "state_dir"), ("hot", "path"), ("cold", "url"), ("cold", "ca_bundle")}


def configuration(config: Config, env: Mapping[str, str]) -> Iterator[Finding]:
    """What can be said about a configuration that was read."""
    set_by = [key for key in KEYS if env.get(key.variable)]
    source = str(config.file) if config.file else "no file, only the environment"
    also = f"; before it counts {', '.join(key.variable for key in set_by)}" if config.file and set_by else ""
    yield good("configuration", f"{source}{also}")
    for key in set_by:
        value = env[key.variable].strip("\"'")
        if (key.section, key.name) in _PATHS and "://" not in value and not value.startswith(("/", "~")):
            yield warning(
                "configuration",
                f"{key.variable} is a relative path: it means another place in every working folder",
                f"export {key.variable}={os.path.abspath(value)}",  # noqa: PTH100 (as the user would write it)
            )
    if config.file is not None:
        yield from _writers(config.file)


def _writers(file: Path) -> Iterator[Finding]:
    if stat.S_IMODE(file.stat().st_mode) & stat.S_IWOTH:
        yield warning(
            "configuration",
            f"everybody on this machine can write {file}, which can name code to run",
            f"chmod o-w {file}",
        )
