"""The group of commands, and the one place where errors become messages and exit codes.

Exit codes: 0 done, 1 a known failure (message and hint on stderr), 2 wrong usage, 3 done in part (run again to complete),
70 a fault of ours (its traceback stays). Nothing heavy is imported here: `--help` must not load torch, rasterio or pandas.
"""

from __future__ import annotations

import os
import sys

import click

from cryosentinel_cli import (
    audit,
    change,
    chips,
    doctor,
    evaluate,
    fetch,
    housekeeping,
    model,
    predict,
    regions,
    simulate,
    soup,
    train,
)
from cryosentinel_cli.environment import mend_for_command
from cryosentinel_cli.groups import CommonFirst
from cryosentinel_core import __version__
from cryosentinel_core.errors import CryosentinelError
from cryosentinel_core.reporter import without_control_characters

EXIT_KNOWN_FAILURE = 1
EXIT_PARTIAL = 3
EXIT_OUR_FAULT = 70

_EPILOG = """\b
Start here, without a network:
  cryosentinel simulate demo-data
  cryosentinel change 2017 2023 --aoi demo-data/aoi.geojson --catalog demo-data --model water-index
\b
A real area:
  cryosentinel predict --aoi ile_alatau --year 2023
\b
What there is, and the settings of each command:
  cryosentinel doctor
  cryosentinel predict --help
It maps lakes. It never forecasts outbursts.
"""


@click.group(
    cls=CommonFirst, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="cryosentinel")
@click.pass_context
def cli(context: click.Context) -> None:
    """Map glacial lakes from Sentinel-1, Sentinel-2 and the Copernicus DEM, and measure how they change."""
    mend_for_command(context)


for _command in (
    fetch.fetch,
    predict.predict,
    change.change,
    chips.chips,
    evaluate.evaluate,
    audit.audit,
    simulate.simulate,
    train.train,
    soup.soup,
    model.model,
    regions.regions,
    housekeeping.du,
    housekeeping.clean,
    doctor.doctor,
):
    cli.add_command(_command)


def run() -> None:
    """Run the command line; exits the process."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped; run the same command again to go on", err=True)
        sys.exit(130)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except CryosentinelError as error:
        click.echo(f"error: {without_control_characters(error.message)}", err=True)
        if error.hint:
            click.echo(f"try: {without_control_characters(error.hint)}", err=True)
        sys.exit(EXIT_KNOWN_FAILURE)
    except BrokenPipeError:
        # The reader of our output went away (as `| head` does): not a failure, and nothing can be said any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError:
        click.echo("error: out of memory", err=True)
        click.echo("try: fewer --workers or a smaller --batch-size, then run again to go on", err=True)
        sys.exit(EXIT_KNOWN_FAILURE)
    except Exception:
        import traceback

        traceback.print_exc()
        click.echo("error: this is a fault of cryosentinel; please report it with the lines above", err=True)
        sys.exit(EXIT_OUR_FAULT)
    sys.exit(code if isinstance(code, int) else 0)
