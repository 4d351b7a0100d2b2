import subprocess
import sys
from pathlib import Path

GENERATOR = Path(__file__).parents[2] / "docs" / "generate.py"


def test_the_reference_pages_are_what_the_code_says() -> None:
    check = subprocess.run([sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr


def test_a_stale_page_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "docs" / "generate.py"
    copy.parent.mkdir()
    for part in GENERATOR.parent.glob("generate*.py"):
        (copy.parent / part.name).write_bytes(part.read_bytes())
    (tmp_path / "ckpt_tier").symlink_to(GENERATOR.parents[1] / "ckpt_tier")
    check = subprocess.run([sys.executable, copy, "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 1
    assert "configuration.md" in check.stderr
