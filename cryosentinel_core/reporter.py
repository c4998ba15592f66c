"""How rooms tell what they are doing, without knowing who listens: a bar, a log or nobody."""

from __future__ import annotations

import unicodedata
from typing import Protocol


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun: `1 lake`, `2 lakes`; the plural takes an s unless it is given."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def without_control_characters(text: str) -> str:
    """A text for a terminal: control characters and those that turn the direction of writing stand as `\\x1b`; line ends stay.

    What catalogues, files and people call things goes into messages; a name must not move the cursor or hide a line.
    """
    return "".join(
        one
        if one in "\n\t\u200c\u200d" or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else ascii(one)[1:-1]
        for one in text
    )


class Reporter(Protocol):
    """Listens to long work."""

    def progress(self, task: str, done: int, total: int) -> None:
        """`done` of `total` steps of a task are finished; the first call for a task has `done` 0."""
        ...

    def note(self, message: str) -> None:
        """Something worth a line: what is reused, skipped, or done next."""
        ...

    def warn(self, message: str) -> None:
        """Something that the reader of the result should know; it also stands in the result."""
        ...


class Silent:
    """A reporter that nobody hears."""

    def progress(self, task: str, done: int, total: int) -> None:
        """Ignore progress."""

    def note(self, message: str) -> None:
        """Ignore a note."""

    def warn(self, message: str) -> None:
        """Ignore a warning."""


class WarningKeeper:
    """A reporter that passes everything on and keeps the warnings.

    Args:
        reporter: Hears all of it.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.warnings: list[str] = []

    def progress(self, task: str, done: int, total: int) -> None:
        """Pass progress on."""
        self._reporter.progress(task, done, total)

    def note(self, message: str) -> None:
        """Pass a note on."""
        self._reporter.note(message)

    def warn(self, message: str) -> None:
        """Keep a warning and pass it on."""
        self.warnings.append(message)
        self._reporter.warn(message)
