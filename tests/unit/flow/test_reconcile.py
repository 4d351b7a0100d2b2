"""The one decision, in tables and in properties that hold whatever the view."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.nouns import Stamp
from ckpt_tier.core.retention import Checkpoint, KeepBest, KeepLast, Policy, newest
from ckpt_tier.core.states import VALID, State
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.flow.reconcile import reconcile
from ckpt_tier.flow.standing import has_hot_copy, has_link, is_committed, pruned
from ckpt_tier.flow.view import Link, Rules, View
from ckpt_tier.inbox import Linked, Ticket
from ckpt_tier.journal.saves import Save, SavedFile
from tests.builders import digest
from tests.examples import examples
from tests.strategies import GENERATIONS, NOW, hot_copy, path_of, views

STAMP = Stamp(7, 100, 0)
RULES = Rules(retention=Policy((KeepLast(1),)), settle=0.0, min_free=0, newest_first=True, set_aside=False)
GENERATION = GENERATIONS[0]


def row(
    step: int = 5,
    state: State = State.VALIDATED,
    *,
    hook: bool = False,
    link: str | None = None,
    stamp: Stamp = STAMP,
    **fields: object,
) -> Save:
    path = path_of("0", step)
    link = link or (f"t{step}.0" if hook else None)
    plain = Save(
        id=step + 1,
        series="0",
        step=step,
        path=path,
        stamp=stamp,
        files=(SavedFile(path=path, stamp=stamp, link=link, digest=digest(path)),),
        saved_at=float(step),
        ticket=f"t{step}" if hook else None,
        state=state,
        reason="why" if state in (State.REJECTED, State.STALLED, State.LOST) else "",
        generation=None if state in (State.SAVED, State.REJECTED) else GENERATION,
    )
    return msgspec.structs.replace(plain, **fields)


def ticket_of(save: Save, identity: str = "") -> Ticket:
    return Ticket(
        id=identity or save.ticket or "t",
        step=save.step,
        series=save.series,
        path=save.path,
        files=(Linked(path=save.path, stamp=save.stamp, link=f"{identity or save.ticket}.0"),),
        saved_at=save.saved_at,
        metrics={"loss": 1.0},
    )


def view(
    *rows: Save,
    hot: tuple[int, ...] = (),
    links: tuple[str, ...] = (),
    committed: tuple[int, ...] = (),
    tickets: tuple[Ticket, ...] = (),
    free: int = 10**6,
    rules: Rules = RULES,
    **fields: object,
) -> View:
    copies = [hot_copy("0", step, STAMP) for step in hot]
    plain = View(
        now=NOW,
        rules=rules,
        free=free,
        hot={copy.path: copy for copy in copies},
        tickets=tickets,
        links={name: Link(STAMP, 1, 0.0) for name in links},
        saves=rows,
        committed=frozenset(("0", step, GENERATION) for step in committed),
        protected={},
        tracked=frozenset(),
        postponed={},
        busy=frozenset(),
    )
    return msgspec.structs.replace(plain, **fields)


def decided(look: View) -> list[str]:
    """What is done now, as words; what only follows later stands in brackets."""
    return [f"({action.kind})" if action.after else str(action.kind) for action in reconcile(look)]


STATES = [
    # state, hot copy, hook's link, in the listing → decision
    (State.SAVED, True, False, False, ["validate", "(upload)"]),
    (State.SAVED, True, True, False, ["validate", "(upload)"]),
    (State.SAVED, False, True, False, ["validate", "(upload)"]),
    (State.SAVED, False, False, False, ["forget"]),
    (State.VALIDATED, True, False, False, ["upload", "keep"]),
    (State.VALIDATED, False, True, False, ["upload"]),
    (State.VALIDATED, True, False, True, ["adopt", "keep"]),
    (State.VALIDATED, False, False, False, ["lose"]),
    (State.UPLOADING, True, False, False, ["upload", "keep"]),
    (State.UPLOADING, False, True, False, ["upload"]),
    (State.UPLOADING, False, False, False, ["lose"]),
    (State.UPLOADED, True, False, False, ["upload", "keep"]),
    (State.UPLOADED, True, False, True, ["adopt", "keep"]),
    (State.UPLOADED, False, False, False, ["lose"]),
    (State.UPLOADED, False, False, True, ["adopt"]),
    (State.STALLED, False, False, True, ["adopt"]),
    (State.COMMITTED, True, False, True, ["keep"]),
    (State.COMMITTED, True, True, True, ["release", "keep"]),
    (State.COMMITTED, False, True, True, ["release"]),
    (State.COMMITTED, True, False, False, ["upload", "keep"]),
    (State.COMMITTED, False, True, False, ["upload"]),
    (State.COMMITTED, False, False, True, ["forget"]),
    (State.COMMITTED, False, False, False, ["forget"]),
    (State.REJECTED, True, False, False, ["report"]),
    (State.REJECTED, True, True, False, ["release", "report"]),
    (State.REJECTED, False, True, False, ["report"]),
    (State.REJECTED, False, False, False, ["forget"]),
    (State.STALLED, True, False, False, ["upload", "keep"]),
    (State.STALLED, True, False, True, ["adopt", "keep"]),
    (State.STALLED, False, False, False, ["lose"]),
    (State.LOST, False, False, False, ["report"]),
    (State.LOST, True, False, False, ["validate", "(upload)"]),
    (State.LOST, False, True, False, ["validate", "(upload)"]),
]


@pytest.mark.parametrize(("state", "hot", "link", "listed", "expected"), STATES)
def test_each_state_has_its_next_action(state: State, hot: bool, link: bool, listed: bool, expected: list[str]) -> None:
    save = row(5, state, link="t5.0" if link else None)
    look = view(save, hot=(5,) if hot else (), links=("t5.0",) if link else (), committed=(5,) if listed else ())
    assert decided(look) == expected


def test_a_save_of_the_hook_that_is_gone_before_it_was_looked_at_is_lost_and_not_forgotten() -> None:
    assert decided(view(row(5, State.SAVED, hook=True))) == ["lose"]
    [action] = reconcile(view(tickets=(ticket_of(row(5, hook=True)),)))
    assert (action.kind, action.reason) == (Kind.LOSE, "deleted on disk before it was committed")


def test_a_save_that_was_overwritten_says_so() -> None:
    other = hot_copy("0", 5, Stamp(8, 100, 0))
    actions = reconcile(view(row(5)))
    assert [a.reason for a in actions if a.kind is Kind.LOSE] == ["deleted on disk before it was committed"]
    look = msgspec.structs.replace(view(row(5)), hot={other.path: other})
    assert "overwritten" in next(a.reason for a in reconcile(look) if a.kind is Kind.LOSE)


def test_committed_copies_beyond_the_newest_are_evicted() -> None:
    rows = [row(step, State.COMMITTED) for step in (1, 2, 3)]
    look = view(
        *rows,
        hot=(1, 2, 3),
        committed=(1, 2, 3),
        rules=msgspec.structs.replace(RULES, retention=Policy((KeepLast(2),))),
    )
    assert {(a.kind, a.step) for a in reconcile(look)} == {(Kind.EVICT, 1), (Kind.KEEP, 2), (Kind.KEEP, 3)}


def test_each_series_keeps_its_own_newest() -> None:
    rows = [
        row(step, State.COMMITTED, id=number, series=series, path=path_of(series, step))
        for number, (series, step) in enumerate([("0", 1), ("0", 2), ("1", 1), ("1", 9)], 1)
    ]
    files = {each.path: hot_copy(each.series, each.step, STAMP) for each in rows}
    committed = frozenset((each.series, each.step, GENERATION) for each in rows)
    look = msgspec.structs.replace(view(*rows), hot=files, committed=committed)
    assert {(a.series, a.step) for a in reconcile(look) if a.kind is Kind.EVICT} == {("0", 1), ("1", 1)}


def test_a_rejected_file_never_takes_the_place_of_a_good_one() -> None:
    rows = [row(1, State.COMMITTED), row(2, State.REJECTED), row(3, State.REJECTED)]
    assert decided(view(*rows, hot=(1, 2, 3), committed=(1,))) == ["keep", "report", "report"]


def test_a_file_nobody_has_validated_yet_never_pushes_a_good_one_out() -> None:
    look = view(row(1, State.COMMITTED), hot=(1, 2, 3), committed=(1,))
    assert not [a for a in reconcile(look) if a.kind is Kind.EVICT and not a.after]


def test_what_waits_for_its_commit_will_be_evicted_after_it_and_not_before() -> None:
    look = view(row(1), row(2), hot=(1, 2))
    assert {(a.kind, a.step, a.after) for a in reconcile(look) if a.kind in (Kind.EVICT, Kind.KEEP)} == {
        (Kind.EVICT, 1, "commit"),
        (Kind.KEEP, 2, ""),
    }


def test_what_is_pinned_held_or_tracked_stays() -> None:
    rows = [row(step, State.COMMITTED) for step in (1, 2, 3)]
    look = view(
        *rows,
        hot=(1, 2, 3),
        committed=(1, 2, 3),
        protected={("0", 1): "pinned"},
        tracked=frozenset({path_of("0", 2)}),
    )
    assert {a.step: a.reason for a in reconcile(look) if a.kind is Kind.KEEP} == {
        1: "pinned",
        2: "a link or tracker file of the trainer points to it",
        3: "one of the newest 1",
    }


def test_the_best_by_a_metric_stay_on_the_hot_tier_with_every_reason_said() -> None:
    rules = msgspec.structs.replace(RULES, retention=Policy((KeepLast(1), KeepBest("loss", "min", 1))))
    rows = [row(step, State.COMMITTED, metrics={"loss": loss}) for step, loss in ((1, 0.5), (2, 0.1), (3, 0.9))]
    look = view(*rows, hot=(1, 2, 3), committed=(1, 2, 3), rules=rules)
    assert {a.step: (a.kind, a.reason) for a in reconcile(look)} == {
        1: (Kind.EVICT, "committed, and not one of the newest 1, not one of the 1 best by loss (min)"),
        2: (Kind.KEEP, "one of the 1 best by loss (min)"),
        3: (Kind.KEEP, "one of the newest 1"),
    }


TOMB = {("0", 1, GENERATION): 50.0}
PRUNED = "pruned from the cold tier on 1970-01-01: the only copy; delete it yourself if nobody wants it"


@pytest.mark.parametrize("state", [State.COMMITTED, State.VALIDATED, State.UPLOADING, State.UPLOADED, State.STALLED])
def test_a_hot_copy_of_a_pruned_generation_is_neither_uploaded_nor_evicted(state: State) -> None:
    look = view(row(1, state), row(2, State.COMMITTED), hot=(1, 2), committed=(2,), tombstones=TOMB)
    mine = [(a.kind, a.reason, a.after) for a in reconcile(look) if a.step == 1]
    assert (Kind.KEEP, PRUNED, "") in mine
    assert {kind for kind, *_ in mine} <= {Kind.KEEP, Kind.RETIRE}
    assert ((Kind.RETIRE, PRUNED, "") in mine) == (state is not State.COMMITTED)


def test_what_retention_keeps_on_the_hot_tier_stays_though_the_cold_one_has_pruned_it() -> None:
    look = view(row(1, State.COMMITTED), hot=(1,), tombstones=TOMB)
    assert [(a.kind, a.reason) for a in reconcile(look)] == [(Kind.KEEP, "one of the newest 1")]


def test_the_same_bytes_saved_again_after_their_prune_are_uploaded_again() -> None:
    for saved_at, expected in ((50.0, []), (50.9, []), (51.0, [Kind.UPLOAD])):
        look = view(row(1, State.VALIDATED, saved_at=saved_at), hot=(1,), tombstones=TOMB)
        assert [a.kind for a in reconcile(look) if a.kind is Kind.UPLOAD] == expected


def test_a_manifest_counts_before_its_tombstone() -> None:
    rows = [row(1, State.COMMITTED), row(2, State.COMMITTED)]
    look = view(*rows, hot=(1, 2), committed=(1, 2), tombstones=TOMB)
    assert [(a.kind, a.step) for a in reconcile(look)] == [(Kind.EVICT, 1), (Kind.KEEP, 2)]


def test_a_pruned_save_that_only_the_hook_s_link_keeps_is_kept_and_one_that_is_gone_is_no_loss() -> None:
    linked = view(row(1, State.COMMITTED, hook=True), links=("t1.0",), tombstones=TOMB)
    assert [(a.kind, a.reason) for a in reconcile(linked)] == [(Kind.KEEP, PRUNED)]
    gone = view(row(1, State.VALIDATED, hook=True), tombstones=TOMB)
    assert [a.kind for a in reconcile(gone)] == [Kind.RETIRE]


def test_the_link_and_ticket_of_a_pruned_save_go_while_the_file_itself_is_there() -> None:
    save = row(1, State.COMMITTED, hook=True)
    look = view(save, hot=(1,), links=("t1.0",), tickets=(ticket_of(save),), tombstones=TOMB)
    assert [a.links for a in reconcile(look) if a.kind is Kind.RELEASE and a.ticket] == [("t1.0",)]


def test_a_committed_copy_whose_manifest_is_gone_is_never_evicted_but_sent_again() -> None:
    rows = [row(step, State.COMMITTED) for step in (1, 2)]
    kinds = {(a.kind, a.step, bool(a.after)) for a in reconcile(view(*rows, hot=(1, 2), committed=(2,)))}
    assert kinds == {(Kind.UPLOAD, 1, False), (Kind.EVICT, 1, True), (Kind.KEEP, 2, False)}


CROWDED = msgspec.structs.replace(RULES, retention=Policy((KeepLast(3),)), min_free=250)


def test_below_min_free_committed_copies_go_early_oldest_first_and_only_as_many_as_needed() -> None:
    rows = [row(step, State.COMMITTED) for step in (1, 2, 3)]
    evicted = [
        [
            a.step
            for a in reconcile(view(*rows, hot=(1, 2, 3), committed=(1, 2, 3), free=free, rules=CROWDED))
            if a.kind is Kind.EVICT
        ]
        for free in (250, 249, 150, 100, 0)
    ]
    assert [sorted(steps) for steps in evicted] == [[], [1], [1], [1, 2], [1, 2]]


def test_below_min_free_the_newest_by_either_order_stays() -> None:
    rows = [
        row(9, State.COMMITTED, saved_at=1.0),
        row(2, State.COMMITTED, saved_at=2.0),
        row(3, State.COMMITTED, saved_at=3.0),
    ]
    look = view(*rows, hot=(9, 2, 3), committed=(9, 2, 3), free=0, rules=CROWDED)
    assert [a.step for a in reconcile(look) if a.kind is Kind.EVICT] == [2]


def test_below_min_free_nothing_uncommitted_goes() -> None:
    look = view(row(1), row(2, State.STALLED, retry_at=NOW + 9), row(3), hot=(1, 2, 3), free=0, rules=CROWDED)
    assert not [a for a in reconcile(look) if a.kind in (Kind.EVICT, Kind.LET_GO) and not a.after]


def test_below_min_free_only_links_to_what_the_trainer_deleted_are_let_go_and_never_the_newest() -> None:
    rows = [row(step, hook=True) for step in (1, 2, 3, 4)]
    links = tuple(f"t{step}.0" for step in (1, 2, 3, 4))
    look = view(*rows, hot=(2,), links=links, free=0, rules=CROWDED)
    assert {a.step for a in reconcile(look) if a.kind is Kind.LET_GO} == {1, 3}
    roomy = view(*rows, hot=(2,), links=links)
    assert not [a for a in reconcile(roomy) if a.kind is Kind.LET_GO]


def test_nothing_is_let_go_while_something_can_be_evicted() -> None:
    rows = [row(1, State.COMMITTED), row(2, State.COMMITTED), row(3, hook=True), row(4, hook=True)]
    look = view(*rows, hot=(1, 2), links=("t3.0", "t4.0"), committed=(1, 2), free=0, rules=CROWDED)
    assert [(a.kind, a.step) for a in reconcile(look) if a.kind in (Kind.EVICT, Kind.LET_GO)] == [(Kind.EVICT, 1)]


def test_below_min_free_what_eviction_waits_for_goes_up_first() -> None:
    rows = [row(step) for step in (1, 2, 3)]
    order = {
        free: [
            a.step
            for a in reconcile(
                view(*rows, hot=(1, 2, 3), free=free, rules=msgspec.structs.replace(RULES, min_free=100))
            )
            if a.kind is Kind.UPLOAD
        ]
        for free in (0, 1000)
    }
    assert order == {0: [2, 1, 3], 1000: [3, 2, 1]}
    oldest = msgspec.structs.replace(RULES, newest_first=False)
    assert [a.step for a in reconcile(view(*rows, hot=(1, 2, 3), rules=oldest)) if a.kind is Kind.UPLOAD] == [1, 2, 3]


@pytest.mark.parametrize(
    ("age", "expected"),
    [(0.0, "(wait)"), (9.9, "(wait)"), (10.0, "validate"), (-5.0, "(wait)"), (-3600.0, "validate")],
)
def test_a_scanned_file_is_taken_up_once_settled_and_a_wrong_clock_does_not_hold_it_up_for_ever(
    age: float, expected: str
) -> None:
    file = hot_copy("0", 5, STAMP, at=NOW - age)
    look = view(rules=msgspec.structs.replace(RULES, settle=10.0))
    assert decided(msgspec.structs.replace(look, hot={file.path: file}))[0] == expected


def test_a_file_that_was_handed_over_need_not_settle() -> None:
    file = hot_copy("0", 5, STAMP, at=NOW)
    look = view(tickets=(ticket_of(row(5, hook=True)),), rules=msgspec.structs.replace(RULES, settle=10.0))
    assert decided(msgspec.structs.replace(look, hot={file.path: file}))[0] == "validate"


def test_a_file_that_was_open_for_writing_is_left_alone_for_a_while() -> None:
    assert decided(view(hot=(5,), postponed={path_of("0", 5): NOW + 1})) == ["(wait)"]
    assert decided(view(hot=(5,), postponed={path_of("0", 5): NOW - 1}))[0] == "validate"


def test_a_stalled_or_unreadable_save_waits_for_its_time_and_is_reported() -> None:
    stalled = row(5, State.STALLED, retry_at=NOW + 60)
    assert sorted(decided(view(stalled, hot=(5,)))) == ["keep", "report"]
    unreadable = row(5, State.SAVED, reason="permission denied", retry_at=NOW + 60)
    assert decided(view(unreadable, hot=(5,))) == ["report"]


def test_a_loss_is_mended_by_a_later_save_of_the_step_or_the_same_bytes() -> None:
    lost = row(5, State.LOST, id=50, stamp=Stamp(1, 1, 1), saved_at=100.0)
    later = row(5, State.COMMITTED, saved_at=200.0)
    earlier = row(5, State.COMMITTED, saved_at=50.0, generation=GENERATIONS[1])
    same = row(5, State.COMMITTED, saved_at=50.0)
    for mend, expected in ((later, True), (earlier, False), (same, True)):
        look = view(lost, mend, hot=(5,), committed=(5,))
        forgotten = [a.save for a in reconcile(look) if a.kind is Kind.FORGET]
        assert (forgotten == [lost]) == expected


def test_what_the_hook_hands_over_after_the_scan_found_it_is_joined_to_it() -> None:
    look = view(row(5), hot=(5,), tickets=(ticket_of(row(5), "late"),))
    assert [a.ticket.id for a in reconcile(look) if a.kind is Kind.ATTACH and a.ticket] == ["late"]
    uploading = msgspec.structs.replace(look, busy=frozenset({6}))
    assert not [a for a in reconcile(uploading) if a.kind is Kind.ATTACH]


@pytest.mark.parametrize("state", [State.COMMITTED, State.REJECTED, State.LOST])
def test_a_save_that_is_handed_over_again_ends_as_the_first_did(state: State) -> None:
    first = row(5, state, hook=True)
    look = view(first, hot=(5,), committed=(5,), tickets=(ticket_of(first, "again"),))
    released = [a for a in reconcile(look) if a.kind is Kind.RELEASE and a.ticket]
    assert [(a.ticket.id, a.save, a.links) for a in released if a.ticket] == [("again", first, ("again.0",))]


def test_a_save_that_is_handed_over_again_waits_as_the_first_does() -> None:
    first = row(5, State.VALIDATED, hook=True)
    look = view(first, hot=(5,), tickets=(ticket_of(first), ticket_of(first, "again")))
    assert not [a for a in reconcile(look) if a.kind in (Kind.RELEASE, Kind.ATTACH)]


@pytest.mark.parametrize("state", [State.COMMITTED, State.REJECTED, State.LOST])
def test_a_ticket_that_outlived_its_decision_by_a_kill_is_resolved(state: State) -> None:
    save = row(5, state, hook=True)
    look = view(save, hot=(5,), committed=(5,), tickets=(ticket_of(save),))
    assert [a.save for a in reconcile(look) if a.kind is Kind.RELEASE and a.ticket] == [save]


def test_a_ticket_of_a_save_whose_manifest_is_gone_stays() -> None:
    save = row(5, State.COMMITTED, hook=True)
    look = view(save, hot=(5,), tickets=(ticket_of(save),), links=("t5.0",))
    assert not [a for a in reconcile(look) if a.kind is Kind.RELEASE]


def test_a_link_that_no_save_stands_for_goes_after_a_while_unless_it_is_the_last_name() -> None:
    links = {
        "young": Link(STAMP, 2, NOW - 1),
        "spare": Link(STAMP, 2, 0.0),
        "alone": Link(STAMP, 1, 0.0),
    }
    look = msgspec.structs.replace(view(), links=links)
    assert [(a.kind, a.links) for a in reconcile(look)] == [(Kind.RELEASE, ("spare",)), (Kind.REPORT, ("alone",))]


def test_a_rejected_file_is_set_aside_once_and_stays_reported() -> None:
    aside = msgspec.structs.replace(RULES, set_aside=True)
    rejected = row(5, State.REJECTED)
    assert decided(view(rejected, hot=(5,), rules=aside)) == ["set-aside"]
    moved = msgspec.structs.replace(rejected, path=f".ckpt-tier/rejected/{rejected.path}")
    look = view(moved, rules=aside)
    file = msgspec.structs.replace(hot_copy("0", 5, STAMP), path=moved.path)
    assert decided(msgspec.structs.replace(look, hot={moved.path: file})) == ["report"]


def test_a_save_that_is_being_uploaded_is_left_to_its_thread() -> None:
    look = view(row(5), hot=(5,), busy=frozenset({6}))
    assert decided(look) == ["keep"]
    done = view(row(5, State.COMMITTED), row(6, State.COMMITTED), hot=(5, 6), committed=(5, 6), busy=frozenset({6}))
    assert not [a for a in reconcile(done) if a.kind is Kind.EVICT and not a.after]


def now(look: View, *kinds: Kind) -> list[Action]:
    return [action for action in reconcile(look) if action.kind in kinds and not action.after]


@given(views())
def test_nothing_is_evicted_that_is_not_committed(look: View) -> None:
    for action in now(look, Kind.EVICT):
        save = action.save
        assert save is not None
        assert save.id
        assert save.state is State.COMMITTED
        assert is_committed(save, look)
        assert save.id not in look.busy


@given(views())
def test_the_newest_valid_copies_stay_and_below_min_free_at_least_the_newest(look: View) -> None:
    evicted = [action.save for action in now(look, Kind.EVICT)]
    for series in ("0", "1"):
        valid = [s for s in look.saves if s.series == series and has_hot_copy(s, look) and s.state in VALID]
        roomy = look.free + sum(s.size for s in evicted if s) >= look.rules.min_free and not any(
            "min_free" in a.reason for a in now(look, Kind.EVICT)
        )
        checkpoints = [
            Checkpoint(
                series=s.series, step=s.step, saved_at=s.saved_at, metrics=s.metrics, generation=s.generation or ""
            )
            for s in valid
        ]
        verdicts = look.rules.retention.judge(checkpoints, look.now)
        kept = [save for save, verdict in zip(valid, verdicts, strict=True) if verdict.kept]
        for save in kept if roomy else newest(valid, 1):
            assert save not in evicted


@given(views())
def test_nothing_pruned_is_uploaded_or_evicted(look: View) -> None:
    for action in now(look, Kind.UPLOAD, Kind.EVICT, Kind.ADOPT):
        assert action.save is not None
        assert not pruned(action.save, look)


@given(views())
def test_what_is_protected_or_tracked_stays(look: View) -> None:
    for action in now(look, Kind.EVICT):
        assert (action.series, action.step) not in look.protected
        assert action.path not in look.tracked


@given(views())
def test_only_what_the_trainer_deleted_is_let_go_and_only_below_min_free(look: View) -> None:
    for action in now(look, Kind.LET_GO):
        assert action.save is not None
        assert look.free < look.rules.min_free
        assert has_link(action.save, look)
        assert not has_hot_copy(action.save, look)
        assert not now(look, Kind.EVICT)


@given(views())
def test_the_last_copy_is_only_released_when_it_is_committed(look: View) -> None:
    for action in now(look, Kind.RELEASE):
        for name in action.links:
            link = look.links.get(name)
            if link is not None and link.links == 1 and action.save is not None:
                assert is_committed(action.save, look) or has_hot_copy(action.save, look)


@given(views())
def test_every_hot_file_is_covered_by_some_action(look: View) -> None:
    covered = {action.path for action in reconcile(look)}
    busy = {save.path for save in look.saves if save.id in look.busy}
    assert set(look.hot) <= covered | busy


@given(views())
def test_every_action_has_a_reason_and_every_uncommitted_save_an_end(look: View) -> None:
    actions = reconcile(look)
    assert all(action.reason for action in actions)
    for save in look.saves:
        if save.id not in look.busy:
            assert any(action.save == save for action in actions) or save.state is State.COMMITTED


@given(views())
def test_the_same_view_gives_the_same_list(look: View) -> None:
    assert reconcile(look) == reconcile(msgspec.structs.replace(look))


@examples(50)
@given(views(), st.randoms(use_true_random=False))
def test_the_order_in_which_rows_are_kept_does_not_change_what_is_deleted(look: View, random: object) -> None:
    shuffled = list(look.saves)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = msgspec.structs.replace(look, saves=tuple(shuffled))
    ties = len({(s.series, s.saved_at) for s in look.saves}) < len(look.saves)
    if not ties:
        assert {a.path for a in now(look, Kind.EVICT)} == {a.path for a in now(other, Kind.EVICT)}


def test_what_a_training_asks_for_evicts_the_committed_but_lets_nothing_go_that_is_not() -> None:
    rules = msgspec.structs.replace(RULES, retention=Policy((KeepLast(9),)), room=10**9)
    waiting, *committed = row(1, hook=True), row(2, State.COMMITTED), row(3, State.COMMITTED)
    look = view(waiting, *committed, hot=(2, 3), links=("t1.0",), committed=(2, 3), free=0, rules=rules)
    assert [a.step for a in reconcile(look) if a.kind is Kind.EVICT and not a.after] == [2]
    look = view(waiting, committed[1], hot=(3,), links=("t1.0",), committed=(3,), free=0, rules=rules)
    assert {a.kind for a in reconcile(look)} & {Kind.EVICT, Kind.LET_GO} == set()
