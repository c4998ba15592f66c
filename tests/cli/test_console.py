"""What a person sees: lines of a log, nothing but warnings when that is asked for, colour on a terminal alone."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from cryosentinel_cli.console import Console, colour_statuses
from cryosentinel_core.lakes.tables import Status
from cryosentinel_core.reporter import counted


def work(console: Console) -> None:
    with console:
        for done in range(9):
            console.progress("stack tiles", done, 8)
        console.progress("stack tiles", 8, 8)
        console.progress("stack tiles", 0, 0)
        console.note("a note")
        console.warn("a warning")
        console.warn("a warning")
    console.summary({"lakes": 1}, "1 lake")


def test_a_log_has_a_task_s_first_and_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    work(Console())
    out, err = capsys.readouterr()
    assert out == "1 lake\n"
    assert re.sub(r"\d\.\d s", "0.0 s", err).splitlines() == [
        "stack tiles (0/8)", "stack tiles (8/8) in 0.0 s", "a note", "warning: a warning"
    ]  # fmt: skip


def test_a_task_may_begin_again(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    for done in (0, 1, 0, 1):
        console.progress("lakes", done, 1)
    assert capsys.readouterr().err.count("lakes (0/1)") == 2


def test_quiet_says_nothing_but_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    work(Console(quiet=True))
    assert capsys.readouterr() == ("", "warning: a warning\n")
    work(Console(quiet=True, as_json=True))
    assert capsys.readouterr() == ('{\n "lakes": 1\n}\n', "warning: a warning\n")


def test_statuses_are_coloured_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "2017-2023: 8 grown, 2 new, 3 stable\n* GL076956E43096N      grown   newly unobserved"
    painted = colour_statuses(text)
    assert click.unstyle(painted) == text
    assert painted.count("\x1b[31mgrown") == 2
    assert "newly" in painted
    assert all(click.unstyle(colour_statuses(f" {status}")) == f" {status}" for status in Status)
    assert {str(one) for one in Status if colour_statuses(f" {one}") == f" {one}"} == {"stable"}

    @click.command()
    def tell() -> None:
        Console().summary({}, text)

    assert CliRunner().invoke(tell).output == text + "\n"
    assert "\x1b[31mgrown" in CliRunner().invoke(tell, color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert CliRunner().invoke(tell, color=True).output == text + "\n"


def test_one_is_no_plural() -> None:
    assert [counted(number, "lake") for number in (0, 1, 2, 1200)] == ["0 lakes", "1 lake", "2 lakes", "1,200 lakes"]
    assert [counted(number, "inventory", "inventories") for number in (1, 2)] == ["1 inventory", "2 inventories"]
