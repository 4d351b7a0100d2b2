"""What `init` does, in order: look at the folder, try the cold tier, check every checkpoint, join the run, write the
configuration. Each step says what came of it; the first that fails ends it, and nothing has been written by then."""

import contextlib
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.documents.init import InitDocument, Trial
from ckpt_tier.cli.found import Found, look_closely
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.stopping import Stop
from ckpt_tier.cold.runs import RunDocument, join_run, read_run
from ckpt_tier.config import FILE_NAME, Config, from_mapping, render
from ckpt_tier.errors import ConfigError, ConflictError, UnavailableError
from ckpt_tier.flow.retry import persistently
from ckpt_tier.formats.check import Level
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.recognise import recognise
from ckpt_tier.hot.scan import Scan, scan
from ckpt_tier.store import open_store
from ckpt_tier.store.apart import ApartStore
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.probe import try_out
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.clock import SystemClock, random_id
from ckpt_tier.system.durable import write_atomic


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks of `init`. `cold` holds keys of ``[cold]``; None stands for not given."""

    hot: Path
    cold: dict[str, str | bool | None]
    run: str | None
    keep_last: int | None
    layout: str | None
    level: str
    force: bool
    file: Path | None


def set_up(settings: Settings, wanted: Wanted) -> int:
    """Sets a run up. Raises ConfigError, ConflictError (there is a configuration), UnavailableError."""
    stop = Stop()
    stop.install()
    clock = SystemClock(stop.request)
    say = _nothing if settings.json or settings.quiet else paper.say
    file = Path(wanted.file or FILE_NAME).absolute()
    _refuse_to_replace(file, force=wanted.force)
    old = _old_run_id(file)
    hot = wanted.hot.absolute()
    layout, seen = _layout(hot, wanted.layout)
    say(f"{paper.style('Hot tier', bold=True)}  {hot}")
    say(f"  layout {layout.pattern}{'' if wanted.layout else ', recognised'}")
    config = _config(wanted, hot, layout, file)
    if not config.has_cold:
        return _set_up_alone(settings, wanted, config, layout, seen, clock)
    store = _store(config)
    say()
    say(f"{paper.style('Cold tier', bold=True)}  {store.url}")
    with _marked(store):
        trials = []
        for trial in try_out(store):
            note = f": {trial.detail}" if trial.detail else ""
            say(f"  {paper.mark(trial.ok)} {trial.name}{note}")
            trials.append(Trial(name=trial.name, passed=trial.ok, detail=trial.detail, needed=trial.needed))
        _require(trials, store, shown=not (settings.json or settings.quiet))
        found = look_closely(settings, hot, seen, Level(wanted.level), clock)
        say()
        say(found.text())
        there = persistently(lambda: read_run(store, config.run), clock)
        document = persistently(lambda: join_run(store, config.run, None, new_id=random_id(), now=clock.now()), clock)
        config = msgspec.structs.replace(config, run_id=document.id)
        _write(file, render(config, env=os.environ))
    if settings.json:
        paper.say(msgspec.json.encode(_document(config, layout, found, trials)).decode())
    else:
        say()
        say(_joined(config, there, old))
        say(f"{paper.mark(True)} wrote {file}")
        say()
        say(_next_steps(config, file, layout))
    return 0


def _set_up_alone(
    settings: Settings, wanted: Wanted, config: Config, layout: Layout, seen: Scan, clock: SystemClock
) -> int:
    """Without a cold tier: no store is tried, and no run begun."""
    file = config.file or Path(FILE_NAME)
    found = look_closely(settings, config.hot.path, seen, Level(wanted.level), clock)
    _write(file, render(config, env=os.environ))
    if settings.json:
        paper.say(msgspec.json.encode(_document(config, layout, found, [])).decode())
        return 0
    paper.say(f"\n{found.text()}\n")
    paper.say(f"{paper.mark(True)} wrote {file}\n")
    elsewhere = _elsewhere(file)
    then = [
        (f"ckpt-tier prune --tier hot --dry-run{elsewhere}", f"keep the newest {config.hot.keep_last}: what would go"),
        (f"ckpt-tier prune --tier hot{elsewhere}", "the same, asked for and deleted"),
        (f"ckpt-tier init {shlex.quote(str(wanted.hot))} URL --force{elsewhere}", "once there is a cold tier"),
    ]
    paper.say(paper.style("Next: there is no cold tier, so nothing has a second copy", bold=True))
    paper.say(paper.columns(then, indent=2))
    return 0


def run_name(hot: Path) -> str:
    """A run name made from the hot folder's parent, which mostly is the training's name."""
    fit = re.sub(r"[^a-z0-9._-]+", "-", hot.parent.name.lower()).strip("._-")[:64]
    return fit or "training"


def _refuse_to_replace(file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise ConflictError(
            f"{file} is already there",
            "a configuration is never replaced in passing",
            "edit it, or give --force: the old one is kept as " + f"{file.name}.bak",
        )
    if not os.access(file.parent, os.W_OK):
        raise ConfigError(f"{file} can't be written", "this user may not write to that folder", "choose --config FILE")


def _layout(hot: Path, pattern: str | None) -> tuple[Layout, Scan]:
    if not hot.is_dir():
        raise ConfigError(
            f"there is no folder {hot}", fix=f"give the folder that training saves into, or mkdir -p {hot}"
        )
    if pattern is not None:
        layout = Layout.parse(pattern)
        return layout, scan(hot, layout)
    recognised = recognise(hot)
    if recognised.layout is None or recognised.scan is None:
        others = "".join(f"; {other!r} would take {count}" for other, count in recognised.others[:3])
        raise ConfigError(
            f"the layout of {hot} was not recognised",
            recognised.why_not + others,
            "say it: --layout 'model_step_{step}.pt', with {series} where several models are trained side by side",
        )
    return recognised.layout, recognised.scan


def _config(wanted: Wanted, hot: Path, layout: Layout, file: Path) -> Config:
    # Only what was asked for here goes into the file, not what the environment happens to hold.
    env = {name: value for name, value in os.environ.items() if not name.startswith("CKPT_TIER_")}
    hot_keys = {"path": str(hot), "layout": layout.pattern, "keep_last": wanted.keep_last}
    cold = {name: value for name, value in wanted.cold.items() if value is not None}
    document = {
        "run": wanted.run or run_name(hot),
        "hot": {name: value for name, value in hot_keys.items() if value is not None},
        **({"cold": cold} if cold else {}),
    }
    return msgspec.structs.replace(from_mapping(document, env=env, cwd=Path.cwd()), file=file)


def _store(config: Config) -> Store:
    try:
        return open_store(config.cold, config.hot.path, founding=True)
    except ConfigError as error:
        if "same_device" not in error.fix:
            raise
        fix = "give a folder on another disk or a mounted NAS, or add --same-device if you mean it"
        raise ConfigError(error.what, error.why, fix) from error


@contextlib.contextmanager
def _marked(store: Store) -> Iterator[None]:
    """A folder gets its marker; if what follows fails, a new marker goes again."""
    is_new = isinstance(store, FolderStore | ApartStore) and store.create_marker()
    try:
        yield
    except BaseException:
        if is_new and isinstance(store, FolderStore | ApartStore):
            store.remove_marker()
        raise


def _require(trials: list[Trial], store: Store, *, shown: bool) -> None:
    failed = [trial for trial in trials if trial.needed and not trial.passed]
    if failed:
        why = "see the last line above" if shown and failed == trials[-1:] else f"{failed[0].name}: {failed[0].detail}"
        raise UnavailableError(
            f"the cold tier {store.url} can't be used", why, "mend that and run init again; nothing was written"
        )


def _write(file: Path, text: str) -> None:
    if file.exists():
        file.replace(file.with_name(f"{file.name}.bak"))
    write_atomic(file, text.encode())


def _joined(config: Config, there: RunDocument | None, old: str) -> str:
    if there is None:
        return f"{paper.mark(True)} run {config.run!r} is begun"
    began = there.created_at[:16].replace("T", " ")
    if there.id == old:
        return f"{paper.mark(True)} run {config.run!r}, as before, begun {began} UTC"
    return (
        f"{paper.style('!', 'yellow', bold=True)} joined the run {config.run!r} that is there since {began} UTC\n"
        "  if that is another training, run init again with --force and another --run NAME"
    )


def _old_run_id(file: Path) -> str:
    """The run id in the configuration that is about to be replaced; empty if there is none that can be read."""
    try:
        return str(tomllib.loads(file.read_text(encoding="utf-8")).get("run_id", ""))
    except (OSError, ValueError):
        return ""


def _document(config: Config, layout: Layout, found: Found, trials: list[Trial]) -> InitDocument:
    return InitDocument(
        config=str(config.file),
        run=config.run,
        run_id=config.run_id or "",
        hot_path=str(config.hot.path),
        cold_url=config.cold.url,
        layout=layout.pattern,
        series=tuple(found.series),
        corrupt=tuple(found.corrupt),
        trials=tuple(trials),
    )


def _next_steps(config: Config, file: Path, layout: Layout) -> str:
    elsewhere = _elsewhere(file)
    series = ', series="0"' if layout.has_series else ""
    dim = [
        (f"ckpt-tier sync --dry-run{elsewhere}", "every action and its reason; changes nothing"),
        (f"ckpt-tier sync{elsewhere}", "one pass: validate, upload, commit, evict"),
        (f"ckpt-tier sync --watch{elsewhere}", "go on until stopped"),
    ]
    hook = [
        "import ckpt_tier",
        f'tier = ckpt_tier.open("{file.name}")',
        "torch.save(state, path)",
        f"tier.saved(path, step=step{series})",
    ]
    return "\n".join(
        [
            paper.style("Next", bold=True),
            paper.columns(dim, indent=2),
            "",
            paper.style("Or from the training script", bold=True),
            *(f"  {line}" for line in hook),
        ]
    )


def _elsewhere(file: Path) -> str:
    """What a command needs to find the file from here."""
    return "" if file.name == FILE_NAME and file.parent == Path.cwd() else f" --config {shlex.quote(str(file))}"


def _nothing(_: str = "") -> None:
    return
