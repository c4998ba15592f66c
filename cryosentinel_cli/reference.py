"""One Markdown page a command, from the same words that `--help` prints: `python -m cryosentinel_cli.reference docs/commands`.

The pages are made from the commands themselves, not from click's layout, so that they do not change with its version. A test
compares them with what stands in docs/.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from cryosentinel_cli.main import cli


def each_command(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by its words, in alphabetical order."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from each_command(command, (*path, name))
        else:
            yield (*path, name), command


def render_page(path: tuple[str, ...], command: click.Command) -> str:
    """The page of one command."""
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    options = [
        parameter for parameter in command.params if isinstance(parameter, click.Option) and not parameter.hidden
    ]
    usage = " ".join(["cryosentinel", *path, "[OPTIONS]", *(_name_of(argument) for argument in arguments)])
    lines = [f"# cryosentinel {' '.join(path)}", "", "```", usage, "```", "", *_render_help(command.help or ""), ""]
    lines += ["| option | meaning |", "|---|---|"]
    lines += [f"| `{_flags_of(option)}` | {_meaning_of(option)} |" for option in options]
    return "\n".join(lines) + "\n"


def _name_of(argument: click.Argument) -> str:
    return argument.metavar or (argument.name or "").upper()


def _render_help(text: str) -> list[str]:
    """Paragraphs as they are; what click keeps verbatim becomes a code block."""
    found: list[str] = []
    for block in inspect.cleandoc(text).split("\n\n"):
        rows = block.split("\n")
        if rows[0].strip() == "\b":
            found += [rows[1], "", "```", *(row.removeprefix("  ") for row in rows[2:]), "```", ""]
        else:
            found += [" ".join(row.strip() for row in rows), ""]
    return found[:-1]


def _flags_of(option: click.Option) -> str:
    flags = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return flags
    if option.metavar:
        return f"{flags} {option.metavar}"
    if isinstance(option.type, click.Choice):
        return f"{flags} {' or '.join(str(choice) for choice in option.type.choices)}"
    return f"{flags} {option.type.name.upper().split()[0]}"


def _meaning_of(option: click.Option) -> str:
    text = (option.help or "").replace("|", "\\|")
    if isinstance(option.show_default, str):
        return f"{text}  [default: {option.show_default}]"
    if option.show_default and option.default is not None:
        default = ("--" + option.opts[0].lstrip("-")) if option.default is True else option.default
        return f"{text}  [default: {default}]"
    return text


def render_all() -> dict[str, str]:
    """File name -> page, and the index of them."""
    pages = {f"{'-'.join(path)}.md": render_page(path, command) for path, command in each_command()}
    rows = [
        f"| [`{' '.join(path)}`]({'-'.join(path)}.md) | {(command.help or '').strip().splitlines()[0]} |"
        for path, command in each_command()
    ]
    pages["index.md"] = "\n".join(["# Commands", "", "| command | what it does |", "|---|---|", *rows]) + "\n"
    return pages


def main(folder: Path) -> None:
    """Write all pages into a folder; pages of commands that are gone are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = render_all()
    for old in folder.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for name, page in pages.items():
        (folder / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
