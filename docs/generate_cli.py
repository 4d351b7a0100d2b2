"""docs/cli.md, the reference of commands, from the commands themselves: see generate.py."""

from collections.abc import Callable

import click

from ckpt_tier.cli.group import COMMANDS, cli
from ckpt_tier.cli.settings import GLOBAL_NAMES

_INTRODUCTION = """<!-- Written by docs/generate.py from the code: edit that, not this. -->
# Commands

`ckpt-tier COMMAND [options]`, or `python -m ckpt_tier`. The options in the first table may stand before or after the
command. `--json` prints one JSON document on stdout and nothing else there: see [json.md](json.md). On a terminal
there are progress bars; elsewhere log lines with UTC times.

Errors are two lines on stderr, `error:` with what happened and why, and `hint:` with what to do.

| Exit code | Meaning |
|---:|---|
| 0 | done; a queue that is merely not empty is 0 |
| 1 | unexpected |
| 2 | usage |
| 3 | configuration |
| 4 | no such checkpoint |
| 5 | integrity: damaged or missing |
| 6 | the cold tier is unavailable: try later |
| 7 | no space |
| 8 | locked, or something different is already there |
| 9 | a person is needed: rejected, stalled, lost, ambiguous, filling up |
| 130 | interrupted |

Several at once: 5 before 7 before 6 before 9. A process that Ctrl-C or SIGTERM asks to stop ends in good order with
130 (`sync --watch` with 0 on SIGTERM); a second Ctrl-C ends it at once, which is as safe.
`list`, `status`, `verify`, `diff`, `track` and dry runs, which only read, end at once at the first, however silent the
cold tier is.

## Options of every command

"""


def commands() -> str:
    """docs/cli.md."""
    parts = [_INTRODUCTION, _table([p for p in cli.params if isinstance(p, click.Option)])]
    context = click.Context(cli, info_name="ckpt-tier")
    commands = ((name, cli.get_command(context, name)) for name in COMMANDS)
    parts += [_section(name, command, context) for name, command in commands if command]
    return "".join(parts)


def _section(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    paragraphs = [" ".join(each.split()) for each in (command.help or "").split("\n\n")]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden and p.name not in GLOBAL_NAMES]
    table = f"\n{_table(options)}" if options else ""
    return f"\n## `ckpt-tier {name}`\n\n```\nckpt-tier {name} {usage}\n```\n\n" + "\n\n".join(paragraphs) + f"\n{table}"


def _table(options: list[click.Option]) -> str:
    rows = []
    for option in options:
        value = option.make_metavar(click.Context(cli)) if not option.is_flag else ""
        names = ", ".join(f"`{name}{' ' + value if value else ''}`" for name in option.opts)
        default = f" Default: {option.default}." if option.show_default else ""
        rows.append(f"| {names.replace('|', '&#124;')} | {option.help}{default} |")
    return "\n".join(["| Option | |", "|---|---|", *rows]) + "\n"


PAGES: dict[str, Callable[[], str]] = {"cli.md": commands}
"""File name in docs/ → what writes it."""
