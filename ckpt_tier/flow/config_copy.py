"""A copy of the configuration in the run, so that a bucket's URL alone is enough to go on elsewhere.

Which copy was put to which run is remembered in the journal: a pass that changed nothing asks the cold tier nothing.
A crash between the put and the note costs one request, which finds the copy there.
"""

import os

import msgspec

from ckpt_tier.cold.configs import config_id, put_config
from ckpt_tier.cold.runs import RunDocument
from ckpt_tier.config import render_portable
from ckpt_tier.core.events import Warned
from ckpt_tier.errors import CkptTierError
from ckpt_tier.flow.parts import Parts


def keep_copy(parts: Parts, run: RunDocument) -> None:
    """Puts the copy if the run does not have it. A failure is said and stops nothing: the next listing tries again."""
    try:
        text = render_portable(parts.config, env=os.environ).encode()
        # With its birth: a bucket that was emptied and filled again has a run of the same id without the copy.
        name = f"{run.id} {run.created_at} {config_id(text)}"
        if parts.journal.facts.config_copy == name:
            return
        put_config(parts.cold.store, parts.config.run, text)
    except CkptTierError as error:
        parts.emit(
            Warned(
                text=f"the configuration was not copied to the run: {error}",
                fix="checkpoints are safe all the same; `ckpt-tier recover` would use the defaults",
            )
        )
        return
    parts.journal.learn(msgspec.structs.replace(parts.journal.facts, config_copy=name))
