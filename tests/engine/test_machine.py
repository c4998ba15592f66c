"""What a process has taken of its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryosentinel_core.engine.machine import peak_memory_mib


def test_the_kernels_word(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t 12 kB\n")
    assert peak_memory_mib(status) == 2.0


@pytest.mark.parametrize("text", [None, "Name:\tpython\n", "VmHWM:\n", "VmHWM:\tmuch kB\n"])
def test_silence(tmp_path: Path, text: str | None) -> None:
    status = tmp_path / "status"
    if text is not None:
        status.write_text(text)
    assert peak_memory_mib(status) is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="not Linux")
def test_this_process() -> None:
    before = peak_memory_mib()
    assert before is not None
    held = bytearray(int(before * 2**20) + 2**26)
    held[:: 2**12] = b"x" * len(held[:: 2**12])
    after = peak_memory_mib()
    assert after is not None
    assert after > before + 32
