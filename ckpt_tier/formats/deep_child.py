"""The child process that unpickles (inertly) and reads tensors: ``python -c … FOLDER TASK DESCRIPTOR SIZE``.

Its reply is one JSON object on standard output (`child.Reply`).
"""

import sys
from collections.abc import Callable

import msgspec

from ckpt_tier.formats.check import OpenFile, Rejected
from ckpt_tier.formats.child import Reply
from ckpt_tier.formats.legacy_layout import read_layout
from ckpt_tier.formats.memory import limited_memory
from ckpt_tier.formats.reader import FileReader


def _legacy_layout(reader: OpenFile) -> Reply:
    with limited_memory():
        read_layout(reader)
    return Reply()


def _deep(kind: str) -> Callable[[OpenFile], Reply]:
    def run(reader: OpenFile) -> Reply:
        from ckpt_tier.formats.tensors import examine

        return examine(kind, reader)

    return run


TASKS: dict[str, Callable[[OpenFile], Reply]] = {
    "legacy-layout": _legacy_layout,
    "torch-zip": _deep("torch-zip"),
    "torch-legacy": _deep("torch-legacy"),
    "safetensors": _deep("safetensors"),
}


def main() -> None:
    """Runs the task that the command line names."""
    task, descriptor, size = sys.argv[2:5]
    try:
        reply = TASKS[task](FileReader(int(descriptor), int(size)))
    except Rejected as rejection:
        reply = Reply(rejected=str(rejection))
    except ImportError as error:
        reply = Reply(broken=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(reply))
