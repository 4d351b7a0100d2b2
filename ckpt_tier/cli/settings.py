"""The global options, accepted before and after the command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ckpt_tier.config import Config
    from ckpt_tier.system.clock import Clock
    from ckpt_tier.wiring import Wiring

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Settings:
    """What the global options say, collected from wherever they stand.

    Attributes:
        config: the file named by --config.
        json: one JSON document on stdout, and nothing else there.
        verbose: more lines; a traceback with an error.
        quiet: only warnings and errors.
    """

    config: Path | None = None
    json: bool = False
    verbose: bool = False
    quiet: bool = False

    def load(self) -> Config:
        """The configuration. Raises ConfigError."""
        from ckpt_tier.config import load

        return load(self.config, env=os.environ, cwd=Path.cwd())

    def wiring(self, clock: Clock | None = None) -> Wiring:
        """The parts of the configuration. Raises ConfigError."""
        from ckpt_tier.wiring import Wiring

        return Wiring(self.load(), clock)


def _note(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value and parameter.name:
        setattr(ctx.ensure_object(Settings), parameter.name, value)


_OPTIONS = (
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_note,
        help="The configuration; else CKPT_TIER_CONFIG, else ckpt-tier.toml from here upward.",
    ),
    click.option("--json", is_flag=True, expose_value=False, callback=_note, help="JSON on stdout, nothing else."),
    click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_note, help="More lines; tracebacks of errors."
    ),
    click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_note, help="Only warnings and errors."),
)

GLOBAL_NAMES = ("config", "json", "verbose", "quiet")


def global_options(function: F) -> F:
    """Adds the global options to a command or the group."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
