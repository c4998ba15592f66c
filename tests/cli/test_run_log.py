"""What commands said is kept in the workspace: times, levels, exit code; no secrets, no escape sequences, and never an obstacle."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cryosentinel_cli import run_log
from cryosentinel_cli.console import Console
from cryosentinel_cli.groups import CommonFirst
from cryosentinel_cli.main import cli
from cryosentinel_cli.options import common
from cryosentinel_cli.run_log import RunLog, command_line, logged, without_secrets
from cryosentinel_core.errors import InputError
from cryosentinel_core.io.run_logs import LOG_NAME

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO   |WARNING|ERROR  ) .*|    .*")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace, which nothing but its folder of logs makes one."""
    (tmp_path / "logs").mkdir()
    return tmp_path


def logs_in(root: Path) -> list[str]:
    found = sorted((root / "logs").iterdir())
    assert all(LOG_NAME.fullmatch(path.name) for path in found)
    return [path.read_text(encoding="utf-8") for path in found]


@click.group(cls=CommonFirst)
def program() -> None:
    """A program with one command."""


@program.command()
@click.argument("ending")
@click.option("--api-key")
@common
@logged
def work(ending: str, api_key: str | None, workspace: str, verbose: bool, quiet: bool, as_json: bool) -> int:
    """Say something and end in some way."""
    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        for done in range(101):
            console.progress("tiles", done, 100)
        console.note("read https://user:word@host.org/a.tif?sig=abc%2F&se=1 \x1b[31mred\x1b[0m\x07\nand more")
        console.warn("a warning")
        thread = threading.Thread(target=console.warn, args=("from a thread",))
        thread.start()
        thread.join()
        console.summary({"lakes": 1}, "1 lake  grown ")
        if ending == "known":
            raise InputError("wrong thing", "another thing")
        if ending == "ours":
            raise ValueError("a fault")
        if ending == "stopped":
            raise KeyboardInterrupt
    return 3 if ending == "partial" else 0


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("done", 0, "a warning"), ("partial", 3, "a warning"), ("known", 1, "ERROR   wrong thing\n    try: another thing"),
        ("ours", 70, "ValueError: a fault"), ("stopped", 130, "ERROR   stopped"),
    ],
)  # fmt: skip
def test_how_a_run_went_is_kept(home: Path, ending: str, code: int, said: str) -> None:
    CliRunner().invoke(program, ["-w", str(home), "work", ending, "--api-key", "12345678", "-q", "--json"])
    (log,) = logs_in(home)
    assert all(LINE.fullmatch(line) for line in log.splitlines()), log
    first = log.splitlines()[0]
    assert first.endswith(f"INFO    cryosentinel -w {home} work {ending} --api-key '***' -q --json")
    assert "cryosentinel 0" in log
    assert "numpy " in log
    assert said in log
    assert "WARNING from a thread" in log
    assert [line.split("    ")[-1] for line in log.splitlines() if "tiles (" in line] == [
        f"tiles ({done}/100)" for done in range(0, 101, 10)
    ]
    assert "\x1b" not in log
    assert "\x07" not in log
    for secret in ("12345678", "user:word", "abc%2F"):
        assert secret not in log
    assert log.count(f"ended with exit code {code} after") == 1
    assert log.splitlines()[-1].split("    ")[-1].startswith(f"ended with exit code {code} after")


def test_runs_do_not_mix_and_old_logs_go(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "MAX_FILES", 3)
    (home / "logs" / "notes.txt").write_text("mine")
    one, two = RunLog(home, "predict", {}), RunLog(home, "predict", {})
    with one, two:
        one.write("INFO", "from one")
        two.write("INFO", "from two")
    (home / "logs" / "notes.txt").rename(home / "notes.txt")
    kept = logs_in(home)
    assert sorted("from one" in log for log in kept) == [False, True]
    assert all(("from one" in log) != ("from two" in log) for log in kept)
    for number in range(4):
        with RunLog(home, "chips build", {}) as log:
            log.write("INFO", f"run {number}")
    assert len(logs_in(home)) == 3
    assert "run 3" in "".join(logs_in(home))


def test_a_long_run_fills_no_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "MAX_FILE_BYTES", 2_000)
    with RunLog(home, "fetch", {}) as log:
        for number in range(1_000):
            log.write("INFO", f"message {number}")
    (text,) = logs_in(home)
    assert len(text) < 2_400
    assert re.search(r"WARNING 9\d\d messages left out", text)
    assert "ended with exit code 0" in text


def test_a_log_that_cannot_be_written_ends_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "logs").rmdir()
    (home / "logs").write_text("a file")
    result = CliRunner().invoke(program, ["work", "done", "-w", str(home)], standalone_mode=False)
    assert result.exception is None
    assert result.return_value == 0
    assert result.stderr.count("no log of this run is kept") == 1
    assert "1 lake" in result.stdout

    class Full:
        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_log, "_open", lambda folder, command: Full())
    result = CliRunner().invoke(program, ["work", "done", "-w", str(home)], standalone_mode=False)
    assert result.exception is None
    assert result.stderr.count("no log of this run is kept") == 1


def test_secrets_stay_out() -> None:
    environment = {"HF_TOKEN": "aaaabbbbcccc", "PC_SDK_SUBSCRIPTION_KEY": "ddddeeeeffff", "HOME": "/home/somebody"}
    text = (
        "Authorization: Bearer abcdef.ghijkl-123 at s3://key:word@bucket/x and hf_ABCDEFGHIJKL, aaaabbbbcccc ddddeeeeffff, "
        "/home/somebody/lakes.gpkg?COUNTRY=KZ https://a.org/b.tif?st=1&sig=2 tcp://10.0.0.1:8786"
    )
    assert without_secrets(text, environment) == (
        "Authorization: Bearer *** at s3://***@bucket/x and ***, *** ***, "
        "/home/somebody/lakes.gpkg?COUNTRY=KZ https://a.org/b.tif?*** tcp://10.0.0.1:8786"
    )
    words = ["fetch", "--token=abc", "--secret", "def", "--key-frames", "2", "a b"]
    assert command_line(words) == "cryosentinel fetch '--token=***' --secret '***' --key-frames 2 'a b'"


def test_commands_keep_logs_and_housekeeping_knows_them(home: Path) -> None:
    result = CliRunner().invoke(cli, ["predict", "--aoi", "nowhere", "--year", "2023", "-w", str(home)])
    assert result.exit_code == 1
    (log,) = logs_in(home)
    assert "ERROR" in log
    assert "ended with exit code 1" in log
    told = json.loads(CliRunner().invoke(cli, ["du", "-w", str(home), "--json"]).stdout)
    assert [(one["path"], one["kind"], one["bytes"]) for one in told["folders"]] == [
        ("logs", "logs", len(log.encode()))
    ]
    (home / "logs" / "mine.log").write_text("kept")
    CliRunner().invoke(cli, ["clean", "-w", str(home)], catch_exceptions=False)
    assert len(list((home / "logs").iterdir())) == 2
    CliRunner().invoke(cli, ["clean", "--logs", "-w", str(home)], catch_exceptions=False)
    assert [path.name for path in (home / "logs").iterdir()] == ["mine.log"]


@pytest.mark.parametrize("name", ["fetch", "predict", "change", "evaluate", "audit", "chips build"])
def test_commands_that_work_on_a_workspace_are_logged(name: str) -> None:
    command: click.Command = cli
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.commands[word]
    assert command.callback is not None
    assert command.callback.__globals__["logged"] is logged
    assert hasattr(command.callback, "__wrapped__")


def test_a_folder_that_is_no_workspace_gets_no_log_until_it_is_one(tmp_path: Path) -> None:
    with RunLog(tmp_path, "fetch", {}) as log:
        log.write("INFO", "before")
    assert list(tmp_path.iterdir()) == []
    with RunLog(tmp_path, "fetch", {}) as log:
        log.write("INFO", "before")
        (tmp_path / "valley").mkdir()
        (tmp_path / "valley" / "aoi.geojson").write_text("{}")
        log.write("INFO", "after")
    (text,) = logs_in(tmp_path)
    assert text.index("before") < text.index("after") < text.index("exit code 0")
