"""Taking up a save: reading each of its files once, for validation and checksums alike."""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from ckpt_tier.core.events import Changed, Note, Rejected, Validated, Warned
from ckpt_tier.core.findings import Findings, together
from ckpt_tier.core.nouns import FileDigest, generation_id, member_id
from ckpt_tier.core.states import State
from ckpt_tier.errors import IntegrityError, SourceChangedError
from ckpt_tier.flow.parts import HotParts
from ckpt_tier.formats.check import Level
from ckpt_tier.formats.check import Rejected as RejectedError
from ckpt_tier.formats.validate import Validated as ValidatedFile
from ckpt_tier.formats.validate import validate
from ckpt_tier.hot.scan import stamp_in
from ckpt_tier.journal.saves import Save, SavedFile
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.durable import rename_no_replace
from ckpt_tier.system.locks import is_open_for_writing

UNREADABLE_WAIT = 60.0
"""Seconds until a file that could not be read is looked at again."""


def locate(parts: HotParts, file: SavedFile) -> Path:
    """Where the file's bytes are now: under its own name, else the hook's link.

    Raises SourceChangedError when neither name has this content any more.
    """
    places = [parts.hot / file.path] + ([parts.inbox.unsent / file.link] if file.link else [])
    for place in places:
        try:
            status = place.stat(follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stamp_in(status) == file.stamp:
            return place
    raise SourceChangedError(f"{file.path} is gone or was replaced")


def take_up(parts: HotParts, save: Save, between: Callable[[], None] = lambda: None) -> Save | None:
    """Validates a save and notes the outcome in the journal: VALIDATED or REJECTED.

    None if a file is open for writing, or changed while it was read: then nothing is noted, and it is looked at
    again. `between` is called after every few MiB, for what can't wait until a large file was read. Raises
    CancelledError when asked to stop.
    """
    begun = parts.clock.monotonic()
    files: list[SavedFile] = []
    findings: list[tuple[str, Findings]] = []
    for file in save.files:
        try:
            found = _validated(parts, file, between)
        except FileNotFoundError:
            return None
        except SourceChangedError as error:
            parts.emit(Changed(series=save.series, step=save.step, path=save.path, reason=str(error)))
            return None
        except (IntegrityError, OSError) as error:
            return _postpone(parts, save, f"can't be read: {error}")
        except RejectedError as rejection:
            return _reject(parts, save, _about(save, file, str(rejection)))
        if found is None or found.stamp != file.stamp:
            return None
        digest = FileDigest(
            path=file.path,
            size=found.size,
            mode=found.mode,
            mtime_ns=found.mtime_ns,
            sha256=found.sha256,
            crc64nvme=found.crc64nvme,
        )
        files.append(msgspec.structs.replace(file, digest=digest, pieces=found.pieces))
        findings.append((file.path, found.findings))
    member = member_id(file.digest for file in files if file.digest)
    parts.emit(
        Validated(
            series=save.series,
            step=save.step,
            path=save.path,
            size_bytes=save.size,
            elapsed_seconds=parts.clock.monotonic() - begun,
        )
    )
    return parts.journal.put(
        msgspec.structs.replace(
            save,
            state=State.VALIDATED,
            reason="",
            changed_at=parts.clock.now(),
            files=tuple(files),
            findings=together(findings),
            member=member,
            generation=None if save.is_share else generation_id([member]),
        )
    )


def _validated(parts: HotParts, file: SavedFile, between: Callable[[], None]) -> ValidatedFile | None:
    """What validation finds in a file; None if it is open for writing. Raises what `validate` raises."""
    settings = parts.config.validate
    source = locate(parts, file)
    if is_open_for_writing(source):
        return None

    def stop() -> None:
        parts.clock.sleep(0)
        between()

    return validate(
        source,
        level=Level(settings.level),
        name=Path(file.path).name,
        non_finite=settings.non_finite,
        custom=settings.custom,
        custom_folder=parts.config.file.parent if parts.config.file else None,
        stop=stop,
    )


def _about(save: Save, file: SavedFile, reason: str) -> str:
    return reason if file.path == save.path else f"{file.path.removeprefix(save.path + '/')}: {reason}"


def _postpone(parts: HotParts, save: Save, reason: str) -> Save:
    """Not the file's fault as far as anybody knows: reported, and looked at again later."""
    parts.emit(Warned(text=f"{save.path} {reason}", fix="look at its permissions and at the disk's health"))
    now = parts.clock.now()
    return parts.journal.put(
        msgspec.structs.replace(save, state=State.SAVED, reason=reason, retry_at=now + UNREADABLE_WAIT, changed_at=now)
    )


def _reject(parts: HotParts, save: Save, reason: str) -> Save:
    parts.emit(Rejected(series=save.series, step=save.step, path=save.path, reason=reason))
    row = parts.journal.put(
        msgspec.structs.replace(save, state=State.REJECTED, reason=reason, changed_at=parts.clock.now())
    )
    if save.ticket:
        parts.inbox.resolve(save.ticket, rejected=True)
    return row


def set_aside(parts: HotParts, save: Save) -> None:
    """Moves a rejected file to ``.ckpt-tier/rejected/``, keeping its path below; never over another file."""
    target = parts.hidden / "rejected" / save.path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        rename_no_replace(parts.hot / save.path, target)
    except FileNotFoundError:
        return
    except FileExistsError:
        target = target.with_name(f"{target.name}.{random_id()}")
        rename_no_replace(parts.hot / save.path, target)
    # It stays reported, under its new name, until a person has removed it.
    moved = target.relative_to(parts.hot).as_posix()
    files = tuple(msgspec.structs.replace(file, path=moved + file.path.removeprefix(save.path)) for file in save.files)
    parts.journal.put(msgspec.structs.replace(save, path=moved, files=files))
    parts.emit(Note(text=f"{save.path} was rejected and moved to {target.relative_to(parts.hot)}"))


def software_versions() -> dict[str, str]:
    """What a later reader may want to know about the writer, without importing any of it."""
    from importlib.metadata import version

    return {"ckpt-tier": version("ckpt-tier"), "python": sys.version.split()[0], "torch": version("torch")}
