"""What the answers of a bucket mean: for its credentials, its permissions, and for checkpoints that lie in it."""

from collections.abc import Callable, Iterator, Sequence

from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.doctor.finding import Finding, bad, from_error, good, guarded, warning
from ckpt_tier.errors import CkptTierError, UnavailableError
from ckpt_tier.store.s3_bucket import ARCHIVES, Inspection, Permission, Reached, Rule
from ckpt_tier.store.s3_errors import ForbiddenError, UnsupportedError

STALE = 86_400.0
"""Seconds after which an unfinished upload has lost its worker."""
_SOON = 3600.0
"""Seconds: credentials that expire before this, in a process that can't get new ones, end an upload."""

COSTS = {
    "s3:ListBucket": "no checkpoint can be found, and a missing object looks like a forbidden one",
    "s3:GetObject": "nothing can be proven, so nothing is evicted, and nothing comes back",
    "s3:PutObject": "nothing can be uploaded",
    "s3:DeleteObject": "nothing can ever be pruned, and a write that came out wrong stays",
    "s3:AbortMultipartUpload": "the pieces of an upload that can't go on stay, and are paid for",
    "s3:ListMultipartUploadParts": "an upload that was killed begins anew",
    "s3:ListBucketMultipartUploads": "an upload that was killed begins anew",
}
"""What goes wrong without each permission."""
_VITAL = ("s3:ListBucket", "s3:GetObject", "s3:PutObject")
TO_CLEAN_UP = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
"""Without these the store is not tried out: what that writes could not be removed again."""


def credentials(inspection: Inspection, now: float) -> Iterator[Finding]:
    """Where they come from, never what they are."""
    found = inspection.credentials()
    left = None if found.expires_at is None else found.expires_at - now
    until = "" if left is None else f", good for {format_duration(left)}"
    if left is not None and left <= 0 and found.provider == "env":
        yield bad(
            "credentials",
            f"those in the environment expired {format_duration(-left)} ago",
            "export fresh AWS_* variables, or use a profile or role that renews itself",
            UnavailableError.exit_code,
        )
        return
    if left is not None and left < _SOON and found.provider == "env":
        yield warning(
            "credentials",
            f"those in the environment expire in {format_duration(left)}, and no process gets new ones from there",
            "export fresh AWS_* variables before starting a worker, or use a profile or role that renews itself",
        )
    yield good("credentials", f"found by the AWS chain: {found.provider}{until}")


def unreachable(reached: Reached, problem: CkptTierError) -> Finding:
    """The finding for a bucket whose first answer was an error."""
    finding = from_error("cold tier" if reached.about == "place" else reached.about, problem)
    if reached.region is not None and reached.about == "place":
        return bad(finding.subject, finding.what, f'set region = "{reached.region}" in [cold]', finding.exit_code)
    return finding


def permissions(tried: Sequence[Permission]) -> Iterator[Finding]:
    """What is missing, each with the smallest thing that a policy has to allow."""
    for each in tried:
        fix = f"allow {each.action} on {each.resource}"
        if each.allowed is None:
            yield warning(
                "permissions", f"whether {each.action} is allowed can't be told while s3:ListBucket is refused", fix
            )
        elif not each.allowed:
            what = f"{each.action} is refused: {COSTS[each.action]}"
            yield bad("permissions", what, fix) if each.action in _VITAL else warning("permissions", what, fix)
    if all(each.allowed for each in tried):
        yield good("permissions", f"all {len(tried)} that are used are there")


def bucket(inspection: Inspection, run: str, now: float) -> Iterator[Finding]:
    """What the bucket does to checkpoints by itself. What may not be looked at is said, and is no fault."""
    rules: list[Rule] | None = None

    def lifecycle() -> Iterator[Finding]:
        nonlocal rules
        rules = inspection.rules()
        return dangers(rules, inspection.root, run)

    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lifecycle,
        lambda: _versions(inspection, rules, run),
        lambda: _lock(inspection),
        lambda: _archived(inspection, run),
        lambda: _unfinished(inspection, rules, run, now),
    )
    for check in checks:
        yield from guarded("bucket", lambda check=check: _if_allowed(check))  # type: ignore[misc]


def dangers(rules: Sequence[Rule], root: str, run: str) -> Iterator[Finding]:
    """What lifecycle rules do to a run's objects, which lie below ``<root><run>/``."""
    ours = [rule for rule in rules if _touches(rule.prefix, f"{root}{run}/")]
    for rule in ours:
        where = f"the lifecycle rule {rule.name!r} (prefix {rule.prefix!r})"
        if rule.expires is not None:
            yield bad(
                "bucket",
                f"{where} deletes objects {rule.expires}: committed checkpoints disappear for good",
                f"limit the rule to another prefix than {root}{run}/, or disable it",
            )
        for storage_class, after in rule.archives:
            yield warning(
                "bucket",
                f"{where} moves objects to {storage_class} {after}: they must be asked back, which takes hours, before "
                "anything is restored, verified or listed",
                f"use GLACIER_IR or STANDARD_IA, which can be read at once, or another prefix than {root}{run}/",
            )
    if not any(rule.expires or rule.archives for rule in ours):
        yield good("bucket", "no lifecycle rule deletes or archives checkpoints")


def _touches(prefix: str, place: str) -> bool:
    return place.startswith(prefix) or prefix.startswith(place)


def _covers(prefix: str, place: str) -> bool:
    return place.startswith(prefix)


def _if_allowed(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except ForbiddenError as error:
        yield good("bucket", f"not looked at, since these credentials may not: {error.what.partition(' on ')[0]}")
    except UnsupportedError as error:
        yield good("bucket", f"not looked at: {error.why}")


def _versions(inspection: Inspection, rules: Sequence[Rule] | None, run: str) -> Iterator[Finding]:
    if not inspection.versioning():
        yield good("bucket", "versioning is off")
        return
    place = f"{inspection.root}{run}/"
    if any(rule.frees_versions and _covers(rule.prefix, place) for rule in rules or ()):
        yield good("bucket", "versioning is on, and a lifecycle rule deletes old versions")
        return
    told = "" if rules is not None else " (whether a lifecycle rule deletes them can't be seen)"
    yield warning(
        "bucket",
        f"versioning is on: prune frees nothing, since what is deleted stays as an old version and is paid for{told}; "
        "so do the small objects by which the store is tried out",
        "add a lifecycle rule with NoncurrentVersionExpiration, which deletes old versions only",
    )


def _lock(inspection: Inspection) -> Iterator[Finding]:
    days = inspection.lock_days()
    if days is None:
        yield good("bucket", "no object lock by default")
        return
    yield warning(
        "bucket",
        f"object lock keeps every new object for {days:,} days: prune frees nothing before",
        "leave it if that is what it is for; else remove the default retention of the bucket",
    )


def _archived(inspection: Inspection, run: str) -> Iterator[Finding]:
    classes = inspection.storage_classes(f"{run}/")
    archived = sum(classes[name] for name in ARCHIVES)
    if archived:
        names = " and ".join(name for name in ARCHIVES if classes[name])
        yield bad(
            "bucket",
            f"{archived:,} of the run's first {sum(classes.values()):,} objects are in {names}: they can't be read",
            "ask them back (aws s3api restore-object) before you need them, and stop the rule that put them there",
            UnavailableError.exit_code,
        )
    elif classes:
        yield good("bucket", f"objects are in {', '.join(sorted(classes))}")


def _unfinished(inspection: Inspection, rules: Sequence[Rule] | None, run: str, now: float) -> Iterator[Finding]:
    ends = any(rule.ends_uploads and _covers(rule.prefix, f"{inspection.root}{run}/") for rule in rules or ())
    rule = "add a lifecycle rule with AbortIncompleteMultipartUpload after 7 days"
    old = inspection.unfinished(now - STALE)
    if old.count:
        size = "an unknown size" if old.size is None else format_size(old.size)
        yield warning(
            "bucket",
            f"{old.count:,} unfinished uploads are older than a day, {size} in all: they are paid for",
            "a `ckpt-tier sync` goes on with those it still has files for; "
            + ("the bucket's rule ends the rest" if ends else rule),
        )
    elif rules is not None and not ends and inspection.is_aws:
        yield warning("bucket", "no lifecycle rule ends uploads that nobody goes on with: they are paid for", rule)
    else:
        yield good("bucket", "no unfinished upload older than a day is listed")
