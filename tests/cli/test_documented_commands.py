"""Every command that a page, a help text or a settings file shows can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cryosentinel_cli.main import cli
from cryosentinel_cli.reference import each_command

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "examples" / "cryosentinel.toml", *sorted((ROOT / "docs").glob("*.md"))]
OMITTED = {"FILE", "...", "[OPTIONS]"}
"""Words of a pattern rather than of a command."""


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of each line that calls cryosentinel, its continuation lines joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    for line in re.findall(r"^[ #]*(cryosentinel [a-z-].*)$", joined, re.MULTILINE):
        words = shlex.split(line.split(" > ")[0], comments=True)
        if not OMITTED & set(words):
            yield words[1:]


def blocks_of(path: Path) -> str:
    """What stands in a page's code blocks, or in a settings file's comments."""
    text = path.read_text(encoding="utf-8")
    return (
        "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)) if path.suffix == ".md" else text
    )


def check(words: list[str], group: click.Group = cli) -> None:
    """Parse a command's words by its own parser: unknown commands and options raise."""
    command = group.commands[words[0]]
    if isinstance(command, click.Group):
        check(words[1:], command)
    elif "--help" not in words:
        command.make_parser(click.Context(command)).parse_args(list(words[1:]))


SHOWN = [(path.name, words) for path in PAGES for words in commands_in(blocks_of(path))]
SHOWN += [(" ".join(path), words) for path, command in each_command() for words in commands_in(command.help or "")]
SHOWN += [("--help", words) for words in commands_in(cli.epilog or "")]


@pytest.mark.parametrize(
    ("where", "words"), SHOWN, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_shown_command_can_be_typed(where: str, words: list[str]) -> None:
    check(words)


def test_the_pages_are_read() -> None:
    assert {"README.md", "tutorial.md", "index.md", "cryosentinel.toml", "fetch", "--help"} <= {
        where for where, _ in SHOWN
    }
    with pytest.raises(click.NoSuchOption):
        check(["fetch", "--years", "2023"])


def test_examples_hold_what_their_settings_name() -> None:
    settings = (ROOT / "examples" / "cryosentinel.toml").read_text(encoding="utf-8")
    assert re.search(r'^aoi = "ile_alatau.geojson"$', settings, re.MULTILINE)
    assert (ROOT / "examples" / "ile_alatau.geojson").is_file()
    for path in re.findall(r"(?:\.\./)?(examples/[\w./-]+)", "".join(page.read_text() for page in PAGES)):
        assert (ROOT / path).exists(), path
