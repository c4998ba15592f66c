"""What a command said, kept in the workspace: `<workspace>/logs/<time>-<command>-<process>.log`, a file a run.

Each run has a file of its own, so that commands side by side do not mix; the oldest go when there are many. A folder that is no
workspace yet, and does not become one, gets none. Secrets and control characters stay out. A log that cannot be written is told once
and ends nothing. Neighbours: `console` speaks; `groups` keeps what was typed.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, TypeVar

import click

from cryosentinel_cli.groups import words_typed
from cryosentinel_cli.options import workspace_root
from cryosentinel_core import __version__
from cryosentinel_core.errors import CryosentinelError
from cryosentinel_core.io.run_logs import LOG_FOLDER, LOG_NAME, is_workspace
from cryosentinel_core.reporter import without_control_characters

F = TypeVar("F", bound=Callable[..., Any])

MAX_FILE_BYTES: Final = 2**20
"""Largest log of one run; what is said beyond is counted and left out, but for its end."""

MAX_FILES: Final = 100
"""Logs that are kept in a workspace."""

_LOG: Final = "cryosentinel.run_log"
_PACKAGES: Final = ("numpy", "rasterio", "shapely", "pyproj", "torch")
_SECRET_NAME: Final = re.compile(r"token|secret|passw|credential|(^|[-_])(key|auth|sig|signature)s?$", re.IGNORECASE)
_MIN_SECRET: Final = 8
_HIDDEN: Final = "***"
_PATTERNS: Final = (
    (re.compile(r"(\w[\w+.-]*://)[^\s/@]*@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"(\w[\w+.-]*://[^\s?#'\"<>]*)\?[^\s#'\"<>]*"), rf"\1?{_HIDDEN}"),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), _HIDDEN),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {_HIDDEN}"),
)


def without_secrets(text: str, environment: Mapping[str, str]) -> str:
    """A text without names and passwords in addresses, their queries (signatures stand there), tokens, and the values of secrets.

    Args:
        text: To be kept.
        environment: Values of its variables whose names speak of tokens, keys or passwords are taken out.
    """
    for name, value in environment.items():
        if len(value) >= _MIN_SECRET and _SECRET_NAME.search(name) and value in text:
            text = text.replace(value, _HIDDEN)
    for pattern, put in _PATTERNS:
        text = pattern.sub(put, text)
    return text


def command_line(words: Sequence[str]) -> str:
    """What was typed, as a shell takes it, the values of flags that are called after secrets hidden."""
    shown, hide = [], False
    for word in words:
        name, equals, _ = word.partition("=")
        is_secret = word.startswith("-") and _SECRET_NAME.search(name.lstrip("-")) is not None
        shown.append(_HIDDEN if hide else f"{name}={_HIDDEN}" if is_secret and equals else word)
        hide = is_secret and not equals
    return shlex.join(["cryosentinel", *shown])


class RunLog:
    """The log of one run; use as a context manager, which notes how the run ended.

    Args:
        root: Workspace.
        command: Words of the command, as `chips build`.
        environment: Of the process, whose secrets are kept out.
    """

    def __init__(self, root: Path, command: str, environment: Mapping[str, str]) -> None:
        self.code = 0
        self._environment = environment
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._n_bytes = self._n_left_out = 0
        self._root, self._command = root, command.replace(" ", "-")
        self._file: IO[str] | None = None
        self._has_given_up = False
        self._waiting: list[str] = []

    def write(self, level: str, text: str, *, is_last: bool = False) -> None:
        """Add a message with its time and level; further lines of it are indented."""
        with self._lock:
            if self._has_given_up:
                return
            plain = without_control_characters(without_secrets(click.unstyle(text), self._environment))
            line = f"{_now():%Y-%m-%dT%H:%M:%SZ} {level:<7} " + "\n    ".join(plain.splitlines() or [""]) + "\n"
            if self._n_bytes > MAX_FILE_BYTES and not is_last:
                self._n_left_out += 1
                return
            self._n_bytes += len(line.encode(errors="backslashreplace"))
            self._waiting.append(line)
            try:
                self._flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def _flush(self) -> None:
        """Write what waits, once the folder is a workspace: a command that fails before it made anything leaves nothing."""
        if self._file is None:
            if not is_workspace(self._root):
                return
            self._file = _open(self._root / LOG_FOLDER, self._command)
        self._file.write("".join(self._waiting))
        self._file.flush()
        self._waiting = []

    def _give_up(self, error: Exception) -> None:
        self._has_given_up = True
        if self._file is not None:
            with suppress(OSError, ValueError):
                self._file.close()
        self._file = None
        click.echo(f"note: no log of this run is kept: {without_control_characters(str(error))}", err=True)

    def begin(self, words: Sequence[str]) -> None:
        """Note what was asked for, and of what."""
        self.write("INFO", command_line(words))
        self.write("INFO", f"cryosentinel {__version__}, Python {platform.python_version()}, {platform.platform()}")
        self.write("INFO", ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version_of(name))))

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.code = self._end_of(error, trace)
        if self._n_left_out:
            self.write("WARNING", f"{self._n_left_out} messages left out: the log was full", is_last=True)
        seconds = time.monotonic() - self._begun
        self.write("INFO", f"ended with exit code {self.code} after {seconds:.1f} s", is_last=True)
        with self._lock, suppress(OSError, ValueError):
            if self._file is not None:
                self._file.close()
                self._file = None

    def _end_of(self, error: BaseException | None, trace: TracebackType | None) -> int:
        """The exit code, once the error that ends the run is noted; the codes are those of `main.run`."""
        if error is None:
            return self.code
        if isinstance(error, click.exceptions.Exit):
            return error.exit_code
        if isinstance(error, BrokenPipeError):
            return 0
        if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
            self.write("ERROR", "stopped", is_last=True)
            return 130
        if isinstance(error, click.ClickException):
            self.write("ERROR", error.format_message(), is_last=True)
            return error.exit_code
        if isinstance(error, CryosentinelError):
            self.write("ERROR", f"{error.message}\ntry: {error.hint}" if error.hint else error.message, is_last=True)
            return 1
        if isinstance(error, MemoryError):
            self.write("ERROR", "out of memory", is_last=True)
            return 1
        import traceback

        self.write("ERROR", "".join(traceback.format_exception(error)), is_last=True)
        return 70


def logged(function: F) -> F:
    """A command whose runs are kept in its workspace."""

    @functools.wraps(function)
    def run(*arguments: Any, **values: Any) -> Any:
        context = click.get_current_context()
        names = context.command_path.split()[1:]
        with RunLog(workspace_root(values.get("workspace")), " ".join(names), os.environ) as log:
            log.begin(words_typed(context) or names)
            context.meta[_LOG] = log
            code = function(*arguments, **values)
            log.code = code if isinstance(code, int) else 0
            return code

    return run  # type: ignore[return-value]


def current_log() -> RunLog | None:
    """The log of the command that runs in this thread; None outside of commands that keep one."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.meta.get(_LOG)
    return found if isinstance(found, RunLog) else None


def _open(folder: Path, command: str) -> IO[str]:
    """A new file, once old ones beyond the number that is kept are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    old = sorted(path for path in folder.iterdir() if LOG_NAME.fullmatch(path.name))
    for path in old[: max(0, len(old) - MAX_FILES + 1)]:
        with suppress(OSError):
            path.unlink()
    stem = f"{_now():%Y%m%dT%H%M%SZ}-{command}-{os.getpid()}"
    for number in range(1, 1000):
        path = folder / (f"{stem}.log" if number == 1 else f"{stem}-{number}.log")
        with suppress(FileExistsError):
            return path.open("x", encoding="utf-8", errors="backslashreplace", newline="\n")
    raise FileExistsError(f"{folder} is full of logs of this second")


def _now() -> datetime:
    return datetime.now(UTC)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
