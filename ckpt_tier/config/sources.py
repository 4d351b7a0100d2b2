"""Where values are written: a TOML document, the environment, arguments; held against the table of keys."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import msgspec

from ckpt_tier.config.keys import KEYS, NOT_KEYS, SECTIONS, Key
from ckpt_tier.config.values import Place
from ckpt_tier.errors import ConfigError, UsageError

_BY_ID = {(key.section, key.name): key for key in KEYS}
_BY_VARIABLE = {key.variable: key for key in KEYS}
_PREFIX = "CKPT_TIER_"

_CREDENTIAL = re.compile(
    r"(access|secret|api|account)_?(access_?)?key(_?id)?$|passw|secret|token|credential|(^|_)key$",
    re.IGNORECASE,
)
_PASSWORD_IN_URL = re.compile(r"://[^/\s]*:[^/\s]*@")
_AWS_CHAIN = (
    "remove it; credentials come from the standard AWS chain: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
    "in the environment, a profile in ~/.aws, or the machine's role; for other stores, from where their own clients "
    "look: an SSH key or agent for sftp://, a variable such as FSSPEC_FTP_PASSWORD"
)
_NO_SECRETS = "a configuration holds no secrets"


class Written(msgspec.Struct, frozen=True):
    """A value as somebody wrote it. `label` names the key and its place, `assignment` begins an example."""

    key: Key
    value: object
    label: str
    assignment: str
    place: Place

    def read(self) -> object:
        """The value for the Struct; raises ConfigError naming the key, the value and the fix."""
        if isinstance(self.value, str) and _PASSWORD_IN_URL.search(self.value):
            raise ConfigError(f"{self.label} holds a password", _NO_SECRETS, _AWS_CHAIN)
        try:
            return self.key.read(_of_kind(self.key, self.value), self.place)
        except UsageError as error:
            raise ConfigError(
                f"{self.label} = {_shown(self.value)}",
                error.what,
                f"it must be {self.key.form}, for example {self.assignment}{self.key.example}",
            ) from error


def from_document(document: Mapping[str, object], file: Path | None, place: Place) -> Iterator[Written]:
    """The values of a TOML document; raises ConfigError for keys that don't exist."""
    prefix = f"{file}: " if file else ""
    for name, value in document.items():
        if name in SECTIONS:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{name} is a section, not a key", fix=f"write [{name}]")
            for inner, inner_value in value.items():
                yield _written(name, inner, inner_value, prefix, place)
        else:
            yield _written("", name, value, prefix, place)


def from_environment(env: Mapping[str, str], place: Place) -> Iterator[Written]:
    """The values of CKPT_TIER_* variables; an empty one counts as not set.

    Raises ConfigError for keys that don't exist. Where the key takes text, the variable is that text, quoted as
    in TOML or not; else it is a TOML value.
    """
    for variable, raw in sorted(env.items()):
        if not raw or not variable.startswith(_PREFIX) or variable.startswith(NOT_KEYS):
            continue
        key = _BY_VARIABLE.get(variable)
        if key is not None:
            yield Written(key, _toml_value(raw, key), variable, f"{variable}=", place)
        elif "__" in variable:
            section, _, name = variable.removeprefix(_PREFIX).lower().partition("__")
            refuse(section, name, f"the environment variable {variable}", sorted(_BY_VARIABLE), variable)


def from_arguments(arguments: Mapping[str, object], place: Place) -> Iterator[Written]:
    """The values of a call's arguments, named "run", "cold.url"; None counts as not given."""
    for dotted, value in arguments.items():
        section, _, name = dotted.rpartition(".")
        if value is not None:
            yield Written(_BY_ID[section, name], value, f"the argument {name}", f"{name}=", place)


def refuse(section: str, name: str, label: str, known: list[str], wrong: str) -> NoReturn:
    """Raises the ConfigError for a key that doesn't exist. Never shows its value: it may be a secret."""
    if _CREDENTIAL.search(name):
        raise ConfigError(f"{label} looks like a credential", _NO_SECRETS, _AWS_CHAIN)
    import difflib  # only for the sake of an error

    close = difflib.get_close_matches(wrong, known, 1) or [k.written for k in KEYS if k.name == name]
    fix = f"did you mean {close[0]}?" if close else f"remove it; there are: {', '.join(known)}"
    raise ConfigError(f"{label} is unknown", fix=fix)


def _written(section: str, name: str, value: object, prefix: str, place: Place) -> Written:
    key = _BY_ID.get((section, name))
    if key is not None:
        return Written(key, value, prefix + key.written, f"{name} = ", place)
    is_section = not section and isinstance(value, Mapping)
    label = f"[{name}]" if is_section else f"[{section}] {name}" if section else name
    known = [f"[{each}]" for each in SECTIONS] if is_section else [k.name for k in KEYS if k.section == section]
    refuse(section, name, prefix + label, known, label if is_section else name)


def _toml_value(raw: str, key: Key) -> object:
    try:
        document = tomllib.loads(f"value = {raw}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return raw
    value = document["value"]
    if len(document) > 1 or (key.kind is str and not isinstance(value, str)):
        return raw
    return value


def _of_kind(key: Key, value: object) -> object:
    kind = key.kind
    if type(value) is kind or (key.or_word and isinstance(value, str)):
        return value
    if isinstance(value, str):
        raise UsageError("it is text")
    if kind is dict:
        raise UsageError("it is not a table")
    if isinstance(value, bool):
        raise UsageError("it is a truth value")
    if isinstance(value, int | float):
        raise UsageError("it is a number without quotes" if kind is str else "it is the wrong kind of number")
    raise UsageError("it is not a single value" if isinstance(value, Mapping | list) else "it is a date or time")


def _shown(value: object) -> str:
    if isinstance(value, Mapping | list):
        return "…"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)
    text = re.sub(r"//.*@", "//***@", text)
    return text if len(text) <= 80 else f"{text[:79]}…"
