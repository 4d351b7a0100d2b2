"""What `doctor` prints: what is bad and what can hurt, each with its fix; then a line for each subject that is good."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.documents.doctor import DoctorDocument
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.words import plural
from ckpt_tier.doctor.finding import Finding, Level, exit_code

_COLOURS: dict[Level, str] = {"bad": "red", "warning": "yellow", "good": "green"}
_SUBJECT_WIDTH = 13
_FOOTNOTE = "What was written to try this was removed again; nothing else was changed."


def present(findings: Iterable[Finding], settings: Settings) -> int:
    """Prints what was found in the form that was asked for; returns the exit code."""
    found = tuple(findings)
    if settings.json:
        paper.say(msgspec.json.encode(_document(found)).decode())
    else:
        text = report(found, brief=settings.quiet, whole=settings.verbose)
        if text:
            paper.say(text)
    return exit_code(found)


def report(found: Sequence[Finding], *, brief: bool, whole: bool) -> str:
    """The page; `brief`: only what is not good; `whole`: everything that is good on lines of its own."""
    blocks = [_block(found, level) for level in ("bad", "warning")]
    if not brief:
        blocks.append(_good(found, whole=whole))
        blocks.append(paper.style(paper.columns([(_FOOTNOTE,)]), dim=True))
    return "\n\n".join(block for block in blocks if block)


def _block(found: Sequence[Finding], level: Level) -> str:
    chosen = [finding for finding in found if finding.level == level]
    if not chosen:
        return ""
    title = plural(len(chosen), "problem" if level == "bad" else "warning")
    lines = [paper.style(title, _COLOURS[level], bold=True)]
    for subject in dict.fromkeys(finding.subject for finding in chosen):
        lines += _marked(level, [row for finding in chosen if finding.subject == subject for row in _rows(finding)])
    return "\n".join(lines)


def _rows(finding: Finding) -> Iterator[tuple[str, str, str]]:
    yield _sign(finding.level), finding.subject, finding.what
    if finding.fix:
        yield "", ("→" if paper.can_show("→") else "->").rjust(_SUBJECT_WIDTH), finding.fix


def _good(found: Sequence[Finding], *, whole: bool) -> str:
    """A line for each subject where nothing is bad, or with `whole` one for each thing that is good."""
    faulty = {finding.subject for finding in found if finding.level == "bad"}
    chosen = [finding for finding in found if finding.level == "good" and (whole or finding.subject not in faulty)]
    rows: dict[str, list[str]] = {}
    for finding in chosen:
        rows.setdefault(finding.subject, []).append(finding.what)
    if not rows:
        return ""
    title = paper.style("Good", "green", bold=True)
    told = [
        (_sign("good"), subject, text)
        for subject, texts in rows.items()
        for text in (texts if whole else ["; ".join(texts)])
    ]
    return "\n".join([title, *_marked("good", told)])


def _marked(level: Level, rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Aligned lines whose mark, which counts as width before it is coloured, has its colour.

    The subjects of different blocks are aligned, too.
    """
    sign = _sign(level)
    padded = [(mark, subject.ljust(_SUBJECT_WIDTH), text) for mark, subject, text in rows]
    lines = paper.columns(padded, indent=2).splitlines()
    start = f"  {sign} "
    coloured = f"  {paper.style(sign, _COLOURS[level], bold=True)} "
    return [coloured + line.removeprefix(start) if line.startswith(start) else line for line in lines]


def _sign(level: Level) -> str:
    sign, word = {"bad": ("✗", "NO"), "warning": ("!", "!"), "good": ("✓", "ok")}[level]
    return sign if paper.can_show(sign) else word


def _document(found: tuple[Finding, ...]) -> DoctorDocument:
    def count(level: Level) -> int:
        return sum(finding.level == level for finding in found)

    return DoctorDocument(
        findings=found,
        good_count=count("good"),
        warning_count=count("warning"),
        bad_count=count("bad"),
        exit_code=exit_code(found),
    )
