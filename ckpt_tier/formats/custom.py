"""A user's own validator: `custom = "mymodule:check"` in the configuration.

The contract: ``check(path: pathlib.Path)`` is called with each file that passed our own validation, in this process,
and must not change the file. It returns None or True for a good file; it returns a reason (a string) or False, or
raises ValueError, for a bad one. Any other result or exception means that the validator itself is broken: an error of
the configuration, never a verdict on the file.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ckpt_tier.errors import CkptTierError, ConfigError
from ckpt_tier.formats.check import Rejected

_FIX = 'look at [validate] custom; it has the form "module:function"'


def run_custom(spec: str, path: Path, folder: Path | None) -> None:
    """Calls the validator `spec` ("module:function", looked for in `folder` too) on `path`.

    Raises Rejected with its reason, ConfigError when it can't be found or breaks.
    """
    check = _load(spec, folder)
    try:
        verdict = check(path)
    except ValueError as error:
        raise Rejected(f"{spec} says: {error}") from error
    except CkptTierError:
        raise
    except Exception as error:
        raise ConfigError(f"the validator {spec} broke", f"{type(error).__name__}: {error}", _FIX) from error
    if verdict is None or verdict is True:
        return
    if verdict is False:
        raise Rejected(f"{spec} says no")
    if isinstance(verdict, str):
        raise Rejected(f"{spec} says: {verdict}")
    raise ConfigError(
        f"the validator {spec} broke", f"it returned {verdict!r:.80}, not None, True, False or a reason", _FIX
    )


def _load(spec: str, folder: Path | None) -> Callable[[Path], object]:
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise ConfigError(f"{spec!r} names no validator", fix=_FIX)
    try:
        with _importable_from(folder):
            function = getattr(importlib.import_module(module_name), name)
    except Exception as error:
        raise ConfigError(
            f"the validator {spec} can't be imported", f"{type(error).__name__}: {error}", _FIX
        ) from error
    if not callable(function):
        raise ConfigError(f"the validator {spec} is not a function", fix=_FIX)
    return function  # type: ignore[no-any-return]


@contextmanager
def _importable_from(folder: Path | None) -> Iterator[None]:
    before = list(sys.path)
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before
