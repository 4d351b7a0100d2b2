"""What the verbs work with: the two tiers, the journal and the clock of one configuration."""

from dataclasses import dataclass
from pathlib import Path

from ckpt_tier.cold.manifests import Manifests
from ckpt_tier.cold.receipts import Receipts
from ckpt_tier.cold.runs import RunDocument
from ckpt_tier.config import Config
from ckpt_tier.core.events import Emit
from ckpt_tier.inbox import HIDDEN, Inbox
from ckpt_tier.journal.journal import Journal
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.clock import Clock


@dataclass(frozen=True)
class Cold:
    """One run in the cold tier, as far as reading goes."""

    store: Store
    run: RunDocument
    manifests: Manifests
    receipts: Receipts


@dataclass(frozen=True)
class HotParts:
    """Everything that changes the hot tier; held by the one process that has the worker's lock."""

    config: Config
    journal: Journal
    inbox: Inbox
    clock: Clock
    emit: Emit

    @property
    def hot(self) -> Path:
        """The hot folder, absolute."""
        return self.config.hot.path

    @property
    def hidden(self) -> Path:
        """The tool's own folder inside the hot folder."""
        return self.hot / HIDDEN


@dataclass(frozen=True)
class Parts(HotParts):
    """The same with the cold tier."""

    cold: Cold
