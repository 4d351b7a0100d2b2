"""Finding, reading and checking the configuration."""

import hashlib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ckpt_tier.config import sources
from ckpt_tier.config.keys import KEYS, SECTIONS, defaults
from ckpt_tier.config.model import ColdConfig, Config, HotConfig, UploadConfig, ValidateConfig, WatchConfig
from ckpt_tier.config.sources import Written
from ckpt_tier.config.values import Place
from ckpt_tier.core.saving import SaveRules
from ckpt_tier.errors import ConfigError

FILE_NAME = "ckpt-tier.toml"
_TOML_HINT = 'look at that line; text stands in quotes: run = "swelu"'
_INIT = "run: ckpt-tier init checkpoints/ s3://bucket/prefix"


def load(
    path: Path | None = None,
    *,
    env: Mapping[str, str],
    cwd: Path,
    arguments: Mapping[str, object] | None = None,
) -> Config:
    """The configuration that holds for a process.

    The file is `path`, else CKPT_TIER_CONFIG, else the nearest ckpt-tier.toml from `cwd` upward. Without a
    file, the environment or the arguments must at least name the cold tier. Arguments count before the
    environment, that before the file. Relative paths start at the file's folder in the file, at `cwd` elsewhere.

    Args:
        env: the environment, usually ``os.environ``.
        cwd: an absolute folder.
        arguments: values by dotted key ("run", "cold.url"), as in TOML; None stands for not given.

    Raises:
        ConfigError: no file, or something in it is wrong; names the key, the value and the fix.
    """
    file = find(path, env=env, cwd=cwd)
    document = _parsed(file) if file else {}
    return _assembled(document, file, env, cwd, arguments or {})


def from_mapping(document: Mapping[str, object], *, env: Mapping[str, str], cwd: Path) -> Config:
    """The configuration that a file with the content `document` would give, if it lay in the folder `cwd`.

    The environment counts before it. Raises ConfigError.
    """
    return _assembled(document, None, env, cwd, {})


def find(path: Path | None = None, *, env: Mapping[str, str], cwd: Path) -> Path | None:
    """The absolute path of the configuration file; None if none is named and none is found.

    Raises ConfigError when a file that was named is not there.
    """
    named = path or (Path(env["CKPT_TIER_CONFIG"]) if env.get("CKPT_TIER_CONFIG") else None)
    if named is not None:
        file = Place(cwd, _home(env)).absolute(str(named))
        if not file.is_file():
            by = "" if path else " (from CKPT_TIER_CONFIG)"
            raise ConfigError(f"there is no configuration file {file}{by}", fix=_INIT)
        return file
    return next((folder / FILE_NAME for folder in (cwd, *cwd.parents) if _is_file(folder / FILE_NAME)), None)


def default_state_dir(hot: Path, env: Mapping[str, str]) -> Path:
    """The state folder of a hot folder: the same by whatever path the hot folder is reached."""
    state_home = env.get("XDG_STATE_HOME", "")
    parent = Path(state_home) if state_home.startswith("/") else _home(env) / ".local/state"
    return parent / "ckpt-tier" / hashlib.sha256(os.fsencode(os.path.realpath(hot))).hexdigest()[:16]


def _assembled(
    document: Mapping[str, object],
    file: Path | None,
    env: Mapping[str, str],
    cwd: Path,
    arguments: Mapping[str, object],
) -> Config:
    here = Place(cwd, _home(env))
    there = Place(file.parent, here.home) if file else here
    chosen = _last_of(
        sources.from_document(document, file, there),
        sources.from_environment(env, here),
        sources.from_arguments(arguments, here),
    )
    written = _last_of(sources.from_document(tomllib.loads(defaults()), None, there)) | chosen
    if not file and not document and ("cold", "url") not in written:
        raise ConfigError(f"there is no {FILE_NAME} in {cwd} or in a folder above it", fix=_INIT)
    for key in KEYS:
        forgotten = key.written == "[cold] url" and any(section == "cold" for section, _ in chosen)
        if (key.required or forgotten) and (key.section, key.name) not in written:
            place = f"under [{key.section}]" if key.section else "at the top"
            raise ConfigError(
                f"{file or 'the configuration'} does not say {key.written}",
                fix=f"add {key.name} = {key.example} {place}, or set {key.variable}",
            )
    groups: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS)}
    for (section, name), each in written.items():
        groups[section][name] = each.read()
    top = groups[""]
    hot = HotConfig(**groups["hot"])
    cold = ColdConfig(**groups["cold"])
    _check_together(hot, cold, f"{file}: " if file else "")
    return Config(
        file=file,
        run=top["run"],
        run_id=top.get("run_id"),
        state_dir=top.get("state_dir") or default_state_dir(hot.path, env),
        hot=hot,
        cold=cold,
        validate=ValidateConfig(**groups["validate"]),
        upload=UploadConfig(**groups["upload"]),
        save=SaveRules(**groups["save"]),
        watch=WatchConfig(**groups["watch"]),
    )


def _last_of(*layers: Iterable[Written]) -> dict[tuple[str, str], Written]:
    return {(each.key.section, each.key.name): each for layer in layers for each in layer}


def _check_together(hot: HotConfig, cold: ColdConfig, prefix: str) -> None:
    _check_retention(hot, cold, prefix)
    if cold.sse_kms_key_id and cold.sse != "aws:kms":
        raise ConfigError(
            f"{prefix}[cold] sse_kms_key_id is set",
            "it means nothing without KMS",
            'set sse = "aws:kms" under [cold], or remove sse_kms_key_id',
        )
    folder = cold.url.removeprefix("file://")
    if folder.startswith("/") and Path(folder).is_relative_to(hot.path):
        raise ConfigError(
            f"{prefix}[cold] url = {folder}",
            f"it lies in the hot folder {hot.path}",
            "choose a folder outside, on another disk",
        )


def _check_retention(hot: HotConfig, cold: ColdConfig, prefix: str) -> None:
    """What the cold tier would drop at once is not worth its upload."""
    if len(cold.retention.rules) == 1 and cold.keep_last is not None and cold.keep_last < hot.keep_last:
        raise ConfigError(
            f"{prefix}[cold] keep_last = {cold.keep_last}",
            f"the cold tier would keep fewer than the hot one, whose keep_last is {hot.keep_last}",
            "raise it, or add another rule under [cold], such as keep_every",
        )


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"can't read {file}", error.strerror or "", "check its permissions") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8", str(error), "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML", str(error), _TOML_HINT) from error
    except RecursionError as error:
        raise ConfigError(f"{file} is not a configuration", "it is nested too deeply") from error


def _home(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME", "").startswith("/") else Path.home()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return False
