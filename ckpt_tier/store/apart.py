"""A folder that may hang, such as one on NFS, seen through a child process that can be given up.

On a hard mount whose server is gone, every system call waits for ever, and neither threads nor signals end that. So
all of them are made by a child (`apart_child`), and whoever asks waits for `patience` at most. What a given-up child
leaves in the folder is what a kill -9 at the same moment leaves; `folder_upload` is built for that. One thing differs:
the calls it hangs in may still be carried out when the server is back, after others have gone on. Each of them is a
whole step of `folder_upload`, `FolderStore.put` or `delete`, and a killed process makes no second one:

- cutting, writing or flushing a temporary file: the process holds its lock until it has ended, so the next upload of
  the key waits; where there are no locks, each has a file of its own;
- publishing without replacing: its bytes were read back before, and the next upload of the key finds them there;
- a `put` that replaces: its next attempt puts the same bytes. One with `if_absent` comes first, or changes nothing;
- a `delete`: it had been decided on, and is repeated until it succeeds. What remains is a single unlink that hangs
  while the rest of the mount answers, for as long as it takes to upload and commit the very same bytes again: then
  their manifest is left without its object, which `verify` says, and the proof before an eviction.
"""

import hashlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ckpt_tier.errors import UnavailableError
from ckpt_tier.store import apart_messages as say
from ckpt_tier.store.apart_process import Child, hung
from ckpt_tier.store.protocol import READ_BLOCK, Blocks, Capabilities, Leftovers, Source, Stat, Watch, check_key
from ckpt_tier.system.mounts import mount_of

PATIENCE = 60.0
"""Seconds without any progress (a block, a page of a listing, a small object) after which a mount counts as hung."""
_MOST_HUNG = 3
"""Processes of this user's programs that may hang in one mount; with so many, none is added until one has ended."""
_REST = 5
"""Times the patience: so long after one has hung no other is tried, unless it ends."""


class ApartStore:
    """A `FolderStore` in a child process, started when it is first needed. `ckpt_tier.store.protocol` is the contract.

    Every call raises UnavailableError when the folder does not answer for `patience` seconds (None: `PATIENCE`), and
    at once while processes that were given up still hang in the same mount. `still_wanted` is called once a second
    while a call waits, and ends it by raising: a process that is asked to stop must not wait for the mount.
    """

    listing_page = None

    def __init__(
        self, root: Path, patience: float | None = None, still_wanted: Callable[[], None] | None = None
    ) -> None:
        self._root = root
        self._still_wanted = still_wanted
        self._patience = PATIENCE if patience is None else patience
        self._starting = threading.Lock()
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return str(self._root)

    def create_marker(self) -> bool:
        """See `FolderStore.create_marker`."""
        return bool(self._result(say.Mark(), bool))

    def remove_marker(self) -> None:
        """See `FolderStore.remove_marker`."""
        self._result(say.Unmark(), None)

    def capabilities(self) -> Capabilities:
        found: Capabilities = self._result(say.TryOut(), Capabilities)
        return found

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        with self._running().call(say.Listing(prefix, after)) as exchange:
            while isinstance(answer := exchange.answer(self._still_wanted), say.Entries):
                yield from answer.entries
                exchange.go_on()

    def folders(self, prefix: str) -> Sequence[str]:
        return [os.fsdecode(name) for name in self._result(say.Folders(prefix), tuple[bytes, ...])]

    def stat(self, key: str) -> Stat:
        found: Stat = self._result(say.Look(check_key(key)), Stat)
        return found

    def get(self, key: str, limit: int) -> bytes:
        return bytes(self._result(say.Get(check_key(key), limit), bytes))

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self._result(say.Put(check_key(key), data, if_absent), None)

    def upload(self, key: str, source: Source, watch: Watch) -> None:
        self._send(key, source, watch, anew=False)

    def refresh(self, key: str, source: Source, watch: Watch) -> None:
        self._send(key, source, watch, anew=True)

    def _send(self, key: str, source: Source, watch: Watch, *, anew: bool) -> None:
        path = os.fsencode(source.path.absolute())
        call = say.Upload(check_key(key), path, source.size, source.crc64nvme, source.pieces, anew)
        with self._running().call(call) as exchange:
            while True:
                match exchange.answer(still_wanted=lambda: watch.moved(0)):
                    case say.Moved(count=count):
                        watch.moved(count)
                    case say.Resumed(count=count):
                        watch.resumed(count)
                    case _:
                        return
                exchange.go_on()

    def read(self, key: str, offset: int, length: int) -> Blocks:
        buffer = memoryview(bytearray(min(READ_BLOCK, length)))
        with self._running().call(say.Read(check_key(key), offset, length), buffer) as exchange:
            while isinstance(answer := exchange.answer(self._still_wanted), say.Block):
                yield buffer[: answer.size]
                exchange.go_on()

    def delete(self, key: str) -> None:
        self._result(say.Delete(check_key(key)), None)

    def clean_up(self, prefixes: Sequence[str], older_than: float, keep: Collection[str]) -> Leftovers:
        gone: Leftovers = self._result(say.CleanUp(tuple(prefixes), older_than, tuple(keep)), Leftovers)
        return gone

    def _result(self, call: say.Call, kind: Any) -> Any:
        """What a call that tells nothing on its way returns."""
        with self._running().call(call) as exchange:
            done = exchange.answer(self._still_wanted)
            assert isinstance(done, say.Done)  # noqa: S101
            return msgspec.msgpack.decode(done.value, type=kind)

    def _running(self) -> Child:
        """The child; a new one if there is none, or the last has ended or was given up."""
        with self._starting:
            last = self._child
            if last is not None and last.is_open:
                return last
            name = self._name()
            stuck = hung(name)
            if len(stuck) >= _MOST_HUNG or self._rests(last):
                raise self._refusal(stuck)
            self._child = Child(self._root, name, self._patience)
            weakref.finalize(self, self._child.close)
            return self._child

    def _rests(self, last: Child | None) -> bool:
        """Whether the last child hangs, and it is too early to try another."""
        if last is None or last.given_up_at is None or not last.hangs:
            return False
        return time.monotonic() < last.given_up_at + _REST * self._patience

    def _refusal(self, stuck: Sequence[int]) -> UnavailableError:
        return UnavailableError(
            f"the cold tier at {self._root} does not answer",
            f"what was sent to look still hangs there (process {', '.join(map(str, stuck)) or 'just now'})",
            "look at the mount's server and network; when it answers they end by themselves, and it is tried again",
        )

    def _name(self) -> str:
        """A name for the children of this folder on this mount: at most 15 bytes, Linux keeps no more. The same place
        mounted anew has other ones, so what hangs in the old mount doesn't count."""
        place = f"{mount_of(self._root).id} {self._root}"
        return "cktier" + hashlib.sha256(os.fsencode(place)).hexdigest()[:8]
