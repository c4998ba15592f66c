"""What a command says and where: bars and notes on stderr, the summary on stdout.

Bars appear only on a terminal; elsewhere, as in a log, each task has a first and a last line. Summaries are plain text, its
statuses coloured on a terminal, or one JSON object with `--json`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import click

from cryosentinel_cli.environment import environment_notes
from cryosentinel_cli.run_log import current_log
from cryosentinel_core.reporter import without_control_characters

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

STATUS_STYLES: Final[dict[str, dict[str, Any]]] = {
    "grown": {"fg": "red"},
    "new": {"fg": "magenta"},
    "shrunk": {"fg": "blue"},
    "vanished": {"fg": "cyan"},
    "merged": {"fg": "yellow"},
    "split": {"fg": "yellow"},
    "complex": {"fg": "yellow"},
    "unobserved": {"dim": True},
}
"""Status -> style on a terminal. `stable` is left as it is; the word always stands there too, so that colour adds no meaning."""

_STATUS = re.compile(rf"(?<=\s)({'|'.join(STATUS_STYLES)})(?=[\s,]|$)", re.MULTILINE)


class Console:
    """A reporter that draws bars on a terminal and writes lines otherwise; use as a context manager.

    Args:
        verbose: Also say notes of detail.
        quiet: Say warnings only; a summary then only as JSON.
        as_json: Print summaries as JSON.
    """

    def __init__(self, *, verbose: bool = False, quiet: bool = False, as_json: bool = False) -> None:
        self.verbose = verbose
        self.quiet = quiet
        self.as_json = as_json
        self.warnings: list[str] = []
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._ended: set[str] = set()
        self._kept = current_log()
        self._last_kept: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Console:
        self._begin_bars()
        for message in environment_notes():
            self.note(message)
        return self

    def _begin_bars(self) -> None:
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def progress(self, task: str, done: int, total: int) -> None:
        """Move a task's bar; without a terminal say when it begins and ends, with `--verbose`, and in the log, also each tenth."""
        self._keep_progress(task, done, total)
        if self._bars is not None:
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(task, total=total)
            self._bars.update(self._tasks[task], completed=done, total=total)
        elif not self.quiet:
            self._log(task, done, total)

    def _log(self, task: str, done: int, total: int) -> None:
        """A task's progress in lines."""
        if total == 0 or (done >= total and task in self._ended):
            return
        begins = task not in self._begun
        if begins:
            self._begun[task] = time.monotonic()
            self._ended.discard(task)
            self._line(f"{task} ({done}/{total})")
        if done >= total:
            seconds = time.monotonic() - self._begun.pop(task)
            self._ended.add(task)
            if not begins:
                self._line(f"{task} ({done}/{total}) in {_duration_in_words(seconds)}")
        elif not begins and self.verbose and 10 * done // total > 10 * (done - 1) // total:
            self._line(f"{task} ({done}/{total})")

    def _keep_progress(self, task: str, done: int, total: int) -> None:
        """A line in the log where a task has come a tenth farther, or begins again."""
        reached = (10 * done // total if total else 10), total
        if self._kept is not None and total and self._last_kept.get(task) != reached:
            self._last_kept[task] = reached
            self._kept.write("INFO", f"{task} ({done}/{total})")

    def _keep(self, level: str, text: str) -> None:
        if self._kept is not None:
            self._kept.write(level, text)

    def note(self, message: str) -> None:
        """A line on stderr."""
        self._keep("INFO", message)
        if not self.quiet:
            self._line(message)

    def warn(self, message: str) -> None:
        """A warning on stderr, once."""
        if message not in self.warnings:
            self.warnings.append(message)
            self._keep("WARNING", message)
            self._line(f"warning: {message}")

    def summary(self, data: dict[str, Any], text: str) -> None:
        """The result on stdout: `data` as JSON where asked for, else `text`, unless only warnings are wanted."""
        self._keep("INFO", text)
        if self.as_json:
            click.echo(json.dumps(data, indent=1, sort_keys=True, default=str, allow_nan=False))
        elif not self.quiet:
            plain = without_control_characters(text)
            click.echo(plain if os.environ.get("NO_COLOR") else colour_statuses(plain))

    def _line(self, message: str) -> None:
        message = without_control_characters(message)
        if self._bars is not None:
            self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(message, err=True)


def colour_statuses(text: str) -> str:
    """A summary with its words of status styled; click takes the styles off where stdout is no terminal."""
    return _STATUS.sub(lambda found: click.style(found[0], **STATUS_STYLES[found[0]]), text)


def _duration_in_words(seconds: float) -> str:
    """`7 s`, or `12 min 5 s`."""
    whole = round(seconds)
    return (
        f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"
    )
