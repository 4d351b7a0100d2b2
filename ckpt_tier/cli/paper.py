"""Plain text for terminals and pipes alike: columns, marks and colours, without anything heavy."""

import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence

import click

NO_LIMIT = 10_000


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def width() -> int:
    """Columns to fill: the terminal's, or no limit where lines are for a program."""
    if not is_terminal() and not os.environ.get("COLUMNS"):
        return NO_LIMIT
    return shutil.get_terminal_size().columns


def style(text: str, colour: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
    """`text` in a colour, on a terminal that shows colours (https://no-color.org)."""
    if not is_terminal() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return click.style(text, fg=colour, bold=bold or None, dim=dim or None)


def can_show(text: str) -> bool:
    """Whether stdout's encoding has the characters of `text`."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def mark(good: bool) -> str:
    """✓ or ✗, in words where the locale can't show them."""
    sign = "✓" if good else "✗"
    if not can_show(sign):
        sign = "ok" if good else "NO"
    return style(sign, "green" if good else "red", bold=True)


def dot() -> str:
    """What separates two things on a line."""
    return " · " if can_show("·") else " - "


def plain(text: str) -> str:
    """`text` on one line: what names and reasons from elsewhere hold begins no line and moves no cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def say(text: str = "") -> None:
    """One line on stdout."""
    sys.stdout.write(text + "\n")


def columns(
    rows: Iterable[Sequence[str]], *, headings: Sequence[str] = (), right: Collection[int] = (), indent: int = 0
) -> str:
    """`rows` in aligned columns, two spaces apart; the last column is wrapped where the terminal is too narrow.

    Empty columns are left out. Cells hold no colour: it would count as width.
    """
    body = [tuple(map(plain, row)) for row in rows]
    if not body:
        return ""
    used = [i for i in range(len(body[0])) if any(row[i] for row in body)]
    table = ([tuple(headings)] if headings else []) + body
    last = used[-1]
    widths = {i: max(len(row[i]) for row in table) for i in used}
    start = indent + sum(widths[i] + 2 for i in used if i != last)
    room = max(24, width() - start)
    if start + 24 > width():
        start = indent + 4
        room = max(24, width() - start)
    lines = []
    for number, row in enumerate(table):
        cells = [row[i].rjust(widths[i]) if i in right else row[i].ljust(widths[i]) for i in used if i != last]
        head = " " * indent + "".join(f"{cell}  " for cell in cells)
        tail = row[last].rjust(widths[last]) if last in right else row[last]
        text = _joined(head, tail, start, room)
        lines.append(style(text, dim=True) if headings and number == 0 else text)
    return "\n".join(lines)


def _joined(head: str, tail: str, start: int, room: int) -> str:
    if len(head) == start and len(tail) <= room:
        return (head + tail).rstrip()
    pieces = textwrap.wrap(tail, room, break_on_hyphens=False) or [""]
    if len(head) == start:
        return (head + f"\n{' ' * start}".join(pieces)).rstrip()
    if len(head) + len(tail) <= start - 4 + room:
        return (head + tail).rstrip()
    return "\n".join([head.rstrip(), *(" " * start + piece for piece in pieces)])
