"""Hostile and damaged files that the command meets: each ends in a plain error, soon, in little memory, and runs nothing.

All of them go through `cryosentinel model info` one after another in one process of its own, whose peak of memory is read
at the end; a crash of that process fails the file that it was reading.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cryosentinel_core
from cryosentinel_core.errors import CheckpointError
from cryosentinel_core.io.weights.checkpoint import METADATA_KEY, read_checkpoint
from cryosentinel_core.io.weights.unpickle import MAX_NAMES, MAX_PICKLE_BYTES, inspect_archive, read_as_data
from cryosentinel_core.learn.checkpoint_values import MAX_INERT
from cryosentinel_core.learn.model_spec import ModelSpec
from cryosentinel_core.learn.network.random_weights import make_random_checkpoint

SECONDS = 30.0
"""Longest that one file may keep the command busy; a busy machine is allowed for."""

MIB = 1_400
"""Most memory that all of them together may need, with PyTorch's own 300 to 500."""

SPEC = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=4)
BIAS = "model.head.head.2.bias"


def archive(path: Path, program: bytes, records: dict[str, bytes] | None = None) -> None:
    """A zip as PyTorch writes it, with a pickle of our own and a storage `0` of four floats."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", program)
        file.writestr("a/byteorder", b"little")
        file.writestr("a/version", b"3\n")
        for name, data in (records or {"a/data/0": b"\0" * 16}).items():
            file.writestr(name, data)


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data if len(data) < 256 else b"\x8b" + struct.pack("<I", len(data)) + data


def tensor(
    shape: tuple[int, ...], stride: tuple[int, ...], *, offset: int = 0, numel: int = 4, key: str = "0"
) -> bytes:
    """Opcodes that leave one tensor on the stack."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(numel) + b"tQ"
    dims = [b"(" + b"".join(map(number, part)) + b"t" for part in (shape, stride)]
    ordered = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + dims[0] + dims[1] + ordered + b"tR"


def weights(value: bytes, extra: bytes = b"") -> bytes:
    """`{"state_dict": {"head.head.2.bias": value}, ...}`."""
    return b"\x80\x02}(" + text("state_dict") + b"}" + text("head.head.2.bias") + value + b"s" + extra + b"u."


STRANGER = text("why") + b"cnowhere\nStranger\n)R"
"""An unknown class beside the weights: PyTorch's own loader refuses the file, ours goes on."""


def pairs(levels: int) -> bytes:
    """A tuple of two of a tuple of two of ... by the memo: a few bytes a level, two to the power of levels to hash."""
    return text("x") + b"q\x000" + b"h\x00h\x00\x86q\x000" * levels + b"h\x00"


def safetensors(header: Any, body: bytes = b"", *, length: int | None = None) -> bytes:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(data) if length is None else length) + data + body


def tensor_header(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}


def raw(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def program(data: bytes, **records: bytes) -> Callable[[Path], None]:
    return lambda path: archive(path, data, records or None)


def renamed(change: Callable[[str], str]) -> Callable[[Path], None]:
    """A sound checkpoint whose records have other names."""

    def make(path: Path) -> None:
        torch.save(make_random_checkpoint(SPEC), path)
        with zipfile.ZipFile(path) as file:
            records = [(info.filename, file.read(info.filename)) for info in file.infolist()]
        with zipfile.ZipFile(path, "w") as file:
            for name, data in records:
                info = zipfile.ZipInfo()
                info.filename = change(name)
                file.writestr(info, data)

    return make


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A sound checkpoint with something of another kind in it."""

    def make(path: Path) -> None:
        content = make_random_checkpoint(SPEC)
        change(content)
        torch.save(content, path)

    return make


def bias(value: Any) -> Callable[[Path], None]:
    return changed(lambda content: content["state_dict"].__setitem__(BIAS, value()))


def gzipped(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(make_random_checkpoint(SPEC), buffer)
    path.write_bytes(gzip.compress(buffer.getvalue(), 1))


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        for name in ("storages", "tensors", "pickle"):
            file.addfile(tarfile.TarInfo(name), io.BytesIO())


def legacy(path: Path) -> None:
    torch.save(make_random_checkpoint(SPEC), path, _use_new_zipfile_serialization=False)


def npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weight=np.zeros(4))


def folder(path: Path) -> None:
    path.mkdir()
    (path / "data.pkl").write_bytes(b"}.")


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere.ckpt"))


def loop(path: Path) -> None:
    path.symlink_to(path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def many_records(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02}.")
        for k in range(20_000):
            file.writestr(f"a/data/{k}", b"")


def wrong_local_header(path: Path) -> None:
    """The directory says one thing of the pickle's length, its own header another."""
    archive(path, weights(tensor((1,), (1,))))
    data = bytearray(path.read_bytes())
    data[28:30] = struct.pack("<H", 0xFFFF)  # length of the extra field: the record would begin far beyond
    path.write_bytes(bytes(data))


def quantised() -> Any:
    return torch.quantize_per_tensor(torch.zeros(1), 0.1, 0, torch.qint8)


METADATA = {METADATA_KEY: "[" * 50_000}
HOSTILE: dict[str, Callable[[Path], None]] = {
    "safetensors, offsets beyond the end": raw(safetensors(tensor_header(data_offsets=[0, 1 << 40]), b"\0" * 16)),
    "safetensors, offsets reversed": raw(safetensors(tensor_header(data_offsets=[16, 0]), b"\0" * 16)),
    "safetensors, offsets negative": raw(safetensors(tensor_header(data_offsets=[-16, 0]), b"\0" * 16)),
    "safetensors, shape larger than its bytes": raw(safetensors(tensor_header(shape=[4_000_000]), b"\0" * 16)),
    "safetensors, shape beyond all integers": raw(safetensors(tensor_header(shape=[1 << 62, 1 << 62]), b"\0" * 16)),
    "safetensors, unknown number type": raw(safetensors(tensor_header(dtype="F13"), b"\0" * 16)),
    "safetensors, header longer than the file": raw(safetensors(tensor_header(), b"\0" * 16, length=1 << 20)),
    "safetensors, header shorter than itself": raw(safetensors(tensor_header(), b"\0" * 16, length=20)),
    "safetensors, bytes left over": raw(safetensors(tensor_header(), b"\0" * 4096)),
    "safetensors, metadata nested": raw(
        safetensors({"__metadata__": METADATA, **tensor_header()}, b"\0" * 16),
    ),
    "safetensors, metadata no text": raw(safetensors({"__metadata__": {"a": [1]}, **tensor_header()}, b"\0" * 16)),
    "zip, absolute names": renamed(lambda name: "/" + name),
    "zip, names that climb": renamed(lambda name: "../../" + name),
    "zip, names with backslashes": renamed(lambda name: name.replace("/", "\\")),
    "zip, twenty thousand records": many_records,
    "zip, local header lies": wrong_local_header,
    "pickle, key hashed for ever": program(b"\x80\x02}" + pairs(60) + b"Ns."),
    "pickle, weights named by pairs of pairs": program(
        b"\x80\x02}(" + text("state_dict") + b"}" + pairs(60) + b"Ns" + b"u."
    ),
    "pickle, ordered dict hashed for ever": program(
        b"\x80\x02ccollections\nOrderedDict\n(](" + pairs(60) + b"N\x86etR."
    ),
    "pickle, set hashed for ever": program(b"\x80\x04\x8f(" + pairs(60) + b"\x90."),
    "pickle, frozen set hashed for ever": program(b"\x80\x04(" + pairs(60) + b"\x91."),
    "pickle, dict made at once, hashed for ever": program(b"\x80\x02(" + pairs(60) + b"Nd."),
    "pickle, key deeper than the stack": program(b"\x80\x02}" + b")" + b"\x85" * 1_000_000 + b"Ns."),
    "pickle, reference told at length": program(b"\x80\x02" + pairs(60) + b"Q."),
    "pickle, weights that refer to each other": program(weights(pairs(60))),
    "pickle, a million classes": program(
        b"\x80\x02(" + b"".join(b"ca\n%d\n" % k for k in range(600_000)) + b"l."
    ),
    "pickle, a million instances": program(b"\x80\x02ca\nb\nq\x00(" + b"h\x00)R" * 1_500_000 + b"l."),
    "pickle, memo far out": program(b"\x80\x02Nr\xff\xff\xff\x7f."),
    "pickle, huge byte array": program(b"\x80\x05\x96" + struct.pack("<Q", 1 << 44) + b"."),
    "pickle, frame longer than the file": program(b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"}."),
    "pickle, number of a million digits": program(weights(number(1 << 3_000_000))),
    "pickle, shape of huge numbers": program(weights(tensor((1 << 70,), (0,)), STRANGER)),
    "pickle, more elements than can be counted": program(weights(tensor((1 << 40, 1 << 40), (0, 0)), STRANGER)),
    "pickle, empty and endless": program(weights(tensor((0, 1 << 63), (1, 1)), STRANGER)),
    "pickle, negative stride": program(weights(tensor((2,), (-1,), offset=3), STRANGER)),
    "pickle, stride beyond its storage": program(weights(tensor((2,), (4,)), STRANGER)),
    "pickle, offset beyond its storage": program(weights(tensor((1,), (1,), offset=4), STRANGER)),
    "pickle, offset that overflows": program(weights(tensor((1,), (1,), offset=1 << 63), STRANGER)),
    "pickle, storage longer than its record": program(weights(tensor((1,), (1,), numel=1 << 50), STRANGER)),
    "pickle, storage outside the archive": program(weights(tensor((1,), (1,), key="../../../etc/passwd"), STRANGER)),
    "pickle, reference that is a number": program(weights(b"K\x07Q")),
    "pickle, reference by line": program(b"\x80\x02}Pstorage\n."),
    "pickle, weight whose name never ends": program(b"\x80\x02}(" + text("state_dict") + b"}" + text("x" * 4_000_000) + b"Ns" + b"u."),
    "pickle, weight named in escapes": program(b"\x80\x02}(" + text("state_dict") + b"}" + text("\x1b[2J\n\0") + b"Ns" + b"u."),
    "tensor, quantised": bias(quantised),
    "tensor, sparse rows": bias(lambda: torch.zeros(2, 2).to_sparse_csr()),
    "tensor, without data": bias(lambda: torch.zeros(1, device="meta")),
    "tensor, nested": bias(lambda: torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)])),
    "tensor, eight bits": bias(lambda: torch.zeros(1).to(torch.float8_e4m3fn)),
    "tensor, boolean": bias(lambda: torch.zeros(1, dtype=torch.bool)),
    "weights that hold themselves": changed(lambda c: c["state_dict"].__setitem__("model.loop", c["state_dict"])),
    "PyTorch before 1.6": legacy,
    "PyTorch before 0.2": tarred,
    "gzip": gzipped,
    "NumPy's own zip": npz,
    "HDF5": raw(b"\x89HDF\r\n\x1a\n" + b"\0" * 64),
    "ONNX": raw(b"\x08\x07\x12\x07pytorch" + b"\0" * 64),
    "pickle of protocol 0": raw(pickle.dumps({"a": 1}, protocol=0)),
    "empty": raw(b""),
    "eight bytes": raw(b"\x10\0\0\0\0\0\0\0"),
    "a folder": folder,
    "a link to nowhere": dangling,
    "a link to itself": loop,
    "a pipe": pipe,
}  # fmt: skip

READ_ALL = """
import contextlib, faulthandler, io, json, sys, time
from cryosentinel_cli.main import run
for path in sys.argv[1:]:
    faulthandler.dump_traceback_later(120, exit=True)
    began, told = time.process_time(), io.StringIO()
    sys.argv = ["cryosentinel", "model", "info", path]
    try:
        with contextlib.redirect_stderr(told):
            run()
    except SystemExit as stop:
        code = stop.code
    seconds = time.process_time() - began
    print(json.dumps({"path": path, "code": code, "output": told.getvalue()[:20000], "seconds": seconds}), flush=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"peak_mib": int(status["VmHWM"].split()[0]) / 1024}), flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("hostile")
    paths = {}
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k, (name, make) in enumerate(HOSTILE.items()):
            paths[name] = root / f"{k}.ckpt"
            make(paths[name])
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *map(str, paths.values())],
        capture_output=True, text=True, timeout=800,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cryosentinel_core.__file__).parents[1])},
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told = {line["path"]: line for line in lines if "path" in line}
    peak = next((line["peak_mib"] for line in lines if "peak_mib" in line), None)
    return {
        "told": {name: told.get(str(path)) for name, path in paths.items()},
        "peak_mib": peak,
        "stderr": done.stderr[-1500:],
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_each_ends_in_a_plain_error(answers: dict[str, Any], name: str) -> None:
    told = answers["told"][name]
    assert told is not None, answers["stderr"]
    assert told["code"] == 1, told["output"][-800:]
    assert "Traceback" not in told["output"]
    assert 20 < len(told["output"]) < 5_000
    assert "\x1b" not in told["output"]
    assert told["seconds"] < SECONDS


def test_memory_is_bounded(answers: dict[str, Any]) -> None:
    assert answers["peak_mib"] is not None, answers["stderr"]
    assert answers["peak_mib"] < MIB


def test_strange_hyper_parameters_are_shown(tmp_path: Path) -> None:
    """Sound weights with numbers and texts beside them that cannot be printed as they are."""
    from click.testing import CliRunner

    from cryosentinel_cli.main import cli

    content = make_random_checkpoint(SPEC)
    content["hyper_parameters"] |= {"seed": 1 << 50_000, "name": "a\ud800b", 1 << 50_000: 1}
    path = tmp_path / "odd.ckpt"
    torch.save(content, path)
    for arguments in (["model", "info", str(path)], ["model", "info", str(path), "--json"]):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        assert "integer of 50001 bits" in result.output


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x02}" + pairs(60) + b"Ns.", "nested"),
        (b"\x80\x02(" + b"".join(b"ca\n%d\n" % k for k in range(MAX_NAMES + 1)) + b"l.", "names"),
        (b"\x80\x02ca\nb\nq\x00(" + b"h\x00)R" * (MAX_INERT + 1) + b"l.", "objects"),
        (b"\x80\x02" + b"N0" * (MAX_PICKLE_BYTES // 2) + b"}.", "at most"),
    ],
    ids=["key", "names", "objects", "length"],
)
def test_limits_are_told(tmp_path: Path, data: bytes, words: str) -> None:
    archive(tmp_path / "a.ckpt", data)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(tmp_path / "a.ckpt")


def test_ordinary_keys_pass(tmp_path: Path) -> None:
    """Tuples of plain things are keys of real checkpoints too."""
    path = tmp_path / "a.ckpt"
    torch.save({("lr", 0): 1, (1, ("a", "b")): 2, None: {3}, "names": frozenset({"x"})}, path)
    found = read_as_data(path, inspect_archive(path))
    assert {("lr", 0), (1, ("a", "b")), None} <= set(found)


def test_a_link_to_a_sound_file_is_followed(tmp_path: Path) -> None:
    torch.save(make_random_checkpoint(SPEC), tmp_path / "sound.ckpt")
    (tmp_path / "link.ckpt").symlink_to(tmp_path / "sound.ckpt")
    assert read_checkpoint(tmp_path / "link.ckpt").spec == SPEC
