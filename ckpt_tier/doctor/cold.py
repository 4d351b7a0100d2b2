"""The cold tier: that it is there, that it is ours, and that it does what the program asks of a store."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ckpt_tier.cold.runs import check_same_run, read_run
from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.doctor import bucket
from ckpt_tier.doctor.finding import Finding, bad, good, guarded, warning
from ckpt_tier.doctor.hot import save_size
from ckpt_tier.errors import NoSpaceError, UnavailableError
from ckpt_tier.hot.space import space
from ckpt_tier.store import folder_path
from ckpt_tier.store.apart import ApartStore
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.probe import try_out
from ckpt_tier.store.protocol import Store
from ckpt_tier.store.s3 import S3Store
from ckpt_tier.store.s3_bucket import Permission
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.mounts import mount_of
from ckpt_tier.wiring import Wiring

REFUSED = 900.0
"""Seconds: S3 refuses requests that are further from its own time.
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RequestTimeTooSkewed)"""
NOTICEABLE = 60.0
"""Seconds between two clocks that are worth a word."""
_SET_CLOCK = "let NTP set the clock: timedatectl set-ntp true"


def cold_tier(wiring: Wiring) -> Iterator[Finding]:
    """All checks of the cold tier; where there is none, or it can't be reached, only that."""
    if not wiring.config.has_cold:
        yield warning(
            "cold tier",
            "there is none: nothing is uploaded, and this disk holds the only copies",
            'add url = "s3://bucket/prefix" under [cold], or see docs/disk.md on living without one',
        )
        return
    store = wiring.store
    if isinstance(store, S3Store):
        yield from _s3(wiring, store)
    elif isinstance(store, FolderStore | ApartStore):
        yield from _folder(wiring, store)
    else:
        yield from guarded("cold tier", lambda: _trials(store))
        yield from guarded("cold tier", lambda: _run(wiring))


def clock_finding(ahead: float, other: str, refused: float | None = None) -> Finding:
    """What it means that this machine's clock is `ahead` seconds of `other`'s."""
    apart = f"this machine's clock is {format_duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} {other}"
    if refused is not None and abs(ahead) >= refused:
        return bad("clock", f"{apart}: it refuses requests", _SET_CLOCK, UnavailableError.exit_code)
    if abs(ahead) >= NOTICEABLE:
        return warning("clock", f"{apart}: ages and times of saving are wrong by as much", _SET_CLOCK)
    return good("clock", f"within {max(1, round(abs(ahead)))} s of {other}")


def _s3(wiring: Wiring, store: S3Store) -> Iterator[Finding]:
    inspection = store.inspection()
    now = wiring.clock.now
    found = list(guarded("credentials", lambda: bucket.credentials(inspection, now())))
    yield from found
    if any(finding.level == "bad" for finding in found):
        return
    reached = inspection.reach()
    skew = None if reached.server_time is None else clock_finding(now() - reached.server_time, "the store's", REFUSED)
    if skew is not None:
        yield skew
    if reached.problem is not None:
        if not (reached.about == "clock" and skew is not None and skew.level == "bad"):
            yield bucket.unreachable(reached, reached.problem)
        return
    yield good("cold tier", f"{store.url} answers")
    tried: list[Permission] = []

    def permissions() -> Iterator[Finding]:
        tried.extend(inspection.permissions(f"{wiring.config.run}/run.json"))
        return bucket.permissions(tried)

    yield from guarded("permissions", permissions)
    allowed = {each.action for each in tried if each.allowed}
    if allowed.issuperset(bucket.TO_CLEAN_UP):
        yield from guarded("cold tier", lambda: _trials(store))
    else:
        yield warning(
            "cold tier",
            "it was not tried out: what that writes could not be removed again",
            f"trying takes {', '.join(bucket.TO_CLEAN_UP)}: allow them, and run this again",
        )
    yield from guarded("cold tier", lambda: _run(wiring))
    yield from bucket.bucket(inspection, wiring.config.run, now())


def _folder(wiring: Wiring, store: FolderStore | ApartStore) -> Iterator[Finding]:
    root = folder_path(wiring.config.cold.url)
    mount = mount_of(root)
    store.folders("")  # raises what a missing mount or marker means
    yield good(
        "cold tier", f"{root} is marked as a cold tier{f', on {mount.kind} ({mount.source})' if mount.kind else ''}"
    )
    may_be_asked = isinstance(store, FolderStore)  # else only its own process may touch the mount
    if may_be_asked and wiring.config.cold.same_device and root.stat().st_dev == wiring.config.hot.path.stat().st_dev:
        yield warning(
            "cold tier",
            f"{root} is on the same device as {wiring.config.hot.path}: if that disk fails, both tiers are gone",
            "move the cold tier to another disk, a NAS or a bucket, and remove `same_device`",
        )
    if may_be_asked:
        yield from guarded("cold tier", lambda: _room(wiring, root))
    yield from guarded("cold tier", lambda: _trials(store))
    yield from guarded("clock", lambda: _clock_of_files(wiring, store))
    yield from guarded("cold tier", lambda: _run(wiring))


def _room(wiring: Wiring, root: Path) -> Iterable[Finding]:
    room = space(root)
    size, _ = save_size(wiring)
    told = f"{format_size(room.free)} of {format_size(room.total)} free"
    if room.free < size:
        yield bad(
            "cold tier",
            f"{told}, the next save takes {format_size(size)}: nothing more can be uploaded, so nothing is evicted",
            f"free some space on {root}, or move it to a larger disk",
            NoSpaceError.exit_code,
        )
    else:
        yield good("cold tier", told)


def _trials(store: Store) -> Iterator[Finding]:
    works = []
    for trial in try_out(store):
        if trial.ok:
            works.append(trial.name)
        elif trial.needed:
            what = f"{trial.name}: {trial.detail.removesuffix(f'; {trial.fix}')}"
            yield bad("cold tier", what, trial.fix or "use a store that can do it", trial.exit_code)
        else:
            yield warning("cold tier", f"{trial.name}: {trial.detail}", "nothing need be done; another store is faster")
    if works:
        yield good("cold tier", f"tried: {', '.join(works)}")


def _clock_of_files(wiring: Wiring, store: Store) -> Iterable[Finding]:
    key = f".ckpt-tier-probe/{random_id()}"
    try:
        store.put(key, b"ckpt-tier")
        yield clock_finding(wiring.clock.now() - store.stat(key).modified, "the cold folder's")
    finally:
        store.delete(key)


def _run(wiring: Wiring) -> Iterator[Finding]:
    config, store = wiring.config, wiring.store
    document = read_run(store, config.run)
    if document is None:
        yield good("cold tier", f"the run {config.run!r} has not begun there")
        return
    check_same_run(document, config.run, config.run_id, store.url)
    if config.run_id is None:
        yield warning(
            "configuration",
            f"there is no run_id: whatever run is called {config.run!r} in the cold tier is joined",
            f'if it is this training, set run_id = "{document.id}"',
        )
    yield good("cold tier", f"the run {config.run!r} is there since {document.created_at[:16].replace('T', ' ')} UTC")
