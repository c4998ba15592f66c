"""`cryosentinel audit`: the labels that a person should look at first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.evaluate import chips_options, evaluate_settings, judging_options, judging_settings
from cryosentinel_cli.options import common, workspace_root
from cryosentinel_cli.run_log import logged


@click.command()
@click.option("--model", multiple=True, metavar="hf://REPO/FILE, FILE or water-index", show_default="the published weights",
              help="What looks at the labels: network weights, or the baseline water-index.")  # fmt: skip
@click.option("-n", "--most", type=click.IntRange(1, 200), default=24, show_default=True, help="Chips to draw.")
@chips_options
@judging_options
@common
@logged
def audit(
    model: tuple[str, ...], most: int, data: str | None, output: Path | None, workspace: str | None, verbose: bool, quiet: bool,
    as_json: bool, **values: Any,
) -> int:  # fmt: skip
    """Find chips whose label may be wrong: where label and network differ most, and what MNDWI says to it.

    Writes `audit.png`, four panels a chip (true colour with the label's shore, the network, MNDWI, and where label and network
    differ), and `audit.csv`, most ground in doubt first. Write `wrong` or `right` into its column `verdict`; `evaluate --exclude`
    leaves out what is wrong.

    \b
    Example:
      cryosentinel audit --model soup.ckpt --data ./dataset --split test
      cryosentinel evaluate --model soup.ckpt --data ./dataset --split test --exclude audit/audit.csv
    """
    if data is None:
        raise click.UsageError("say which chips with --data DIR")
    from cryosentinel_core.workflows.audit import audit_chips
    from cryosentinel_core.workflows.judged_model import choose_judged

    settings, predicting = evaluate_settings(values), judging_settings(model, values)
    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        chosen, settings = choose_judged(predicting, settings, is_auto=values["weights"] == "auto")
        folder = output or workspace_root(workspace) / "audit"
        summary = audit_chips(data, chosen, settings, folder, n_most=most, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.failed else 0
