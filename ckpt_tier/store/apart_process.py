"""The parent's side of an `ApartStore`'s child: starting it, calling it, giving it up.

**Giving up.** A process that waits for a dead mount ignores even SIGKILL until the server is back. So it is killed and
not waited for: the socket is shut, every call under way raises, and a daemon thread collects the process whenever it
ends. It keeps nothing of ours open: its standard streams are the socket and /dev/null, so nobody who reads our output
waits for it, and no lock of ours outlives us in it.

**Buffers.** The thread that receives writes straight into a caller's buffer. Therefore a call ends only by a message
from that thread: its result, its error, or, after the socket was shut, the thread's own last word.
"""

import contextlib
import itertools
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ckpt_tier.errors import CkptTierError, UnavailableError
from ckpt_tier.store.apart_messages import (
    Answer,
    Ask,
    Block,
    Call,
    Done,
    Entries,
    Failed,
    Go,
    Link,
    Moved,
    Order,
    Ready,
    Resumed,
    Stop,
    error_of,
)

STARTING = 60.0
"""Seconds for an interpreter to start on a busy machine. It does not touch the mount in that time."""
ENDING = 2.0
"""Seconds that a call which was told to stop gets to end in good order, before its process is given up."""
_PULSE = 1.0
"""Seconds between two questions to a waiting caller whether it still wants to wait."""
_DYING = 1.0
"""Seconds in which a killed process is gone, unless it hangs."""
_START = "import sys; sys.path.append(sys.argv[1]); from ckpt_tier.store.apart_child import main; main()"


class Child:
    """One process that works on the folder `root`. Safe to use from several threads.

    Raises UnavailableError when it can't be started.
    """

    def __init__(self, root: Path, name: str, patience: float) -> None:
        self.root = root
        self.patience = patience
        self.given_up_at: float | None = None
        self.ended = threading.Event()
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self._open = True
        self._numbers = itertools.count()
        self._exchanges: dict[int, Exchange] = {}
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _start(theirs, root, name)
            except OSError as error:
                ours.close()
                raise UnavailableError(
                    f"no process could be started for {root}", error.strerror or "", "it is tried again"
                ) from error
        self._link: Link[Answer] = Link(ours, Answer)
        self._link.give_up_sending_after(patience)
        threading.Thread(target=self._receive, name=f"apart-{self.pid}", daemon=True).start()
        if not self._ready.wait(STARTING):
            self.give_up()
        if not self.is_open or self.given_up_at is not None:
            raise self.gone()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._open

    @property
    def hangs(self) -> bool:
        """Whether it was given up, and is still there although it was killed."""
        if self.given_up_at is None:
            return False
        return not self.ended.wait(max(0.0, self.given_up_at + _DYING - time.monotonic()))

    def call(self, call: Call, buffer: memoryview | None = None) -> "Exchange":
        """Begins a call. `buffer` is where a `Read` puts its bytes. Raises UnavailableError."""
        exchange = Exchange(self, next(self._numbers), buffer)
        with self._lock:
            if not self._open:
                raise self.gone()
            self._exchanges[exchange.id] = exchange
        self.send(Ask(exchange.id, call))
        return exchange

    def send(self, order: Order) -> None:
        """Raises nothing: a process that doesn't read is given up, and whoever waits for its answer is told."""
        try:
            self._link.send(order)
        except BlockingIOError:
            self.give_up()
        except OSError:
            self._link.shut()

    def forget(self, exchange: "Exchange") -> None:
        with self._lock:
            self._exchanges.pop(exchange.id, None)

    def give_up(self) -> None:
        """Kills the process without waiting for its end. All its calls end."""
        with self._lock:
            if self.given_up_at is None:
                self.given_up_at = time.monotonic()
        self._process.kill()
        self._link.shut()

    def close(self) -> None:
        """Ends a process that is not needed any more; waits a moment for it."""
        self._link.shut()
        if self.given_up_at is None:
            self.ended.wait(_DYING)

    def gone(self) -> UnavailableError:
        """Why there is no answer."""
        if self.given_up_at is not None:
            return UnavailableError(
                f"the cold tier at {self.root} does not answer",
                f"nothing moved for {self.patience:g} s; process {self.pid}, which waits for it, was given up",
                f"look at the mount's server and network (`ls {self.root}` hangs too); it is tried again",
            )
        return UnavailableError(
            f"the process that works on the cold tier at {self.root} ended",
            f"it was process {self.pid}; somebody may have killed it, or memory ran out",
            "it is started anew and tried again",
        )

    def _receive(self) -> None:
        try:
            with contextlib.suppress(EOFError, OSError, msgspec.MsgspecError):
                while True:
                    self._deliver(self._link.receive())
        finally:
            with self._lock:
                self._open = False
                waiting = list(self._exchanges.values())
            for exchange in waiting:
                exchange.answers.put(None)
            self._ready.set()
            self._link.shut()
            self._link.close()
            self._process.wait()
            self.ended.set()

    def _deliver(self, answer: Answer) -> None:
        if isinstance(answer, Ready):
            self._ready.set()
            return
        exchange = self._exchanges.get(answer.id)
        if isinstance(answer, Block):
            self._link.receive_into(exchange.room(answer.size) if exchange else memoryview(bytearray(answer.size)))
        if exchange is not None:
            exchange.answers.put(answer)


class Exchange:
    """One call under way, of one thread. A context: leaving it early ends the call in the child too."""

    def __init__(self, child: Child, number: int, buffer: memoryview | None) -> None:
        self.id = number
        self.answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._child = child
        self._buffer = buffer
        self._ended = False

    def room(self, size: int) -> memoryview:
        """Where the next `size` bytes belong. They come only after `go_on`, when nobody needs those before."""
        if self._buffer is None or size > len(self._buffer):
            raise EOFError("more bytes than were asked for")
        return self._buffer[:size]

    def answer(self, still_wanted: Callable[[], None] | None = None) -> Entries | Moved | Resumed | Block | Done:
        """The next answer. `still_wanted` is called once a second meanwhile, and may raise.

        Raises the call's own error; UnavailableError when nothing comes for `patience` seconds, or the child is gone.
        """
        waited = 0.0
        while waited < self._child.patience:
            step = min(_PULSE, self._child.patience - waited)
            with contextlib.suppress(queue.Empty):
                return self._checked(self.answers.get(timeout=step))
            waited += step
            if still_wanted is not None:
                still_wanted()
        self._child.give_up()
        while True:
            answer = self._checked(self.answers.get())
            if self._ended:  # it came at the last moment
                return answer

    def go_on(self) -> None:
        """Lets the child continue after it told something."""
        self._child.send(Go(self.id))

    def _checked(self, answer: Answer | None) -> Entries | Moved | Resumed | Block | Done:
        if answer is None or isinstance(answer, Done | Failed):
            self._ended = True
            self._child.forget(self)
        if answer is None or isinstance(answer, Ready):
            raise self._child.gone()
        if isinstance(answer, Failed):
            raise error_of(answer)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._ended:
            return
        self._child.send(Stop(self.id))
        try:
            self._sit_out(min(ENDING, self._child.patience))
        except queue.Empty:
            self._child.give_up()
            self._sit_out(None)

    def _sit_out(self, seconds: float | None) -> None:
        """Takes answers that nobody wants any more, until the call has ended. Raises queue.Empty after `seconds`."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._ended:
            answer = self.answers.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            with contextlib.suppress(CkptTierError):  # whoever leaves has an error of their own
                self._checked(answer)


def _start(channel: socket.socket, root: Path, name: str) -> subprocess.Popen[bytes]:
    # -P: a torch.py in the current folder is not ours to import.
    package = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _START, package, os.fspath(root), name],
        stdin=channel.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def hung(name: str) -> list[int]:
    """The processes of that name which were killed and are still there, of this parent or another.

    The first thread of a child never touches the mount, so it is dead by then: a zombie that others keep from ending.
    ``/proc/<pid>/stat`` answers whatever the process waits for (its command line might not).
    """
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):  # it ended meanwhile
            before, _, after = (place / "stat").read_text(errors="replace").rpartition(")")
            if (
                before.partition("(")[2] == name
                and after.split()[0] == "Z"
                and len(list((place / "task").iterdir())) > 1
            ):
                found.append(int(place.name))
    return found
