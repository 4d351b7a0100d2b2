"""What `recover` does, in order: find the run, make its configuration, write it, bring every series back, note in the
journal what came back, say what to resume from.

A crash leaves, between any two steps:

1. a temporary file beside the configuration     → a hidden file that nobody reads
2. the configuration under its name              → the next recovery finds an identical one and goes on
3. some series restored, one in staging          → recognised by hash, and gone on with (see flow.restore)
4. some of them noted in the journal             → the rest is noted next time (see flow.recover)
"""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.bring_back import newer_on_hot, not_restored, restored_document, say_failed
from ckpt_tier.cli.documents.recover import RecoverDocument, RunInColdTier
from ckpt_tier.cli.documents.restore import PassedOverDocument, RestoredDocument
from ckpt_tier.cli.emitting import emitting
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.stopping import Stop
from ckpt_tier.cli.words import plural
from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.cold.manifests import Entry
from ckpt_tier.cold.runs import RunDocument, list_runs, read_run
from ckpt_tier.config import FILE_NAME, Config, default_state_dir, from_mapping, load, render
from ckpt_tier.core import events
from ckpt_tier.core.nouns import check_name, is_id
from ckpt_tier.core.units import format_duration, format_size
from ckpt_tier.errors import (
    ConfigError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from ckpt_tier.flow.recover import configuration, fitting_layout, remember, summarise
from ckpt_tier.flow.retry import persistently
from ckpt_tier.operations import Operations
from ckpt_tier.restoring import BroughtBack, Restored
from ckpt_tier.store import open_store
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.clock import Clock, SystemClock, random_id
from ckpt_tier.system.durable import fsync_file, out_of_space_is_said, publish
from ckpt_tier.wiring import Wiring

_WHAT = "ckpt-tier recover"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks of `recover`. `cold` holds keys of ``[cold]``."""

    cold: dict[str, str | bool]
    run: str | None
    hot: Path
    series: str | None
    force: bool


class Account:
    """What has been done so far, for the document and the screen."""

    def __init__(self, cold_url: str, hot: Path) -> None:
        self.cold_url = cold_url
        self.hot = hot
        self.config: Config | None = None
        self.config_written = False
        self.runs: list[RunInColdTier] = []
        self.back = BroughtBack([], {})
        self.restored: list[RestoredDocument] = []
        self.passed_over: list[events.PassedOver] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def document(self, exit_code: int) -> RecoverDocument:
        config = self.config
        return RecoverDocument(
            cold_url=self.cold_url,
            runs=tuple(self.runs),
            run=config.run if config else None,
            run_id=config.run_id if config else None,
            config=str(config.file) if config else None,
            config_written=self.config_written,
            hot_path=str(self.hot),
            restored=tuple(self.restored),
            passed_over=tuple(
                PassedOverDocument(series=e.series, step=e.step, reason=e.reason) for e in self.passed_over
            ),
            failed=not_restored(self.back),
            notes=tuple(self.notes),
            warnings=tuple(self.warnings),
            exit_code=exit_code,
        )


def recover(settings: Settings, wanted: Wanted) -> int:
    """Brings a run back. Raises UsageError (several runs, none named), NotFoundError, ConflictError, ConfigError,
    IntegrityError, NoSpaceError, UnavailableError; what can be brought back all the same is, and said, before that."""
    stop = Stop()
    stop.install()
    clock = SystemClock(stop.request)
    file = Path(settings.config or FILE_NAME).absolute()
    if wanted.series is not None:
        check_name("series", wanted.series)
    plain = _from_call(wanted, wanted.run or "any", {}, file)
    store = _store(plain)
    account = Account(store.url, plain.hot.path)
    say = _nothing if settings.json or settings.quiet else paper.say
    run = wanted.run or _only_run(settings, wanted, store, account, clock)
    document = _run_document_of(store, check_name("run", run), clock)
    say(f"{paper.style('Cold tier', bold=True)}  {store.url}")
    say(f"  run {run!r}, begun {paper.plain(document.created_at[:16].replace('T', ' '))} UTC")
    config, names = _configured(store, wanted, run, document, file, account, clock)
    account.config_written = _put_config(file, config)
    account.config = config
    say(f"{paper.mark(True)} {'wrote' if account.config_written else 'found the same'} {file}")
    for warning in account.warnings if not settings.json else []:
        paper.say(f"{paper.style('warning:', 'yellow')} {paper.plain(warning)}")
    _bring_back(settings, Wiring(config, clock), names, wanted, account)
    error = account.back.error()
    if settings.json:
        paper.say(msgspec.json.encode(account.document(error.exit_code if error else 0)).decode())
    elif not settings.quiet:
        _print_account(account, config)
    if error is not None:
        raise error
    return 0


def _store(config: Config) -> Store:
    try:
        return open_store(config.cold, config.hot.path)
    except ConfigError as error:
        if "same_device" not in error.fix:
            raise
        raise ConfigError(error.what, error.why, "mount the cold tier, or add --same-device if you mean it") from error


def _only_run(settings: Settings, wanted: Wanted, store: Store, account: Account, clock: Clock) -> str:
    """The one run that is there. Where there are several, they are shown, and a person has to choose."""
    names = persistently(lambda: list_runs(store), clock)
    if not names:
        raise NotFoundError(
            f"there is no run at {store.url}",
            "no folder in it has a run.json",
            "give the URL as it was under [cold] url, bucket and prefix, but without the run's name",
        )
    if len(names) == 1:
        return names[0]
    account.runs = [_run_in_cold_tier(Wiring(_from_call(wanted, name, {}, None), clock)) for name in names]
    if settings.json:
        paper.say(msgspec.json.encode(account.document(UsageError.exit_code)).decode())
    else:
        paper.say(_table_of_runs(account.runs))
    raise UsageError(f"there are {len(names)} runs at {store.url}", fix=f"say which: --run {names[0]}")


def _run_in_cold_tier(wiring: Wiring) -> RunInColdTier:
    run = wiring.config.run
    found = persistently(lambda: summarise(run, wiring.store.list(f"{run}/")), wiring.clock)
    newest = max(_readable(wiring, found.newest), key=lambda manifest: (manifest.saved, manifest.step), default=None)
    return RunInColdTier(
        name=run,
        series=found.series,
        checkpoints=found.checkpoints,
        size_bytes=found.size,
        newest_step=newest.step if newest else None,
        saved_at=newest.saved_at if newest else None,
    )


def _run_document_of(store: Store, run: str, clock: Clock) -> RunDocument:
    document = persistently(lambda: read_run(store, run), clock)
    if document is None:
        there = persistently(lambda: list_runs(store), clock)
        why = f"there {'is' if len(there) == 1 else 'are'}: {', '.join(there)}" if there else "there is none at all"
        raise NotFoundError(f"there is no run {run!r} at {store.url}", why, "look at --run and at the URL")
    if not is_id(document.id):
        raise IntegrityError(f"the run.json of {run!r} is not sound", "its id is none", "look who wrote it")
    return document


def _configured(
    store: Store, wanted: Wanted, run: str, document: RunDocument, file: Path, account: Account, clock: Clock
) -> tuple[Config, list[str]]:
    """The configuration that the run, this machine and the command line give, and the series to bring back."""
    plain = _from_call(wanted, run, {}, file)
    cold = msgspec.structs.asdict(plain.cold)
    tree, account.warnings = persistently(lambda: configuration(store, run, cold), clock)
    hot = tree.setdefault("hot", {})
    wiring = Wiring(plain, clock)
    entries = Operations(wiring).entries(wanted.series)
    if not entries:
        of = f"the series {wanted.series!r}" if wanted.series else f"the run {run!r}"
        raise NotFoundError(f"{of} has no committed checkpoint", fix="nothing was written; look at --run and --series")
    newest = {entry.series: entry for entry in entries}
    hot["layout"], fits = fitting_layout(hot.get("layout"), _readable(wiring, newest.values()))
    if not fits:
        account.warnings.append("no layout fits the paths of all checkpoints: look at [hot] layout")
    config = msgspec.structs.replace(_from_call(wanted, run, tree, file), run_id=document.id)
    return config, sorted(newest)


def _readable(wiring: Wiring, entries: Iterable[Entry]) -> list[Manifest]:
    found, _ = persistently(lambda: wiring.cold.manifests.read_all(entries), wiring.clock)
    return list(found.values())


def _from_call(wanted: Wanted, run: str, tree: dict[str, dict[str, object]], file: Path | None) -> Config:
    """`tree` with what only the command line says. Of the environment only where the state lives: the file that is
    written must mean the same on a machine without it."""
    document: dict[str, object] = {**tree.get("", {}), **{s: keys for s, keys in tree.items() if s}}
    document |= {"run": run, "hot": {**tree.get("hot", {}), "path": str(wanted.hot.absolute())}, "cold": wanted.cold}
    return msgspec.structs.replace(from_mapping(document, env=_environment(), cwd=Path.cwd()), file=file)


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name == "CKPT_TIER_STATE_DIR" or not name.startswith("CKPT_TIER_")
    }


def _put_config(file: Path, config: Config) -> bool:
    """Writes the configuration; False if one of the same meaning is there. Raises ConflictError if another one is."""
    env = _environment()
    text = render(msgspec.structs.replace(config, state_dir=default_state_dir(config.hot.path, env)), env=env)
    if not file.exists():
        temporary = file.with_name(f".{file.name}.{random_id()}.tmp")
        try:
            with out_of_space_is_said(file):
                temporary.write_text(text, encoding="utf-8")
                fsync_file(temporary)
            publish(temporary, file)
        except ConflictError:
            pass  # another recovery was faster: see below what it wrote
        else:
            return True
        finally:
            temporary.unlink(missing_ok=True)
    try:
        same = load(file, env=env, cwd=Path.cwd()) == config
    except ConfigError:
        same = False
    if not same:
        raise ConflictError(
            f"{file} is there and differs from the configuration that the run gives",
            "a configuration is never replaced in passing; nothing was changed",
            "with that one, run `ckpt-tier restore --latest`; or move it away; or give --config OTHER.toml",
        )
    return False


def _bring_back(settings: Settings, wiring: Wiring, names: list[str], wanted: Wanted, account: Account) -> None:
    """The series; then the journal."""
    operations = Operations(wiring)
    done: dict[str, events.Restored] = {}
    hold_until = wiring.clock.now() + wiring.config.hot.hold
    with emitting(settings, wiring.clock, "recovering") as emit:

        def note_and_emit(event: events.Event) -> None:
            if isinstance(event, events.Restored):
                done[event.series] = event
            elif not isinstance(event, events.Committed):
                emit(event)
            if isinstance(event, events.PassedOver):
                account.passed_over.append(event)
            if isinstance(event, events.Warned):
                account.warnings.append(event.text)

        account.back = operations.restore(note_and_emit, step=None, series=names, force=wanted.force, hot=False)
        came_back = account.back.restored
        account.restored += [restored_document(each, done[each.series], hold_until) for each in came_back]
        if came_back:
            _remember(wiring, came_back, note_and_emit, account)
    try:
        account.notes += newer_on_hot(operations, came_back)
    except ConfigError as error:  # no layout: the checkpoints are back all the same
        account.warnings.append(str(error))


def _remember(wiring: Wiring, came_back: list[Restored], emit: events.Emit, account: Account) -> None:
    try:
        with wiring.working(emit, _WHAT) as parts:
            wanted = {(back.series, back.step, back.generation) for back in came_back}
            oldest = {back.series: back.step for back in came_back}
            entries = persistently(lambda: wiring.cold.manifests.entries_from(oldest), wiring.clock)
            for manifest in _readable(wiring, [e for e in entries if (e.series, e.step, e.generation) in wanted]):
                for path in remember(parts, wiring.layout, manifest):
                    account.notes.append(f"{path} was not noted in the journal; `ckpt-tier sync` takes it up")
    except (ConflictError, ConfigError, UnavailableError) as error:
        # The journal is a cache: a worker that is at the folder already, or the next sync, finds the files by itself.
        account.notes.append(f"the journal was not touched: {error}")


def _table_of_runs(runs: list[RunInColdTier]) -> str:
    cells = [
        (
            run.name,
            str(run.series),
            f"{run.checkpoints:,}",
            format_size(run.size_bytes),
            "" if run.newest_step is None else str(run.newest_step),
            "" if run.saved_at is None else run.saved_at[:16].replace("T", " "),
        )
        for run in runs
    ]
    headings = ("run", "series", "checkpoints", "size", "newest step", "saved (UTC)")
    return paper.columns(cells, headings=headings, right={1, 2, 3, 4})


def _print_account(account: Account, config: Config) -> None:
    if account.restored:
        fetched = sum(each.fetched_bytes for each in account.restored)
        there = sum(each.size_bytes for each in account.restored) - fetched
        paper.say()
        paper.say(
            f"{paper.mark(True)} {plural(len(account.restored), 'checkpoint')}, every byte verified: "
            f"{format_size(fetched)} fetched" + (f", {format_size(there)} already there" if there > 0 else "")
        )
        paper.say(f"  held for {format_duration(config.hot.hold)}: not evicted before that ([hot] hold)")
        paper.say()
        paper.say(paper.style("Resume from", bold=True))
        rows = [(b.series, str(b.step), b.generation, f) for b in account.restored for f in b.files]
        headings = ("series", "step", "generation", "file")
        paper.say(paper.columns(rows, headings=headings, right={1}, indent=2))
    for note in account.notes:
        paper.say(f"{paper.style('note:', 'yellow')} {paper.plain(note)}")
    say_failed(account.back)
    if account.restored:
        paper.say()
        paper.say(_next_steps(config))


def _next_steps(config: Config) -> str:
    file = config.file or Path(FILE_NAME)
    elsewhere = "" if file == Path.cwd() / FILE_NAME else f" --config {shlex.quote(str(file))}"
    rows = [
        (f"ckpt-tier status{elsewhere}", "what there is, in both tiers"),
        (f"ckpt-tier restore --step N{elsewhere}", "an older step instead"),
        (f"ckpt-tier sync --watch{elsewhere}", "keep the new checkpoints safe; or let the hook start it"),
    ]
    return "\n".join([paper.style("Next", bold=True), paper.columns(rows, indent=2)])


def _nothing(_: str = "") -> None:
    return
