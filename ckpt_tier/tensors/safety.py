"""Which globals torch.load(weights_only=True) takes, told without importing torch.

torch/_weights_only_unpickler.py, `_get_allowed_globals`; a test holds this against the installed torch.
"""

import re
from collections.abc import Iterable

from ckpt_tier.tensors.tree import printable

_ALLOWED = re.compile(
    r"_codecs\.encode|builtins\.(bytearray|complex|set)|collections\.(Counter|OrderedDict)"
    r"|torch\.(cuda\.)?(sparse\.)?\w+|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_\w+"
    r"|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout|torch\.storage\.(Typed|Untyped)Storage"
)
_MOST_SHOWN = 5


def not_safely_loadable(names: Iterable[str]) -> list[str]:
    """A note on what weights_only=True refuses; nothing where there is nothing."""
    foreign = sorted(printable(name)[:80] for name in names if not _ALLOWED.fullmatch(name))
    if not foreign:
        return []
    more = f" and {len(foreign) - _MOST_SHOWN} more" if len(foreign) > _MOST_SHOWN else ""
    return [f"not loadable with weights_only=True: uses {', '.join(foreign[:_MOST_SHOWN])}{more}"]
