"""Groups of commands that take what every command takes also before the command's name.

`cryosentinel -w results predict --year 2023` is what many type first. A group hands such options on to the command, in front of
the command's own, so that they are parsed there and nowhere else, and what is typed after the name wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

_HANDED_ON = "cryosentinel.handed_on"
_TYPED = "cryosentinel.typed"


class CommonFirst(click.Group):
    """A group which takes the options that every command has and hands them on to the command."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params = [*_common_options(), *self.params]

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context, which keeps what was typed."""
        typed = list(args)  # click takes them out of `args`
        context = super().make_context(info_name, args, parent, **extra)
        context.meta.setdefault(_TYPED, typed)
        return context

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name, and its arguments behind those that were typed before its name."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, [*ctx.meta.pop(_HANDED_ON, []), *rest]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's own options; a command's option before the command's name is told where it belongs."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not any(error.option_name in parameter.opts for parameter in _options_below(self)):
                raise
            raise click.UsageError(
                f"{error.option_name} belongs behind the command's name: {ctx.command_path} COMMAND {error.option_name} ...",
                ctx,
            ) from None


def words_typed(context: click.Context) -> list[str]:
    """The words behind the program's name, as they were typed; none if the command was not run by a group."""
    return list(context.meta.get(_TYPED, ()))


def _options_below(group: click.Group) -> Iterator[click.Parameter]:
    """Every option of every command of a group."""
    for command in group.commands.values():
        yield from command.params
        if isinstance(command, click.Group):
            yield from _options_below(command)


def _hand_on(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep an option for the command that follows."""
    if value and not context.resilient_parsing:
        flag = max(parameter.opts, key=len)
        context.meta.setdefault(_HANDED_ON, []).extend([flag] if value is True else [flag, str(value)])


def _common_options() -> list[click.Parameter]:
    """Options of `cryosentinel_cli.options.common`, for a group to take; the command checks their values."""
    told: dict[str, Any] = {"expose_value": False, "callback": _hand_on}
    return [
        click.Option(["-w", "--workspace"], metavar="DIRECTORY", help="Folder of all results.", **told),
        click.Option(["--config"], metavar="FILE", help="Settings file.", **told),
        click.Option(["-v", "--verbose"], is_flag=True, help="Say every step.", **told),
        click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but warnings and errors.", **told),
        click.Option(["--json"], is_flag=True, help="Print the summary as one JSON object.", **told),
    ]
