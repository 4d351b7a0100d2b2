"""Agreeing on one checkpoint among the processes of a training: a step that only some of them resume from is worse than
none.

Each call is a collective: every rank of the process group makes it, in the same order, and all of them return or all of
them raise. So a failure anywhere is told to everybody before anybody raises it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ckpt_tier import errors
from ckpt_tier.core.events import Emit, PassedOver
from ckpt_tier.errors import CkptTierError, IntegrityError, UsageError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class Choice(msgspec.Struct, frozen=True):
    """One generation of one step: what all ranks restore, or what somebody asked for (then with None in it).
    `committed`: false for what only the leader's hot tier has."""

    series: str | None
    step: int | None
    generation: str | None
    committed: bool = True


class Failure(msgspec.Struct, frozen=True):
    """An error on its way to the other ranks; `kind` is the name of a class in `ckpt_tier.errors`."""

    rank: int
    kind: str
    what: str
    why: str
    fix: str

    @classmethod
    def of(cls, error: Exception, rank: int) -> Failure:
        if isinstance(error, CkptTierError):
            kind = next(each for each in type(error).__mro__ if each.__module__ == errors.__name__)
            return cls(rank, kind.__name__, error.what, error.why, error.fix)
        return cls(rank, CkptTierError.__name__, f"{type(error).__name__}: {error}", "", "look at the log of that rank")

    def error(self) -> CkptTierError:
        """The error again, as every rank raises it."""
        kind: type[CkptTierError] = getattr(errors, self.kind)
        return kind(f"rank {self.rank}: {self.what}", self.why, self.fix)


class _Told(msgspec.Struct, frozen=True):
    """What the leader says: one of the two, `said` as JSON."""

    said: str = ""
    failure: Failure | None = None


class Group:
    """A process group of torch.distributed. For one thread. Raises UsageError if this process is not in it."""

    def __init__(self, group: ProcessGroup) -> None:
        import torch.distributed as dist

        self._group = group
        self.rank: int = dist.get_rank(group)
        self.size: int = dist.get_world_size(group)
        if self.rank < 0:
            raise UsageError("this process is not in the process_group", fix="pass a group that it belongs to")

    def tell(self, ask: Callable[[], S], kind: type[S]) -> S:
        """What `ask` gives the leader, rank 0 of the group, for all; or its error, raised by all."""
        import torch.distributed as dist

        told: list[Any] = [None]
        if self.rank == 0:
            try:
                word = _Told(said=msgspec.json.encode(ask()).decode())
            except Exception as error:  # noqa: BLE001 (told to all: each of them is waiting for a word)
                word = _Told(failure=Failure.of(error, 0))
            told = [msgspec.json.encode(word).decode()]
        dist.broadcast_object_list(told, src=dist.get_global_rank(self._group, 0), group=self._group)
        heard = msgspec.json.decode(told[0], type=_Told)
        if not heard.said:
            raise heard.failure.error() if heard.failure else AssertionError("the leader said nothing")
        return msgspec.json.decode(heard.said, type=kind)

    def gather(self, mine: msgspec.Struct | None) -> list[Any]:
        """What each rank says, by rank, as builtins."""
        import torch.distributed as dist

        said: list[Any] = [None] * self.size
        dist.all_gather_object(said, msgspec.json.encode(mine).decode(), group=self._group)
        return [msgspec.json.decode(each) for each in said]


def restore_together(
    group: Group,
    asked: Choice,
    candidates: Callable[[], Iterable[Choice]],
    bring_back: Callable[[Choice], T],
    emit: Emit,
) -> T:
    """The first of the leader's `candidates` that every rank can bring back. A collective.

    `candidates` is asked on the leader alone. One that is damaged for any rank is passed over by all of them; any other
    error of any rank is raised by all of them. Raises UsageError when the ranks ask for different things.
    """
    _require_one_question(group, asked)
    left: Iterator[Choice] | None = None

    def next_choice() -> Choice:
        nonlocal left
        left = iter(candidates()) if left is None else left
        for choice in left:
            return choice
        raise IntegrityError("no committed checkpoint is good for every rank", "each was passed over", "see the log")

    while True:
        choice = group.tell(next_choice, Choice)
        outcome: list[T] = []
        failure: Failure | None = None
        try:
            outcome = [bring_back(choice)]
        except Exception as error:  # noqa: BLE001 (told to all, then raised by all)
            failure = Failure.of(error, group.rank)
        failed = [msgspec.convert(each, Failure) for each in group.gather(failure) if each is not None]
        if not failed:
            return outcome[0]
        grave = [each for each in failed if not isinstance(each.error(), IntegrityError)]
        if grave:
            raise grave[0].error()
        if asked.step is not None:
            raise failed[0].error()
        emit(PassedOver(series=choice.series or "", step=choice.step or 0, reason=str(failed[0].error())))


def _require_one_question(group: Group, asked: Choice) -> None:
    questions = group.gather(asked)
    other = next((rank for rank, question in enumerate(questions) if question != questions[0]), None)
    if other is not None:
        raise UsageError(
            f"rank {other} asks for another checkpoint than rank 0",
            f"{questions[other]} and {questions[0]}",
            "with a process_group, every rank restores the same; open without one for models of their own",
        )
