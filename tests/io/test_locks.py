"""Two processes in one workspace: what one writes the other does not touch, and who waits is told for whom."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cryosentinel_core.errors import OutputWrite, WorkspaceBusy
from cryosentinel_core.io.locks import hold_part, hold_parts
from cryosentinel_core.io.workspace import LEFTOVER_AFTER_S, TEMPORARY, remove_leftovers
from cryosentinel_core.reporter import Silent

HOLDER = """
import sys
from pathlib import Path
from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.reporter import Silent
part = Path(sys.argv[1])
with hold_part(part, "change 2017 2023", Silent()), writing(part / "s2.tif") as temporary:
    temporary.write_bytes(b"half")
    print(temporary.name, flush=True)
    sys.stdin.read()
"""


class Notes(Silent):
    """A reporter that remembers notes."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, message: str) -> None:
        self.told.append(message)


@contextmanager
def other_process(part: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that holds a part and is half through a file; it ends well once its input ends."""
    command = [sys.executable, "-c", HOLDER, str(part)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_what_another_process_is_writing_stays_until_it_is_killed(tmp_path: Path) -> None:
    with other_process(tmp_path / "stack") as (process, name):
        temporary = tmp_path / "stack" / name
        assert temporary.read_bytes() == b"half"
        remove_leftovers(tmp_path)
        assert temporary.exists()
        process.communicate("")
        assert process.returncode == 0
        assert (tmp_path / "stack" / "s2.tif").read_bytes() == b"half"
    with other_process(tmp_path / "stack") as (process, name):
        process.kill()
        process.wait()
        assert (tmp_path / "stack" / name).exists()
        remove_leftovers(tmp_path)
        assert [path.name for path in (tmp_path / "stack").iterdir()] == ["s2.tif"]


def test_files_of_another_machine_go_after_a_day(tmp_path: Path) -> None:
    left = tmp_path / f"{TEMPORARY}00000000-1-2-s2.tif"
    left.write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert left.exists()
    then = left.stat().st_mtime - LEFTOVER_AFTER_S - 10
    os.utime(left, (then, then))
    remove_leftovers(tmp_path)
    assert not left.exists()


def test_who_waits_is_told_for_whom_and_gives_up(tmp_path: Path) -> None:
    part, notes = tmp_path / "registry.gpkg", Notes()
    with other_process(part) as (process, _):
        with (
            pytest.raises(WorkspaceBusy, match=rf"process {process.pid} on .+ \(change 2017 2023\), since 20") as seen,
            hold_part(part, "change 2017 2021", notes, wait_s=0.3),
        ):
            pytest.fail("two processes hold one part")
        assert seen.value.hint
        assert [bool(re.search(f"waiting.*process {process.pid} ", line)) for line in notes.told] == [True]
        process.kill()
        process.wait()
        with hold_part(part, "change 2017 2021", notes, wait_s=0.0):
            record = json.loads((tmp_path / ".locks" / "registry.gpkg.json").read_text())
            assert (record["pid"], record["task"]) == (os.getpid(), "change 2017 2021")
    assert not (tmp_path / ".locks" / "registry.gpkg.json").exists()


def test_who_waits_goes_on_once_the_other_has_ended(tmp_path: Path) -> None:
    with other_process(tmp_path / "a") as (process, _):

        class Ends(Silent):
            def note(self, message: str) -> None:
                assert "waiting" in message
                assert process.stdin is not None
                process.stdin.close()

        with hold_parts([tmp_path / "b", tmp_path / "a"], "fetch 2017", Ends(), wait_s=30.0):
            assert (tmp_path / "a" / "s2.tif").exists()


def test_a_holder_cannot_move_the_cursor(tmp_path: Path) -> None:
    part = tmp_path / "x"
    with hold_part(part, "\x1b[2Jchange", Silent()):
        with pytest.raises(WorkspaceBusy) as seen, hold_part(part, "y", Silent(), wait_s=0.0):
            pytest.fail("two hold one part")
        assert "\x1b" not in seen.value.message
        assert "[2Jchange" in seen.value.message


def test_a_folder_that_refuses_is_said(tmp_path: Path) -> None:
    (tmp_path / ".locks").write_text("in the way")
    with pytest.raises(OutputWrite, match=r"\.locks"), hold_part(tmp_path / "x", "y", Silent()):
        pytest.fail("held without a lock")


@pytest.mark.parametrize("write", ["cog", "text", "torch", "safetensors"])
def test_one_scheme_of_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    """A writer that breaks off leaves what was there, and nothing else."""
    import numpy as np
    import torch
    from affine import Affine

    from cryosentinel_core.io.weights.checkpoint_write import write_safetensors, write_torch
    from cryosentinel_core.simulate.cogs import write_cog
    from cryosentinel_core.simulate.truth import write_text

    path = tmp_path / "x"
    writers: dict[str, Callable[[], None]] = {
        "cog": lambda: write_cog(path, np.zeros((8, 8), np.uint8), Affine(10, 0, 500000, 0, -10, 4700000), 32643),
        "text": lambda: write_text(path, "new"),
        "torch": lambda: write_torch(path, {"a": torch.zeros(2)}),
        "safetensors": lambda: write_safetensors(path, {"a": torch.zeros(2)}, {}),
    }
    path.write_text("old")
    seen: list[list[str]] = []

    def broken(file: int) -> None:
        seen.append(sorted(left.name for left in tmp_path.iterdir()))
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OutputWrite, match="no space left"):
            writers[write]()
    assert path.read_text() == "old"
    assert [left.name for left in tmp_path.iterdir()] == ["x"]
    assert len(seen) == 1
    assert seen[0][0].startswith(TEMPORARY)
    writers[write]()
    assert path.read_bytes() != b"old"
