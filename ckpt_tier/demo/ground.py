"""The demo's own folder: made, measured and removed here, and nothing outside it is ever touched."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from ckpt_tier.config import Config, load
from ckpt_tier.errors import UsageError
from ckpt_tier.system.clock import random_id

_OURS = ".ckpt-tier-demo"
_LAYOUT = "model_step_{step}.pt"

_CONFIG = """\
run = {run}
state_dir = "state"

[hot]
path = "hot"
layout = "{layout}"
keep_last = {keep_last}
min_free = "0B"

[cold]
url = {url}
same_device = true
"""


class Ground:
    """A folder with a hot tier, a journal, a configuration and, unless it is elsewhere, a cold tier."""

    def __init__(self, folder: Path | None, cold: str | None, *, keep_last: int) -> None:
        """Makes the folder: a temporary one, or `folder`, which must be empty or not there yet (UsageError)."""
        self._made = folder is None or not folder.exists()
        if folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="ckpt-tier-demo-"))
        else:
            self.folder = folder.absolute()
            _make(self.folder)
        self._id = random_id()
        (self.folder / _OURS).write_text(self._id)
        self.run = f"demo-{self._id[:8]}"
        self.hot = self.folder / "hot"
        self.cold_is_ours = cold is None
        self.config_file = self.folder / "ckpt-tier.toml"
        for folder in (self.hot, self.folder / "tmp"):
            folder.mkdir()
        if cold is None:
            (self.folder / "cold").mkdir()
            url = "cold"
        else:
            url = cold if "://" in cold else str(Path(cold).absolute())
        self.config_file.write_text(
            _CONFIG.format(
                run=json.dumps(self.run),
                layout=_LAYOUT,
                keep_last=keep_last,
                url=json.dumps(url, ensure_ascii=False),
            ),
            encoding="utf-8",
        )

    @property
    def env(self) -> dict[str, str]:
        """The environment without settings of ckpt-tier, which would count before the demo's configuration, and with a
        temporary folder in the demo's: torch leaves one behind."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("CKPT_TIER_")}
        return env | {"TMPDIR": str(self.folder / "tmp")}

    def config(self) -> Config:
        """The configuration as the demo's processes read it. Raises ConfigError."""
        return load(self.config_file, env=self.env, cwd=self.folder)

    @property
    def exists(self) -> bool:
        """Whether the folder is still there, and still the demo's."""
        return (self.folder / _OURS).is_file()

    def lose_hot_tier(self) -> int:
        """Deletes the hot tier and the journal, as the loss of a machine would. Returns the bytes that are gone."""
        self._check_ours()
        gone = disk_use(self.hot)
        for folder in (self.hot, self.folder / "state"):
            shutil.rmtree(folder, ignore_errors=False)
        self.hot.mkdir()
        return gone

    def remove(self) -> None:
        """Deletes what the demo put into its folder, and the folder if the demo made it."""
        self._check_ours()
        for name in ("hot", "cold", "state", "tmp"):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.folder / name)
        for file in (self.config_file, self.folder / "training.log"):
            file.unlink(missing_ok=True)
        (self.folder / _OURS).unlink()
        if self._made:
            with contextlib.suppress(OSError):  # somebody else put something in: theirs
                self.folder.rmdir()

    def _check_ours(self) -> None:
        mark = self.folder / _OURS
        if self.folder.is_symlink() or not mark.is_file() or mark.read_text() != self._id:
            raise UsageError(f"{self.folder} is not the demo's folder any more", "nothing in it was deleted")


def disk_use(folder: Path) -> int:
    """Bytes of all files below a folder, each counted once however many names it has. Files may come and go."""
    sizes: dict[int, int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                seen = os.lstat(f"{place}/{name}")
                sizes[seen.st_ino] = seen.st_size
    return sum(sizes.values())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(
                f"{folder} is not empty", "the demo deletes what is in its folder", "name one that is not there yet"
            )
    except OSError as error:
        raise UsageError(f"{folder} can't be the demo's folder", error.strerror or "") from error
