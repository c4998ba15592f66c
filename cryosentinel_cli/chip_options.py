"""Flags that the commands of `cryosentinel chips` share: of the block split, and of which chips are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from cryosentinel_cli.options import compose

if TYPE_CHECKING:
    from cryosentinel_core.settings.chip_query import ChipQuery

_AS_CUT: Final = "as dataset.json says, else {}"

split_options = compose(
    click.option("--block-size", "size_deg", type=click.FloatRange(0.001, 90), show_default=_AS_CUT.format("0.15"),
                 metavar="DEGREES", help="Side of the blocks that the split is made of (0.25 in the published pretraining)."),
    click.option("--buffer", "buffer_deg", type=click.FloatRange(0), show_default=_AS_CUT.format("0.02"), metavar="DEGREES",
                 help="Chips whose centre is nearer than this to a block's edge are dropped."),
    click.option("--salt", metavar="TEXT", show_default=_AS_CUT.format("cryosentinel-blocks-v1"),
                 help="Another salt is another split."),
    click.option("--split-rule", "rule", type=click.Choice(["published", "extents"]),
                 show_default=_AS_CUT.format("published"), help="extents also drops chips that touch ground of another "
                 "split: needed where blocks or buffers are small."),
    click.option("--shares", show_default=_AS_CUT.format("80,10,10"), metavar="TRAIN,VAL,TEST",
                 help="Per cent of the blocks."),
)  # fmt: skip

query_options = compose(
    click.argument("data", metavar="DIR or hf://datasets/OWNER/NAME"),
    click.option("--region", multiple=True, metavar="NAME",
                 help="Only this region, or those of a pattern as tien_*; give it again for more.  [default: all]"),
    click.option("--year", "year", type=int, multiple=True, metavar="Y",
                 help="Only this year; give it again for more.  [default: all]"),
    click.option("--by-column", is_flag=True, help="Take the column split for all chips, not the blocks."),
)  # fmt: skip


def split_changes(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of the split that were given, by name.

    Raises:
        click.BadParameter: If the shares are no shares (exit code 2).
    """
    found = {name: values[name] for name in ("size_deg", "buffer_deg", "salt", "rule") if values[name] is not None}
    if values["shares"] is None:
        return found
    try:
        train, val, test = (int(part) for part in values["shares"].split(","))
    except ValueError:
        raise click.BadParameter(f"{values['shares']!r} is not three whole numbers", param_hint="--shares") from None
    if min(train, val, test) < 0 or train + val + test != 100:
        raise click.BadParameter(f"{values['shares']} do not add up to 100", param_hint="--shares")
    return {**found, "train_below": train, "val_below": train + val}


def chip_query(data: str, values: dict[str, Any], split: str = "all") -> ChipQuery:
    """What a command asks of a data set."""
    from cryosentinel_core.settings.chip_query import ChipQuery

    return ChipQuery(
        reference=data,
        regions=values["region"],
        years=tuple(sorted(set(values["year"]))),
        split=split,
        blocks=tuple(sorted(split_changes(values).items())),
        by_column=values["by_column"],
    )
