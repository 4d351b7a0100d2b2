"""What the documents show is what the program takes."""

import re
import shlex
from pathlib import Path

import click
import pytest

from ckpt_tier.cli.group import cli
from ckpt_tier.config import load
from ckpt_tier.errors import CkptTierError

REPOSITORY = Path(__file__).parents[2]
PAGES = ["README.md", "docs/operations.md", "docs/security.md", "docs/estimate.md"]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (REPOSITORY / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_of_the_repository_leads_to_one(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (REPOSITORY / page).read_text(encoding="utf-8"))
    assert links or page.endswith("security.md")
    for link in links:
        assert ((REPOSITORY / page).parent / link).is_file(), link


def test_the_configuration_in_the_readme_loads(tmp_path: Path) -> None:
    [text] = blocks("README.md", "toml")
    (tmp_path / "ckpt-tier.toml").write_text(text, encoding="utf-8")
    config = load(tmp_path / "ckpt-tier.toml", env={}, cwd=tmp_path)
    assert (config.run, config.hot.keep_last, config.upload.bandwidth) == ("swelu", 3, 200_000_000)


@pytest.mark.parametrize("page", PAGES)
def test_the_command_line_takes_every_command_that_is_shown(page: str) -> None:
    shown = 0
    for line in "\n".join(blocks(page, "bash")).splitlines():
        words = shlex.split(line.split("ckpt-tier ", 1)[1], comments=True) if "ckpt-tier " in line else []
        if not words or words[0].startswith("#"):
            continue
        context = click.Context(cli)
        command = cli.get_command(context, words[0])
        assert command is not None, line
        command.make_context(words[0], words[1:], parent=context)
        shown += 1
    assert shown or page.endswith("security.md")


def test_the_exit_codes_in_the_readme_are_those_of_the_errors() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", readme, re.MULTILINE)}
    assert told == {0, *(kind.exit_code for kind in families())}


def families() -> list[type[CkptTierError]]:
    found: list[type[CkptTierError]] = [CkptTierError]
    for kind in found:
        found += kind.__subclasses__()
    return found


def test_the_readme_has_the_two_commands_that_do_their_own_set_up() -> None:
    commands = "".join(blocks("README.md", "bash"))
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/ckpt-tier demo\n" in commands
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest\n" in commands
