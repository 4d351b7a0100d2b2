"""What `prune`, `pin`, `unpin` and `abandon` ask of both tiers: plan first, then carry out exactly that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import msgspec

from ckpt_tier.core.nouns import check_name
from ckpt_tier.core.retention import Checkpoint, KeepBest, Policy
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import ConfigError, ConflictError, IntegrityError, MissingKeyError, NotFoundError
from ckpt_tier.flow.prune import AT_ONCE, Ruling, as_checkpoints, remove, rule
from ckpt_tier.flow.prune_hot import delete, rule_on_copies, rule_on_rejected
from ckpt_tier.flow.reclaim import Loose, find_loose, free, store_now
from ckpt_tier.flow.retry import persistently
from ckpt_tier.operations import Operations
from ckpt_tier.system.asking import answers
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.streams import at_once
from ckpt_tier.wiring import Wiring

if TYPE_CHECKING:
    from ckpt_tier.cold.manifest import Manifest
    from ckpt_tier.cold.manifests import Entry
    from ckpt_tier.cold.pins import Pin
    from ckpt_tier.core.branches import Branch
    from ckpt_tier.core.events import Emit
    from ckpt_tier.core.metrics import Best
    from ckpt_tier.flow.actions import Action
    from ckpt_tier.flow.parts import HotParts
    from ckpt_tier.flow.prune_alone import Staying
    from ckpt_tier.store.protocol import Stat

_NAMED = 8
"""So many metrics are named to whoever asks for another."""
_SERIES_AT_ONCE = 4
"""In which loose data is looked for at the same time: of each all its listings are held."""
P = ParamSpec("P")
T = TypeVar("T")
_WHAT = "ckpt-tier prune --tier hot"


class LeftBranch(msgspec.Struct, frozen=True, kw_only=True):
    """One series that training went back in. `checkpoints` counts the committed generations on the old branch."""

    series: str
    after_step: int
    checkpoints: int


class BestCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One generation that is among the best by a metric."""

    series: str
    step: int
    generation: str
    metric: str
    value: float


class BestPins(msgspec.Struct, frozen=True, kw_only=True):
    """What `pin --best` has found and pinned, the best of each series first; a step of two generations has one pin.

    `untrusted`: the manifests that can't be read, by their entries; nobody knows whether they are among the best.
    """

    pins: tuple[Pin, ...]
    best: tuple[BestCheckpoint, ...]
    untrusted: Mapping[Entry, IntegrityError]


class ColdPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune of the cold tier comes to.

    Attributes:
        policy: the rules that hold.
        grace: seconds.
        rulings: every committed generation, by series and step.
        loose: data that nothing refers to, by series.
        untrusted: the manifests that can't be read, by their entries; all their data is kept.
        manifests: the manifests of what is to be removed, by (series, step, generation).
        noted: when a metric of each generation was noted last, as `cold.notes` says it.
    """

    policy: Policy
    grace: float
    rulings: tuple[Ruling, ...]
    loose: Mapping[str, Loose]
    untrusted: Mapping[Entry, IntegrityError]
    manifests: Mapping[tuple[str, int, str], Manifest]
    noted: Mapping[tuple[str, int, str], int] = {}

    @property
    def removals(self) -> list[Ruling]:
        """What the policy does not keep."""
        return [ruling for ruling in self.rulings if not ruling.kept]

    @property
    def due(self) -> list[Stat]:
        """The data that can be freed now."""
        return [stat for loose in self.loose.values() for stat in loose.due]


class HotPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune of the hot tier comes to: each copy's ruling, with reconcile's action for it.

    `problems`: what could not be told, in whole clauses; none of it is deleted.
    """

    policy: Policy
    copies: tuple[tuple[Ruling, Action], ...]
    problems: tuple[str, ...] = ()

    @property
    def rulings(self) -> list[Ruling]:
        return [ruling for ruling, _ in self.copies]

    @property
    def removals(self) -> list[Ruling]:
        """What is deleted."""
        return [ruling for ruling in self.rulings if not ruling.kept]


class Pruning:
    """The housekeeping of a configuration. To be used by one thread."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._config = wiring.config
        self._clock = wiring.clock

    def cold_plan(self, series: str | None = None, *, dry_run: bool = False) -> ColdPlan:
        """What the policy of `[cold]` keeps and removes, and which data is loose.

        The store's time is learnt by putting a small object and removing it; with `dry_run` nothing at all is changed,
        and this machine's clock stands for it.

        Raises NotFoundError (no such run or series), UnavailableError, ConflictError (somebody prunes just now).
        """
        from ckpt_tier.cold.notes import list_notes

        manifests = self._wiring.cold.manifests
        names = self._series(series)
        found, damaged = self._read_all(names)
        if series is not None and not found and not damaged:
            raise NotFoundError(f"the series {series!r} has no committed checkpoint", fix="see `ckpt-tier list`")
        now = self._clock.now()
        policy = self._config.cold.retention
        notes = self._ask(list_notes, manifests, names)
        rulings = rule(policy, found, damaged, self._protected(names), now, notes)
        loose = self._find_loose(names, now if dry_run else self._store_now())
        doomed = {(r.series, r.step, r.generation) for r in rulings if not r.kept}
        return ColdPlan(
            policy=policy,
            grace=self._config.cold.grace,
            rulings=tuple(rulings),
            loose=loose,
            untrusted=damaged,
            manifests={
                (entry.series, entry.step, entry.generation): manifest
                for entry, manifest in found.items()
                if (entry.series, entry.step, entry.generation) in doomed
            },
            noted=notes.latest,
        )

    def remove(self, plan: ColdPlan) -> Iterator[tuple[Ruling, bool]]:
        """Carries out the removals of a plan, each with whether it went: not what was pinned, held or noted since."""
        from ckpt_tier.cold.notes import list_notes

        manifests = self._wiring.cold.manifests
        names = sorted({ruling.series for ruling in plan.removals})
        protected = self._protected(names)
        noted = self._ask(list_notes, manifests, names).latest
        doomed = []
        for ruling in plan.removals:
            key = (ruling.series, ruling.step, ruling.generation or "")
            if key[:2] in protected or noted.get(key) != plan.noted.get(key):
                yield ruling, False
            else:
                doomed.append((plan.manifests[key], ruling))
        yield from remove(manifests, doomed, plan.policy, self._clock)

    def look_for_loose(self, plan: ColdPlan) -> dict[str, Loose]:
        """The loose data of a plan's series, looked for anew, by the store's own clock."""
        return self._find_loose(plan.loose, self._store_now())

    def free(self, plan: ColdPlan, found: Mapping[str, Loose]) -> Iterator[Stat]:
        """Deletes what was due in the plan and is due in what was `found` just now; yields each object that went."""
        agreed = {stat.key for stat in plan.due}
        due = [stat for loose in found.values() for stat in loose.due if stat.key in agreed]
        return free(self._wiring.cold.store, due, self._clock)

    def hot_plan(
        self, series: str | None = None, *, rejected: bool = False, emit: Emit = lambda event: None
    ) -> HotPlan:
        """What is deleted from the hot tier now, or with `rejected` of its rejected files. Changes nothing; without a
        cold tier it reads every copy that the journal does not know, and notes there what it found.

        Raises ConfigError (no hot folder), NotFoundError (no such run), UnavailableError, and without a cold tier
        ConflictError (somebody else is at it).
        """
        if not self._config.has_cold:
            from ckpt_tier.flow.prune_alone import read_all

            with self._wiring.working_on_hot(emit, _WHAT) as parts:
                read_all(parts, self._wiring.layout, series)
                return self._plan_alone(parts, series, rejected=rejected)[0]
        actions = [action for action in Operations(self._wiring).plan() if series in (None, action.series)]
        copies = rule_on_rejected(actions, self._saved_last()) if rejected else rule_on_copies(actions)
        return HotPlan(policy=self._config.hot.retention, copies=tuple(copies))

    def delete(self, plan: HotPlan, emit: Emit, *, rejected: bool) -> Iterator[tuple[str, bool]]:
        """Deletes what a plan says and what still holds, under the worker's lock: each path with whether it went.

        Raises ConflictError (the worker is running), IntegrityError, UnavailableError.
        """
        agreed = {(action.path, ruling.generation) for ruling, action in plan.copies if not ruling.kept}
        from ckpt_tier.flow.interrupted import recover_evictions

        if not self._config.has_cold:
            yield from self._delete_alone(agreed, emit, rejected=rejected)
            return
        with self._wiring.working(emit, _WHAT) as parts:
            recover_evictions(parts, self._wiring.layout)
            for ruling, action in self.hot_plan(rejected=rejected).copies:
                if not ruling.kept and (action.path, ruling.generation) in agreed:
                    self._clock.sleep(0)
                    yield action.path, delete(parts, action)

    def _plan_alone(self, parts: HotParts, series: str | None, *, rejected: bool) -> tuple[HotPlan, Staying]:
        """The plan by what the journal knows, and what stays if it is carried out."""
        from ckpt_tier.flow.prune_alone import Staying, look, rule_on_all
        from ckpt_tier.flow.reconcile import reconcile
        from ckpt_tier.flow.whole import all_whole

        view, found = look(parts, self._wiring.layout)
        good = all_whole(view)
        copies = rule_on_all(view)
        going = {action.path for ruling, action in copies if not ruling.kept}
        if rejected:
            good.sort(key=lambda each: (each.begun_at, each.step))
            last = {each.series: (each.begun_at, each.step) for each in good}
            copies = rule_on_rejected(reconcile(view), last, "validated")
        plan = HotPlan(
            policy=self._config.hot.retention,
            copies=tuple(pair for pair in copies if series in (None, pair[1].series)),
            problems=found.problems,
        )
        staying = [each for each in good if not any(save.path in going for save in each.saves)]
        return plan, Staying(parts, staying)

    def _delete_alone(
        self, agreed: Container[tuple[str, str | None]], emit: Emit, *, rejected: bool
    ) -> Iterator[tuple[str, bool]]:
        from ckpt_tier.flow.interrupted import recover_evictions
        from ckpt_tier.flow.prune_alone import delete as delete_alone
        from ckpt_tier.flow.prune_alone import removals

        with self._wiring.working_on_hot(emit, _WHAT) as parts:
            recover_evictions(parts, self._wiring.layout)
            plan, staying = self._plan_alone(parts, None, rejected=rejected)
            for together in removals(plan.copies):
                if all((action.path, ruling.generation) in agreed for ruling, action in together):
                    self._clock.sleep(0)
                    actions = [action for _, action in together]
                    went = delete_alone(parts, self._wiring.layout, actions, staying)
                    yield from ((action.path, went) for action in actions)

    def pin(self, step: int, series: str | None, reason: str) -> list[Pin]:
        """Pins a step, in one series or in each that has it, on either tier.

        Raises NotFoundError (no such step), ConflictError (it was pruned at the same moment).
        """
        from ckpt_tier.cold.pins import Pin, write_pin

        manifests = self._wiring.cold.manifests
        committed = self._having(self._series(series), step)
        names = sorted(committed | self._hot_series(step, series))
        if not names:
            from ckpt_tier.flow.listing import no_such_step

            raise no_such_step(manifests, self._series(series), step)
        pins = [Pin(series=name, step=step, pinned_at=format_time(self._clock.now()), reason=reason) for name in names]
        at_once(lambda pin: self._ask(write_pin, manifests, pin), pins, AT_ONCE)
        if gone := sorted(committed - self._having(committed, step)):
            raise ConflictError(
                f"step {step} of series {gone[0]!r} was pruned at the same moment",
                "its pin came too late",
                "its data is still there for the grace: see docs/retention.md on how to bring it back",
            )
        return pins

    def pin_best(self, best: Best, count: int, series: str | None, reason: str) -> BestPins:
        """Pins the `count` best committed checkpoints by a metric, in one series or in each that knows it, with the
        value as their reason unless another one is given.

        Raises NotFoundError when no checkpoint has the metric; ConflictError, UnavailableError.
        """
        from ckpt_tier.cold.notes import list_notes

        names = self._series(series)
        found, damaged = self._read_all(names)
        checkpoints = as_checkpoints(found, self._ask(list_notes, self._wiring.cold.manifests, names))
        rule = KeepBest(best.metric, best.mode, count)
        chosen: list[Checkpoint] = []
        for name in names:
            mine = [each for each in checkpoints.values() if each.series == name]
            chosen += [mine[place] for place in rule.keeps(mine, self._clock.now())]
        if not chosen:
            raise _no_such_metric(best.metric, checkpoints.values())
        pins: dict[tuple[str, int], Pin] = {}
        for each in chosen:
            if (each.series, each.step) not in pins:
                told = reason or f"best by {best.metric} ({best.mode}): {each.metrics[best.metric]:.6g}"
                [pins[each.series, each.step]] = self.pin(each.step, each.series, told)
        return BestPins(
            pins=tuple(pins.values()),
            best=tuple(
                BestCheckpoint(
                    series=each.series,
                    step=each.step,
                    generation=each.generation,
                    metric=best.metric,
                    value=each.metrics[best.metric],
                )
                for each in chosen
            ),
            untrusted=damaged,
        )

    def unpin(self, step: int, series: str | None) -> list[tuple[str, int]]:
        """Removes the pin of a step, in one series or in each that has it pinned. Raises NotFoundError."""
        from ckpt_tier.cold.pins import list_pins, remove_pin

        manifests = self._wiring.cold.manifests
        names = self._series(series)
        pinned = sorted(pin for pin in self._ask(list_pins, manifests, names) if pin[1] == step)
        if not pinned:
            raise NotFoundError(f"step {step} is not pinned", fix="`ckpt-tier list` shows what is")
        at_once(lambda pin: self._ask(remove_pin, manifests, *pin), pinned, AT_ONCE)
        return pinned

    def abandon(self, after: int, series: str | None) -> list[LeftBranch]:
        """Notes, in one series or in each, that what was saved until now for steps after `after` is abandoned.

        Raises NotFoundError when there is no such step to go on from.
        """
        from ckpt_tier.cold.branches import write_branch
        from ckpt_tier.core.branches import Branch

        manifests, now = self._wiring.cold.manifests, self._clock.now()
        names = sorted(self._having(self._series(series), after))
        if not names:
            from ckpt_tier.flow.listing import no_such_step

            raise no_such_step(manifests, self._series(series), after)
        branches = [Branch(name, after, now) for name in names]
        at_once(lambda branch: self._ask(write_branch, manifests, branch), branches, AT_ONCE)
        return self._left(branches)

    def take_back(self, after: int, series: str | None) -> list[LeftBranch]:
        """Takes back what was abandoned after a step. Raises NotFoundError when nothing was."""
        from ckpt_tier.cold.branches import list_branches, remove_branch

        manifests = self._wiring.cold.manifests
        branches = [b for b in self._ask(list_branches, manifests, self._series(series)) if b.after == after]
        if not branches:
            raise NotFoundError(f"nothing was abandoned after step {after}", fix="see `ckpt-tier list`")
        left = self._left(branches)
        at_once(lambda branch: self._ask(remove_branch, manifests, branch), branches, AT_ONCE)
        return left

    def _left(self, branches: Sequence[Branch]) -> list[LeftBranch]:
        manifests = self._wiring.cold.manifests
        later = self._ask(manifests.entries_from, {branch.series: branch.after + 1 for branch in branches})
        found, _ = self._ask(manifests.read_all, later)
        return [
            LeftBranch(
                series=branch.series,
                after_step=branch.after,
                checkpoints=sum(branch.holds(m.series, m.step, m.saved) for m in found.values()),
            )
            for branch in branches
        ]

    def _read_all(self, names: Iterable[str]) -> tuple[dict[Entry, Manifest], dict[Entry, IntegrityError]]:
        """The manifests of these series, and those that can't be trusted."""
        manifests = self._wiring.cold.manifests
        entries = self._ask(manifests.entries_from, dict.fromkeys(names, 0))
        try:
            return self._ask(manifests.read_all, entries)
        except MissingKeyError as error:
            raise ConflictError(
                "a manifest disappeared while it was read", "somebody else prunes at the same time", "run it again"
            ) from error

    def _find_loose(self, names: Collection[str], now: float) -> dict[str, Loose]:
        manifests, grace = self._wiring.cold.manifests, self._config.cold.grace
        found = answers(lambda name: self._ask(find_loose, manifests, name, grace, now), list(names), _SERIES_AT_ONCE)
        return dict(zip(names, found, strict=True))

    def _store_now(self) -> float:
        return self._ask(store_now, self._wiring.cold.store, random_id())

    def _series(self, series: str | None) -> list[str]:
        if series is not None:
            return [check_name("series", series)]
        return self._ask(self._wiring.cold.manifests.series)

    def _protected(self, names: list[str]) -> dict[tuple[str, int], str]:
        """What stays whatever the policy says, and why."""
        from ckpt_tier.cold.pins import read_pins
        from ckpt_tier.hot.holds import held

        hot, now = self._config.hot.path, self._clock.now()
        protected = {
            key: f"restored, and held until {format_time(until)[:16]}Z" for key, until in held(hot, now).items()
        }
        return protected | self._ask(read_pins, self._wiring.cold.manifests, names)

    def _saved_last(self) -> dict[str, tuple[float, int]]:
        """For each series the (saved_at, step) of the committed checkpoint that was saved last."""
        manifests = self._wiring.cold.manifests
        entries = self._ask(manifests.entries_from, dict.fromkeys(self._series(None), 0))
        found, _ = self._ask(manifests.read_all, entries)
        last: dict[str, tuple[float, int]] = {}
        for manifest in found.values():
            here = (manifest.saved, manifest.step)
            last[manifest.series] = max(here, last.get(manifest.series, here))
        return last

    def _having(self, names: Iterable[str], step: int) -> set[str]:
        """Those of the series that have the step in the cold tier."""
        entries = self._ask(self._wiring.cold.manifests.entries_from, dict.fromkeys(names, step))
        return {entry.series for entry in entries if entry.step == step}

    def _hot_series(self, step: int, series: str | None) -> set[str]:
        from ckpt_tier.hot.scan import scan

        with contextlib.suppress(ConfigError):  # without a hot folder, or one that can't be told, the cold tier counts
            copies = scan(self._config.hot.path, self._wiring.layout).copies
            return {copy.series for copy in copies if copy.step == step and series in (None, copy.series)}
        return set()

    def _ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`call`, tried again while the cold tier is away for some seconds."""
        return persistently(lambda: call(*args, **kwargs), self._clock)


def _no_such_metric(metric: str, checkpoints: Iterable[Checkpoint]) -> NotFoundError:
    known = sorted({name for each in checkpoints for name in each.metrics})
    return NotFoundError(
        f"no committed checkpoint has the metric {metric!r}",
        f"there are {', '.join(known[:_NAMED])}" if known else "none has any",
        f"note it with `ckpt-tier annotate STEP {metric}=…`, or pass metrics= to the hook",
    )
