"""Writes the reference pages in docs/ from the code.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 if one of them is stale
"""

import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

import generate_cli  # noqa: E402 (its package stands beside this folder, installed or not)
import generate_schemas  # noqa: E402

from ckpt_tier.config import KEYS, SECTIONS, Key  # noqa: E402

_NOTICE = "<!-- Written by docs/generate.py from the code: edit that, not this. -->\n"

_CONFIGURATION = """# Configuration: `ckpt-tier.toml`

`ckpt-tier init` writes this file from an existing folder. It is found by `--config`, else by the environment
variable `CKPT_TIER_CONFIG`, else in the current folder or the nearest one above it that has one.

- A relative path in the file starts at the file's folder; in the environment or an argument, at the current folder.
  `~` is the home folder.
- Every key can be set by an environment variable, which counts before the file: see the last line of each key.
  Where a key takes text, the variable is that text (with quotes as in TOML, or without); else it is a TOML value.
  An empty variable counts as not set. With the variables alone, no file is needed.
- Sizes are written like `"1.2GB"` (powers of 1000) or `"50GiB"` (powers of 1024), durations like `"10s"`, `"2m"`,
  `"12h"` or `"7d"`.
- Credentials don't belong here and are refused: they come from the standard AWS chain (environment, `~/.aws`, the
  machine's role); for stores other than S3, from where their own clients look (see operations.md).
- An unknown key, a wrong type or an impossible value is an error (exit code 3) that names the key and the fix.
"""


def configuration() -> str:
    """docs/configuration.md."""
    parts = [_NOTICE, _CONFIGURATION]
    for section in ("", *SECTIONS):
        parts.append(f"\n## {f'`[{section}]`' if section else 'At the top'}\n")
        parts += [_key(key) for key in KEYS if key.section == section]
    return "".join(parts)


def _key(key: Key) -> str:
    if key.required:
        default = "none: it must be given"
    else:
        default = f"`{key.default}`" if key.default is not None else key.absent
    return (
        f"\n### `{key.name}`\n\n{key.description}\n\n"
        f"- Value: {key.form}\n- Default: {default}\n- Example: `{key.name} = {key.example}`\n"
        f"- Environment: `{key.variable}`\n"
    )


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    **generate_cli.PAGES,
    **generate_schemas.PAGES,
}
"""File name in docs/ → what writes it."""


def main(arguments: list[str]) -> int:
    stale = []
    for name, write in PAGES.items():
        page = DOCS / name
        text = write()
        if page.is_file() and page.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            page.parent.mkdir(exist_ok=True)
            page.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"stale: {', '.join(stale)}; run: python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
