"""Text that others wrote, as HTML that can't do anything: every name, reason and number passes through here."""

from collections.abc import Iterable, Sequence
from html import escape

MOST_CHARACTERS = 400
"""Of one name or reason: longer ones are cut, so that a page has a largest size."""

MOST_ROWS = 100
"""Of a table."""
ALL = "`ckpt-tier report --json` has all of them."


def text(value: str) -> str:
    """`value` in an element or in a quoted attribute: escaped, on one line, and not longer than `MOST_CHARACTERS`.

    What can't be printed (controls, marks that turn the direction of writing) is shown as Python would write it.
    """
    if len(value) > MOST_CHARACTERS:
        value = value[: MOST_CHARACTERS - 1] + "…"
    if not value.isprintable():
        value = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return escape(value, quote=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> str:
    """A table of plain texts; the columns in `right` hold numbers."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{' class=n' if i in right else ''}>{text(cell)}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>\n" for row in rows)
    head = f"<thead><tr>{cells(headings, 'th')}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>\n{body}</tbody></table></div>'


def details(title: str, inside: str) -> str:
    """What is shown on demand."""
    return f"<details><summary>{text(title)}</summary>{inside}</details>"


def moment(at: str | None) -> str:
    """RFC 3339 as people read it, to the minute: "2026-11-26 21:46"."""
    return at[:16].replace("T", " ") if at else ""


def prose(told: str) -> str:
    """Text of ours, in which what stands between backticks is a command."""
    pieces = told.split("`")
    return "".join(f"<code>{text(piece)}</code>" if i % 2 else text(piece) for i, piece in enumerate(pieces))
