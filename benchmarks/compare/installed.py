"""Peers' own installations: a virtual environment each, because some pin what others need in another version."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from benchmarks.compare.errors import BenchmarkError

_LONGEST = 1800
_GO_MODULE = "github.com/minio/mc@latest"


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ckpt-tier" / "bench"


def python_of(peer: str, packages: tuple[str, ...], *, beside_ours: bool = False) -> Path:
    """The interpreter of a peer's virtual environment, made if it is not there. `beside_ours`: its packages are added
    without what they depend on, and ours can be imported too (torch is too large to be installed twice).

    Raises BenchmarkError when it can't be installed.
    """
    folder = cache_folder() / peer
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        extra = ["--no-deps"] if beside_ours else []
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *extra, *packages])
        if beside_ours:
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            ours = folder / "lib" / version / "site-packages" / "ours.pth"
            ours.write_text(sysconfig.get_path("purelib") + "\n")
        done.touch()
    return python


def mc() -> Path:
    """MinIO's client, built if it is not there. Raises BenchmarkError when it can't be."""
    folder = cache_folder() / "mc"
    if not (folder / "mc").exists():
        if shutil.which("go") is None:
            raise BenchmarkError("Go is not installed, and mc is built with it")
        folder.mkdir(parents=True, exist_ok=True)
        _run(["go", "install", _GO_MODULE], {"GOBIN": str(folder)})
    return folder / "mc"


def on_path(name: str) -> str:
    """Raises BenchmarkError when there is no such command."""
    found = shutil.which(name)
    if found is None:
        raise BenchmarkError(f"there is no `{name}` on PATH")
    return found


def version_in(python: Path, package: str) -> str:
    """Of a package, as its own interpreter sees it."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return _run([str(python), "-c", code]).strip()


def _run(command: list[str], more: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, env=os.environ | dict(more or {}), capture_output=True, text=True, timeout=_LONGEST, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"`{' '.join(command[:4])} …` did not end in {_LONGEST} s") from error
    if done.returncode != 0:
        raise BenchmarkError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-400:]}")
    return done.stdout
