"""Writing a `ckpt-tier.toml` that a person can go on editing."""

import json
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from ckpt_tier.config import values
from ckpt_tier.config.keys import KEYS, SECTIONS, Key
from ckpt_tier.config.load import default_state_dir
from ckpt_tier.config.model import Config
from ckpt_tier.core.retention import KeepBest
from ckpt_tier.errors import ConfigError

_ALWAYS = {
    ("hot", "path"),
    ("hot", "layout"),
    ("hot", "keep_last"),
    ("hot", "min_free"),
    ("validate", "level"),
}
_AS_A_HINT = {("cold", "endpoint_url"), ("upload", "bandwidth")}

_NO_COLD = ["", "# There is no cold tier: `ckpt-tier prune --tier hot` is all that deletes. To add one:", "# [cold]"]
_NO_COLD.append('# url = "s3://bucket/prefix"')


def render(config: Config, *, env: Mapping[str, str]) -> str:
    """The text of a configuration file that `load` reads back as `config`, from `config.file` if that is set.

    It holds what differs from the defaults, the keys that everybody looks at, and two more as comments. Paths
    below the folder of `config.file` are relative to it, others absolute. Raises ConfigError for a path that
    TOML can't hold because it is not UTF-8.
    """
    lines = ["# Every key is explained in docs/configuration.md."]
    for section in ("", *SECTIONS):
        inner = [line for key in KEYS if key.section == section for line in _lines(key, config, env)]
        if section == "cold" and not config.has_cold:
            lines += _NO_COLD
        elif inner:
            lines += ["", f"[{section}]"] if section else [""]
            lines += inner
    return "\n".join(lines) + "\n"


def render_portable(config: Config, *, env: Mapping[str, str]) -> str:
    """As `render`, without what belongs to this machine alone, the state folder: for the copy that goes to the run."""
    return render(msgspec.structs.replace(config, state_dir=default_state_dir(config.hot.path, env)), env=env)


def _lines(key: Key, config: Config, env: Mapping[str, str]) -> list[str]:
    value = getattr(getattr(config, key.section) if key.section else config, key.name)
    if (key.section, key.name) in _ALWAYS or value not in (_default(key, config, env), ""):
        return [f"{key.name} = {_toml(value, key, config.file)}"]
    if (key.section, key.name) in _AS_A_HINT:
        return [f"# {key.name} = {key.example}"]
    return []


def _default(key: Key, config: Config, env: Mapping[str, str]) -> object:
    if key.name == "state_dir":
        return default_state_dir(config.hot.path, env)
    if key.default is None:
        return None
    written = tomllib.loads(f"value = {key.default}")["value"]
    return key.read(written, values.Place(Path("/"), Path("/")))


def _toml(value: Any, key: Key, file: Path | None) -> str:
    if isinstance(value, bool) or key.kind is int:
        return str(value).lower()
    if isinstance(value, KeepBest):
        return f'{{metric = {_quoted(value.metric)}, mode = "{value.mode}", count = {value.count}}}'
    text = _path(value, file) if isinstance(value, Path) else _WRITERS.get(key.read, str)(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{key.written} = {text!r} can't be written down", "it is not UTF-8", "rename the folder"
        ) from error
    return _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _path(path: Path, file: Path | None) -> str:
    if file is None or not path.is_relative_to(file.parent):
        return str(path)
    relative = str(path.relative_to(file.parent))
    return f"./{relative}" if relative.startswith("~") else relative


def _duration(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % unit == 0:
            return f"{_plain(seconds / unit)}{name}"
    return f"{_plain(seconds)}s"


def _size(count: int) -> str:
    for unit, name in ((10**9, "GB"), (2**30, "GiB"), (10**6, "MB"), (2**20, "MiB")):
        if count and count % unit == 0:
            return f"{count // unit}{name}"
    return f"{count}B"


def _plain(number: float) -> str:
    """All digits of a number, without an exponent."""
    return f"{Decimal(repr(number)).normalize():f}"


_WRITERS: dict[Callable[..., Any], Callable[[Any], str]] = {
    values.duration: _duration,
    values.grace: _duration,
    values.period: _duration,
    values.gap: lambda gap: _duration(gap.seconds) if gap.steps is None else f"{gap.steps} steps",
    values.rate: lambda rate: f"{_size(rate)}/s",
    values.free_space: lambda amount: str(amount) if amount.size is None else _size(amount.size),
}
