"""Three nodes, one rank each, and nothing in common but the cold tier: whatever order things happen in, and whatever is
killed, no manifest ever mixes shares of two passes of the training."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ckpt_tier.cold.manifest import Manifest, check
from ckpt_tier.core.states import State
from tests.builders import SteppedClock, checkpoint
from tests.examples import examples
from tests.kills import killed_at, one_thread
from tests.unit.flow.test_ranks import OWN, Node

RANKS = 3
WINDOW = 120.0
"""Seconds: the default of `set_window`."""
MEMORY = Path("/dev/shm")  # noqa: S108 (an fsync costs nothing there)
ranks = st.integers(0, RANKS - 1)
steps = st.integers(1, 2)


class Cluster(RuleBasedStateMachine):
    """A training that dies and is started again; every start is a pass, and its shares have bytes of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="ckpt-tier-ranks-", dir=MEMORY if MEMORY.is_dir() else None))
        self.clock = SteppedClock()
        self.nodes = [Node(self.root, f"node-{rank}", OWN, self.clock) for rank in range(RANKS)]
        self.number = 0
        self.passes: dict[str, tuple[int, int]] = {}
        self.saved: dict[tuple[int, int], dict[int, float]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(seconds=st.sampled_from([1.0, 50.0, 200.0]))
    def training_dies_and_is_started_again(self, seconds: float) -> None:
        self.clock.time += seconds
        self.number += 1
        for node in self.nodes:
            node.start_again()

    @rule(survivors=st.sets(ranks, min_size=1, max_size=RANKS - 1), step=steps, seconds=st.sampled_from([1.0, 50.0]))
    def training_dies_amid_a_save(self, survivors: set[int], step: int, seconds: float) -> None:
        self.some_ranks_save(survivors, step, sync=False)
        self.training_dies_and_is_started_again(seconds)
        self.some_ranks_save(set(range(RANKS)) - survivors, step, sync=False)

    @rule(which=st.sets(ranks, min_size=1), step=steps, sync=st.booleans())
    def some_ranks_save(self, which: set[int], step: int, sync: bool) -> None:
        for rank in sorted(which):
            self._save(rank, step)
            if sync:
                self.a_node_syncs(rank)

    def _save(self, rank: int, step: int) -> None:
        if any(rank in saved for (number, at), saved in self.saved.items() if number == self.number and at >= step):
            return  # within one pass, the steps of a rank rise
        path = self.nodes[rank].save(step, rank, RANKS, seed=self.number)
        self.saved.setdefault((self.number, step), {})[rank] = self.clock.time
        self.passes[hashlib.sha256(path.read_bytes()).hexdigest()] = (self.number, rank)

    @rule(rank=ranks)
    def a_node_syncs(self, rank: int) -> None:
        with one_thread():
            self.nodes[rank].sync()

    @rule(rank=ranks, count=st.integers(0, 50))
    def a_sync_is_killed(self, rank: int, count: int) -> None:
        with one_thread(), killed_at(count):
            self.nodes[rank].sync()

    @rule(rank=ranks)
    def a_journal_is_lost(self, rank: int) -> None:
        self.nodes[rank].tiers.lose_journal()

    @rule(seconds=st.sampled_from([10.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule()
    def everybody_syncs(self) -> None:
        with one_thread():
            for node in (*self.nodes, *self.nodes):
                node.sync()
        for (number, step), saved in self.saved.items():
            together = len(saved) == RANKS and max(saved.values()) - min(saved.values()) <= WINDOW
            if number == self.number and together:
                assert any(self._pass_of(m) == {number} for m in self._manifests() if m.step == step), (number, step)

    @invariant()
    def no_manifest_mixes_passes_or_lacks_a_rank(self) -> None:
        for manifest in self._manifests():
            assert [member.rank for member in manifest.members] == list(range(RANKS))
            assert len(self._pass_of(manifest)) == 1, "shares of two passes in one checkpoint"
            for member in manifest.members:
                [file] = member.files
                number, rank = self.passes[file.sha256]
                assert rank == member.rank
                assert (self.nodes[0].tiers.cold / file.key).read_bytes() == checkpoint(
                    manifest.step, 100 * rank + number
                )

    @invariant()
    def nothing_that_is_not_committed_is_evicted(self) -> None:
        committed = {file.sha256 for manifest in self._manifests() for file in manifest.files}
        for node in self.nodes:
            for save in node.tiers.saves():
                if save.state is State.COMMITTED:
                    assert all(file.digest and file.digest.sha256 in committed for file in save.files)

    def _pass_of(self, manifest: Manifest) -> set[int]:
        return {self.passes[file.sha256][0] for file in manifest.files}

    def _manifests(self) -> list[Manifest]:
        return [check(manifest, manifest.key) for manifest in self.nodes[0].manifests()]


_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def test_no_order_of_saves_kills_and_restarts_mixes_two_passes() -> None:
    run_state_machine_as_test(
        Cluster,
        settings=examples(15, stateful_step_count=20, suppress_health_check=_CHECKS),
    )
