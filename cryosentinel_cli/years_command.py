"""Commands with `--year`: several years typed in another way are told how."""

from __future__ import annotations

import re

import click

_YEARS = re.compile(r"\d{4}([-:,; ]+\d{4})*,?")


class YearsCommand(click.Command):
    """A command with `--year`, which says how several years are typed where they were typed otherwise."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; years in one word or behind one `--year` become a sentence about `--year`."""
        words = list(args)  # click takes them out of `args`
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            typed = [text for text in words if _YEARS.fullmatch(text.removeprefix("--year="))]
            years = [year for text in typed for year in re.findall(r"\d+", text)]
            if len(years) > 1 and ("--year" in error.format_message() or "unexpected extra" in error.format_message()):
                wanted = " ".join(f"--year {year}" for year in years)
                raise click.UsageError(f"--year takes one year and is given again for more: {wanted}", ctx) from None
            raise
