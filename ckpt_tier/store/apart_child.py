"""The child of an `ApartStore`: a `FolderStore` that is asked over a socket, its standard input.

Its first thread only talks; each call works in a thread of its own, and those may hang. When the socket ends, so does
the process, at once: what it leaves of an upload is what a kill -9 leaves, and the next one goes on from there.
"""

import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import msgspec

from ckpt_tier.errors import CancelledError
from ckpt_tier.store.apart_messages import (
    Answer,
    Ask,
    Block,
    Call,
    CleanUp,
    Delete,
    Done,
    Entries,
    Folders,
    Get,
    Go,
    Link,
    Listing,
    Look,
    Mark,
    Moved,
    Order,
    Put,
    Read,
    Ready,
    Resumed,
    Stop,
    TryOut,
    Unmark,
    Upload,
    failure,
)
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Source, Stat

"""So much of a `Read` is a sign of life: a slow mount is no hung one."""
_MOST_ENTRIES = 1000
_LONGEST_SILENCE = 1.0
"""Seconds after which the entries found so far are told."""


class Caller:
    """Whoever asked: is told, and paces or ends the call. A `Watch`."""

    def __init__(self, link: Link[Order], call: int) -> None:
        self.link = link
        self.id = call
        self.orders: queue.SimpleQueue[Go | Stop] = queue.SimpleQueue()

    def moved(self, count: int) -> None:
        self.tell(Moved(self.id, count))

    def resumed(self, count: int) -> None:
        self.tell(Resumed(self.id, count))

    def tell(self, answer: Moved | Resumed | Entries | Block, data: memoryview | None = None) -> None:
        """Tells, and waits until told to go on; raises CancelledError when told to stop."""
        self.link.send(answer, data)
        if isinstance(self.orders.get(), Stop):
            raise CancelledError("stopped on request", fix="run the same command again to go on")


def main() -> None:
    """``argv``: …, the store's root, the name under which the process can be found."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever started it ends in good order, and then the socket ends
    root, name = sys.argv[-2:]
    Path("/proc/self/comm").write_text(name)
    link: Link[Order] = Link(socket.socket(fileno=0), Order)
    link.send(Ready())
    serve(FolderStore(Path(root)), link)
    os._exit(0)  # threads that hang are not waited for


def serve(store: FolderStore, link: Link[Order]) -> None:
    """Answers until the socket ends."""
    callers: dict[int, Caller] = {}
    while True:
        try:
            order = link.receive()
        except (EOFError, OSError):
            return
        if isinstance(order, Ask):
            callers[order.id] = caller = Caller(link, order.id)
            threading.Thread(target=_work, args=(store, order.call, caller, callers), daemon=True).start()
        elif order.id in callers:
            callers[order.id].orders.put(order)


def _work(store: FolderStore, call: Call, caller: Caller, callers: dict[int, Caller]) -> None:
    answer: Answer
    try:
        answer = Done(caller.id, msgspec.Raw(msgspec.msgpack.encode(_result(store, call, caller))))
    except Exception as error:  # noqa: BLE001 (every error is the caller's)
        answer = failure(caller.id, error)
    callers.pop(caller.id, None)
    caller.link.send(answer)


def _result(store: FolderStore, call: Call, caller: Caller) -> object:
    match call:
        case Listing(prefix, after):
            _list(store, prefix, after, caller)
        case Folders(prefix):
            return [os.fsencode(name) for name in store.folders(prefix)]
        case Look(key):
            return store.stat(key)
        case Get(key, limit):
            return store.get(key, limit)
        case Put(key, data, if_absent):
            store.put(key, data, if_absent=if_absent)
        case Upload(key, path, size, crc, pieces, anew):
            send = store.refresh if anew else store.upload
            send(key, Source(Path(os.fsdecode(path)), size, crc, pieces), caller)
        case Read(key, offset, size):
            _read(store, key, offset, size, caller)
        case Delete(key):
            store.delete(key)
        case CleanUp(prefixes, older_than, keep):
            return store.clean_up(prefixes, older_than, keep)
        case TryOut():
            return store.capabilities()
        case Mark():
            return store.create_marker()
        case Unmark():
            store.remove_marker()
    return None


def _list(store: FolderStore, prefix: str, after: str, caller: Caller) -> None:
    found: list[Stat] = []
    told = time.monotonic()
    for entry in store.list(prefix, after):
        found.append(entry)
        if len(found) == _MOST_ENTRIES or time.monotonic() - told > _LONGEST_SILENCE:
            caller.tell(Entries(caller.id, tuple(found)))
            found, told = [], time.monotonic()
    caller.tell(Entries(caller.id, tuple(found)))


def _read(store: FolderStore, key: str, offset: int, size: int, caller: Caller) -> None:
    for block in store.read(key, offset, size):
        caller.tell(Block(caller.id, len(block)), block)
