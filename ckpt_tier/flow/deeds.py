"""The actions that the thread that looks carries out itself: all but deliveries."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ckpt_tier.core.events import Warned
from ckpt_tier.core.states import State
from ckpt_tier.errors import CkptTierError, IntegrityError, NoSpaceError, UnavailableError
from ckpt_tier.flow import evict
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.flow.ingest import set_aside, take_up
from ckpt_tier.flow.known import Known
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.proof import says_committed
from ckpt_tier.flow.put_off import PutOff
from ckpt_tier.flow.retry import persistently
from ckpt_tier.flow.upload import note_pruned
from ckpt_tier.journal.saves import Save


@dataclass(frozen=True)
class Deeds:
    """What can be done at once, and what becomes of it where it fails."""

    parts: Parts
    known: Known
    put_off: PutOff
    between: Callable[[], None]
    """Called now and then while a file is validated."""

    def do(self, action: Action) -> bool:
        """Carries one action out, or says why not. False if it is about no save and needs one."""
        if action.save is None and action.kind is not Kind.RELEASE:
            return False
        try:
            if action.save is None:
                self._release(action)
            else:
                self._do(action, action.save)
        except (OSError, NoSpaceError) as error:
            self._refused(action, error)
        return True

    def send_again(self, save: Save, error: IntegrityError) -> None:
        """The cold tier does not hold what it should; the hot copy is still there, so it is sent again."""
        self.parts.emit(Warned(text=f"{error}; the hot copy is kept and sent again"))
        self.known.drop(save)
        self.parts.journal.put(msgspec.structs.replace(save, state=State.VALIDATED))

    def _do(self, action: Action, save: Save) -> None:
        try:
            self._carry_out(action, save)
        except IntegrityError as error:
            self.send_again(save, error)
        except UnavailableError as error:
            self.known.went_away(error)

    def _carry_out(self, action: Action, save: Save) -> None:
        match action.kind:
            case Kind.VALIDATE:
                if take_up(self.parts, save, self.between) is None:
                    self.put_off.postpone(save.path)
            case Kind.EVICT:
                if not evict.evict(self.parts, save, action.reason):
                    self.put_off.call_off(action)
            case Kind.LOSE:
                self._lose(save, action.reason)
            case Kind.LET_GO:
                evict.let_go(self.parts, save, action.reason)
            case Kind.RETIRE:
                note_pruned(self.parts, save, action.reason)
            case Kind.SET_ASIDE:
                set_aside(self.parts, save)
            case Kind.FORGET:
                self._forget(save)
            case Kind.RELEASE:
                self._release(action)
            case Kind.ATTACH:
                self._attach(action, save)
            case _:
                raise ValueError(f"{action.kind} is nothing to be done here")

    def _refused(self, action: Action, error: OSError | CkptTierError) -> None:
        """The operating system refuses one file: said, and tried again later; the others go on."""
        self.parts.emit(
            Warned(text=f"can't {action.kind} {action.path}: {error}", fix="check its owner, mode and disk")
        )
        self.put_off.call_off(action)

    def _lose(self, save: Save, reason: str) -> None:
        # A kill may have come between its link and its ticket, and then the journal was lost.
        if save.generation is None and persistently(
            lambda: says_committed(self.parts.cold.manifests, self.known.committed, save), self.parts.clock
        ):
            self._forget(save)
        else:
            evict.lose(self.parts, save, reason)

    def _forget(self, save: Save) -> None:
        self.parts.journal.forget(save.id)
        if save.ticket:
            self._resolve(save.ticket, save)

    def _attach(self, action: Action, save: Save) -> None:
        """Joins a ticket to the row of what scanning had found first."""
        ticket = action.ticket
        if ticket is None:
            return
        links = {file.path: file.link for file in ticket.files}
        files = (msgspec.structs.replace(file, link=links.get(file.path)) for file in save.files)
        self.parts.journal.put(
            msgspec.structs.replace(
                save,
                ticket=ticket.id,
                files=tuple(files),
                rank=ticket.rank,
                world_size=ticket.world_size,
                save_id=ticket.save_id,
                during=ticket.during,
                metrics=ticket.metrics,
                saved_at=ticket.saved_at,
            )
        )

    def _release(self, action: Action) -> None:
        """Lets the hook's links go, and then its ticket."""
        save = action.save
        if save is None:
            for link in action.links:
                self.parts.inbox.release_spare(link)
        elif action.links:
            evict.release(self.parts, save, action.links)
        if action.ticket is not None:
            self._resolve(action.ticket.id, save)

    def _resolve(self, ticket: str, save: Save | None) -> None:
        bad = save is not None and save.state in (State.REJECTED, State.LOST)
        self.parts.inbox.resolve(ticket, rejected=bad)
