"""`sync --dry-run`: every action with its reason, and at the end what it comes to."""

from collections import Counter, defaultdict

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.documents.sync import PlanDocument, PlannedAction
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.words import plural
from ckpt_tier.core.units import format_size
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.operations import Operations

_GROUPS = (
    ("A person is needed", (Kind.REPORT, Kind.LOSE)),
    ("Upload", (Kind.VALIDATE, Kind.UPLOAD, Kind.ASSEMBLE, Kind.WAIT, Kind.ADOPT)),
    ("Free on the hot tier", (Kind.EVICT, Kind.LET_GO, Kind.SET_ASIDE)),
    ("Keep on the hot tier", (Kind.KEEP,)),
    ("Tidy up", (Kind.ATTACH, Kind.RETIRE, Kind.RELEASE, Kind.FORGET)),
)


def show_plan(settings: Settings) -> int:
    """Prints the plan. Changes nothing."""
    actions = Operations(settings.wiring()).plan()
    if settings.json:
        paper.say(msgspec.json.encode(plan_document(actions)).decode())
    else:
        paper.say(plan_text(actions))
    return 0


def plan_document(actions: list[Action]) -> PlanDocument:
    return PlanDocument(
        actions=tuple(
            PlannedAction(
                action=a.kind,
                series=a.series,
                step=a.step,
                path=a.path,
                size_bytes=a.size,
                after=a.after,
                reason=a.reason,
            )
            for a in actions
        ),
        upload_bytes=_bytes(actions, Kind.UPLOAD),
        free_bytes=_bytes(actions, Kind.EVICT),
    )


def plan_text(actions: list[Action]) -> str:
    """The plan in groups, a line for each checkpoint in a group, then the sums."""
    if not actions:
        return "Nothing to do: the hot tier is empty."
    parts = []
    # An upload "after validation" says that validation comes first.
    uploads = {a.path for a in actions if a.kind is Kind.UPLOAD}
    for title, kinds in _GROUPS:
        members = [a for a in actions if a.kind in kinds and a.path not in (uploads if a.kind is Kind.VALIDATE else ())]
        if members:
            rows = [
                (
                    a.kind.value,
                    a.series,
                    str(a.step) if a.series else "",
                    format_size(a.size) if a.size else "",
                    f"after {a.after}" if a.after else "now",
                    a.reason if a.kind is not Kind.REPORT else f"{a.path}: {a.reason}",
                )
                for a in members
            ]
            headings = ("action", "series", "step", "size", "when", "reason")
            parts += [paper.style(title, bold=True), paper.columns(rows, headings=headings, right={2, 3}, indent=2), ""]
    return "\n".join([*parts, _sums(actions)])


def _sums(actions: list[Action]) -> str:
    counts = Counter(a.kind for a in actions)
    sizes: defaultdict[Kind, int] = defaultdict(int)
    for action in actions:
        sizes[action.kind] += action.size
    told = []
    for kind, text in (
        (Kind.REPORT, "{} for a person to look at, {}"),
        (Kind.UPLOAD, "{} would be uploaded, {}"),
        (Kind.EVICT, "{} would be evicted once committed, {} freed"),
        (Kind.KEEP, "{} would stay on the hot tier, {}"),
        (Kind.WAIT, "{} would be waited for, {}"),
    ):
        if counts[kind]:
            told.append(text.format(plural(counts[kind], "checkpoint"), format_size(sizes[kind])))
    return "\n".join([*told, "Nothing was changed: this is what `ckpt-tier sync` would do."])


def _bytes(actions: list[Action], kind: Kind) -> int:
    return sum(action.size for action in actions if action.kind is kind)
