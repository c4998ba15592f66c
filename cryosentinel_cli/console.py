"""What a command says and where: bars and notes on stderr, the summary on stdout.

Bars appear only on a terminal. Summaries are plain text, or one JSON object with `--json`.
"""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID


class Console:
    """A reporter that draws bars on a terminal and writes lines otherwise; use as a context manager.

    Args:
        verbose: Also say notes of detail.
        quiet: Say warnings only.
        as_json: Print summaries as JSON.
    """

    def __init__(self, *, verbose: bool = False, quiet: bool = False, as_json: bool = False) -> None:
        self.verbose = verbose
        self.quiet = quiet
        self.as_json = as_json
        self.warnings: list[str] = []
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: set[str] = set()

    def __enter__(self) -> Console:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console as RichConsole
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                ProgressColumn,
                TextColumn,
                TimeElapsedColumn,
            )
            from rich.progress import TimeRemainingColumn as Remaining
            from rich.text import Text

            class Rate(ProgressColumn):
                """Pieces a second, as windows of a network."""

                def render(self, task: Task) -> Text:
                    """The rate of the last seconds; empty while there is none."""
                    return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                Rate(),
                TimeElapsedColumn(),
                Remaining(),
                console=RichConsole(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def progress(self, task: str, done: int, total: int) -> None:
        """Move a task's bar; without a terminal say when it begins, with `--verbose` also each tenth."""
        if self._bars is not None:
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(task, total=total)
            self._bars.update(self._tasks[task], completed=done, total=total)
        elif not self.quiet and task not in self._begun:
            self._begun.add(task)
            self._line(f"{task} ({done}/{total})")
        elif self.verbose and not self.quiet and done > 0 and 10 * done // total > 10 * (done - 1) // total:
            self._line(f"{task} ({done}/{total})")

    def note(self, message: str) -> None:
        """A line on stderr."""
        if not self.quiet:
            self._line(message)

    def warn(self, message: str) -> None:
        """A warning on stderr, once."""
        if message not in self.warnings:
            self.warnings.append(message)
            self._line(f"warning: {message}")

    def summary(self, data: dict[str, Any], text: str) -> None:
        """The result on stdout: `data` as JSON where asked for, else `text`."""
        if self.as_json:
            click.echo(json.dumps(data, indent=1, sort_keys=True, default=str, allow_nan=False))
        else:
            click.echo(text)

    def _line(self, message: str) -> None:
        if self._bars is not None:
            self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(message, err=True)
