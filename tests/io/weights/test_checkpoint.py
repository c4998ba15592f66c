"""Checkpoints: what loads, what is refused, and that nothing in a file ever runs."""

from __future__ import annotations

import argparse
import enum
import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cryosentinel_cli.main import cli
from cryosentinel_core.errors import CheckpointError, CryosentinelError, OutputWrite
from cryosentinel_core.io.weights.checkpoint import read_checkpoint
from cryosentinel_core.io.weights.checkpoint_write import write_safetensors, write_torch
from cryosentinel_core.io.weights.model_card import convert_checkpoint, describe_checkpoint
from cryosentinel_core.io.weights.model_files import load_segmenter
from cryosentinel_core.io.weights.state_dicts import strip_prefixes
from cryosentinel_core.io.weights.unpickle import inspect_archive, read_as_data
from cryosentinel_core.learn.checkpoint_values import Inert
from cryosentinel_core.learn.hyper_parameters import spec_of_hyper_parameters
from cryosentinel_core.learn.model_spec import PUBLISHED_NORMALISATION, PUBLISHED_RECIPE, ModelSpec
from cryosentinel_core.learn.network.lake_network import shapes_of
from cryosentinel_core.learn.network.random_weights import make_random_checkpoint, make_random_weights
from cryosentinel_core.learn.plain_values import to_plain
from cryosentinel_core.reporter import Silent
from cryosentinel_core.stack.recipe import Recipe

SPEC = ModelSpec(backbone="terramind_v1_tiny", decoder_channels=4)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return make_random_weights(SPEC)


@pytest.fixture
def content(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A sound checkpoint in the published layout, to be damaged."""
    return {
        "epoch": 30,
        "state_dict": {f"model.{key}": value for key, value in weights.items()},
        "hyper_parameters": {
            "backbone": SPEC.backbone,
            "modalities": list(SPEC.modalities),
            "decoder": "UperNetDecoder",
            "decoder_kwargs": {"decoder_channels": 4, "decoder_scale_modules": True},
        },
        "callbacks": {},
    }


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def same(found: Any, wanted: dict[str, torch.Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


def fails(path: Path, **settings: Any) -> str:
    """The message of the CheckpointError that reading it must raise."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, **settings)
    assert caught.value.message
    return str(caught.value)


# ---- what loads


@pytest.mark.parametrize("prefix", ["model.", "model._orig_mod.", "module.model._orig_mod.", "_orig_mod.module.", ""])
def test_prefixes(tmp_path: Path, content: dict[str, Any], weights: dict[str, torch.Tensor], prefix: str) -> None:
    content["state_dict"] = {f"{prefix}{key}": value for key, value in weights.items()}
    checkpoint = read_checkpoint(save(tmp_path / "soup.ckpt", content))
    assert same(checkpoint.state_dict, weights)
    assert checkpoint.spec == SPEC
    assert checkpoint.layout == "lightning"
    assert checkpoint.name == f"soup-{checkpoint.sha256[:8]}"
    assert checkpoint.normalisation == PUBLISHED_NORMALISATION
    assert checkpoint.normalisation_source == "published"
    assert checkpoint.recipe == PUBLISHED_RECIPE
    assert checkpoint.training["epoch"] == 30


def test_parts_compiled_by_themselves(
    tmp_path: Path, content: dict[str, Any], weights: dict[str, torch.Tensor]
) -> None:
    content["state_dict"] = {
        f"model.{key}".replace("model.encoder.", "model.encoder._orig_mod.module."): value
        for key, value in weights.items()
    }
    assert same(read_checkpoint(save(tmp_path / "a.ckpt", content)).state_dict, weights)


def test_inner_names_survive() -> None:
    names = [
        "model.encoder.model_head.weight",
        "model.encoder.model.weight",
        "model.modules.0",
        "model",
        "a._orig_mod.b",
    ]
    stripped = strip_prefixes(Path("x"), dict.fromkeys(names, 0))
    assert list(stripped) == ["encoder.model_head.weight", "encoder.model.weight", "modules.0", "model", "a.b"]


def test_colliding_names_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    content["state_dict"]["model._orig_mod.head.head.2.bias"] = torch.zeros(1)
    assert "head.head.2.bias" in fails(save(tmp_path / "a.ckpt", content))


def test_published_layout_from_the_generator(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write_torch(path, make_random_checkpoint(SPEC, compiled=True, ema=True))
    again = tmp_path / "b.ckpt"
    write_torch(again, make_random_checkpoint(SPEC, compiled=True, ema=True))
    assert path.read_bytes() == again.read_bytes()
    model, ema = read_checkpoint(path), read_checkpoint(path, weights="ema")
    assert model.has_ema
    key = "decoder.bottleneck.conv.weight"
    torch.testing.assert_close(ema.state_dict[key], model.state_dict[key] * 1.01)
    assert torch.equal(
        ema.state_dict["decoder.bottleneck.norm.running_var"], model.state_dict["decoder.bottleneck.norm.running_var"]
    )


def test_lightnings_own_average(tmp_path: Path, content: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    content["current_model_state"] = {key: value * 2 for key, value in content["state_dict"].items()}
    path = save(tmp_path / "a.ckpt", content)
    key = "head.head.2.weight"
    assert torch.equal(read_checkpoint(path, weights="ema").state_dict[key], weights[key])
    assert torch.equal(read_checkpoint(path, weights="model").state_dict[key], weights[key] * 2)


def test_no_average(tmp_path: Path, content: dict[str, Any]) -> None:
    assert "--weights ema" in fails(save(tmp_path / "a.ckpt", content), weights="ema")


def test_average_of_another_network(tmp_path: Path, content: dict[str, Any]) -> None:
    content["callbacks"] = {"EMA": {"shadow": {"model.stranger": torch.zeros(1)}}}
    assert "stranger" in fails(save(tmp_path / "a.ckpt", content), weights="ema")


def test_bare_state_dict_says_its_architecture(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    assert read_checkpoint(save(tmp_path / "a.pt", weights)).spec == SPEC
    headless = {key: value for key, value in weights.items() if not key.startswith("encoder.")}
    assert "terramind_v1_large" in fails(save(tmp_path / "b.pt", headless)), (
        "without an encoder it is the published one"
    )


def test_statistics_and_recipe_of_the_file_win(tmp_path: Path, content: dict[str, Any]) -> None:
    stats = PUBLISHED_NORMALISATION.to_dict()
    stats["DEM"]["means"] = [1234.5]
    content["hyper_parameters"]["data"] = {"dataset_stats": stats}
    content["hyper_parameters"]["recipe"] = Recipe(composite="best").as_dict()
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", content))
    assert checkpoint.normalisation.dem.means == (1234.5,)
    assert checkpoint.normalisation_source == "checkpoint"
    assert checkpoint.recipe.composite == "best"


def test_architecture_in_terratorchs_own_layout(tmp_path: Path, content: dict[str, Any]) -> None:
    content["hyper_parameters"] = {
        "model_factory": "EncoderDecoderFactory",
        "model_args": {
            "backbone": "terramind_v1_tiny",
            "backbone_modalities": ["S2L2A", "S1GRD", "DEM"],
            "necks": [{"name": "SelectIndices", "indices": [1, 4, 7, 10]}],
            "decoder": "UperNetDecoder",
            "decoder_channels": 4,
        },
    }
    spec = read_checkpoint(save(tmp_path / "a.ckpt", content)).spec
    assert spec.neck_indices == (1, 4, 7, 10)
    assert spec.scale_modules


def test_half_precision_weights_load(tmp_path: Path, content: dict[str, Any]) -> None:
    from cryosentinel_core.learn.network.lake_network import load_network

    content["state_dict"] = {
        key: value.bfloat16() if value.is_floating_point() else value for key, value in content["state_dict"].items()
    }
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", content))
    network = load_network(checkpoint.spec, checkpoint.state_dict)
    assert {p.dtype for p in network.parameters()} == {torch.float32}


class Colour(enum.Enum):
    RED = "red"


class Strange:
    def __init__(self) -> None:
        self.size = 3


def test_harmless_classes_in_hyper_parameters(
    tmp_path: Path, content: dict[str, Any], weights: dict[str, torch.Tensor]
) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    content["hyper_parameters"] |= {
        "data_dir": PurePosixPath("/data/chips"),
        "folder": Path("runs/7"),
        "lr": np.float64(6e-5),
        "seed": np.int32(42),
        "flag": np.bool_(True),
        "args": argparse.Namespace(epochs=30, out=Path("x/y")),
        "config": omegaconf.OmegaConf.create({"optimizer": {"name": "adamw", "betas": [0.9, 0.999]}, "none": None}),
        "colour": Colour.RED,
        "strange": Strange(),
        "names": {"one"},
        "ordered": OrderedDict(a=1),
        "size": torch.Size([1, 2]),
    }
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", content))
    assert same(checkpoint.state_dict, weights)
    hyper = checkpoint.hyper_parameters
    json.dumps(hyper)
    assert hyper["data_dir"] == "/data/chips"
    assert hyper["folder"] == "runs/7"
    assert (hyper["lr"], hyper["seed"], hyper["flag"]) == (6e-5, 42, True)
    assert hyper["args"] == {"epochs": 30, "out": "x/y"}
    assert hyper["config"] == {"optimizer": {"name": "adamw", "betas": [0.9, 0.999]}, "none": None}
    assert hyper["colour"] == "red"
    assert hyper["strange"] == {"size": 3}
    assert hyper["names"] == ["one"]
    assert hyper["ordered"] == {"a": 1}
    assert hyper["size"] == [1, 2]


def test_hyper_parameters_that_are_one_object(tmp_path: Path, content: dict[str, Any]) -> None:
    content["hyper_parameters"] = argparse.Namespace(**content["hyper_parameters"])
    assert read_checkpoint(save(tmp_path / "a.ckpt", content)).spec == SPEC


def test_data_only_reading_gives_the_same_tensors(
    tmp_path: Path, content: dict[str, Any], weights: dict[str, torch.Tensor]
) -> None:
    # views, parameters and other element types by our own reader, against PyTorch's own
    base = torch.arange(24.0).reshape(4, 6)
    extra = {
        "view": base[1:, ::2],
        "transposed": base.t(),
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "flags": base > 3,
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(5),
        "parameter": torch.nn.Parameter(base),
    }
    path = save(tmp_path / "a.ckpt", {"state_dict": extra, "why": Strange()})
    archive = inspect_archive(path)
    from cryosentinel_core.io.weights.state_dicts import materialise

    found = materialise(path, archive, read_as_data(path, archive)["state_dict"])
    for key, value in extra.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value.detach()), key


# ---- what must never run


class Runs:
    """An object whose pickle calls something when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("where", ["state_dict", "hyper_parameters", "callbacks", "top", "weight", "key"])
@pytest.mark.parametrize("function", [os.system, eval, exec, os.mkdir, __import__])
def test_code_in_a_pickle_does_not_run(
    tmp_path: Path, content: dict[str, Any], function: Callable[..., Any], where: str
) -> None:
    mark = tmp_path / "ran"
    argument = {
        os.system: f"touch {mark}",
        eval: f"__import__('os').mkdir({str(mark)!r})",
        exec: f"__import__('os').mkdir({str(mark)!r})",
        os.mkdir: str(mark),
        __import__: "antigravity_of_the_test",
    }[function]
    bomb = Runs(function, argument)
    if where == "top":
        saved: Any = [bomb, content]
    elif where == "weight":
        saved = {**content, "state_dict": {**content["state_dict"], "model.head.head.2.bias": bomb}}
    elif where == "key":
        saved = {**content, "state_dict": {**content["state_dict"], (1, bomb): torch.zeros(1)}}
    elif where in ("state_dict",):
        saved = {**content, "state_dict": bomb}
    else:
        saved = {**content, where: {**content[where], "bomb": bomb}}
    path = save(tmp_path / "bomb.ckpt", saved)
    if where in ("hyper_parameters", "callbacks"):
        read_checkpoint(path)  # sound weights with inert strangers beside them
    else:
        fails(path)
    assert not mark.exists()


def test_bare_pickles_are_not_read(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "a.ckpt"
    path.write_bytes(pickle.dumps(Runs(os.mkdir, str(mark))))
    assert "bare pickle" in fails(path)
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    assert "bare pickle" in fails(path)
    assert not mark.exists()


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None], **settings: Any) -> Path:
    """Write a checkpoint's zip again, with records changed or left out."""
    with zipfile.ZipFile(path) as archive:
        records = [(info.filename, archive.read(info.filename)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", **settings) as archive:
        for name, data in records:
            new = change(name, data)
            if new is not None:
                archive.writestr(name, new)
    return path


def with_pickle(path: Path, program: bytes) -> Path:
    torch.save({"a": torch.zeros(4)}, path)
    return rewrite(path, lambda name, data: program if name.endswith("data.pkl") else data)


EVIL_PROGRAMS = {
    "state on an allowed function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
    "slot state on an allowed function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__)stb.",
    "state on a placeholder class": b"\x80\x02cos\nsystem\n}X\x01\x00\x00\x00aK\x01sb.",
    "storage called": b"\x80\x02ctorch\nFloatStorage\nJ\xff\xff\xff\x7f\x85R.",
    "tensor without storage": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)))Nt R.".replace(b" ", b""),
    "stack underflow": b"\x80\x02aaaa.",
    "unknown reference": b"\x80\x02X\x03\x00\x00\x00abcQ.",
    "no end": b"\x80\x02}",
    "nothing": b"",
    "instance by name": b"\x80\x02(X\x02\x00\x00\x00lsios\nsystem\n.",
    "a string": b"\x80\x02X\x02\x00\x00\x00ls.",
    "huge announced string": b"\x80\x02X\xff\xff\xff\x7fab.",
    "huge announced long": b"\x80\x02\x8b\xff\xff\xff\x7fab.",
    "nesting": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "extension code": b"\x80\x02\x82\x01.",
    "attribute path": b"\x80\x04\x8c\x02os\x8c\x0bpath.exists\x93\x8c\x01/\x85R.",
}


@pytest.mark.parametrize("name", EVIL_PROGRAMS)
def test_evil_programs(tmp_path: Path, name: str) -> None:
    path = with_pickle(tmp_path / "a.ckpt", EVIL_PROGRAMS[name])
    fails(path)
    archive = inspect_archive(path)
    try:
        found = read_as_data(path, archive)
    except CheckpointError:
        return
    assert isinstance(found, Inert | str | list | type)  # data, or a placeholder: nothing real


def test_plain_data_cannot_grow_without_end(tmp_path: Path, content: dict[str, Any]) -> None:
    level: Any = ["x"]
    for _ in range(30):
        level = [level, level, level, level]  # 4^30 values once written out, a few hundred bytes in the file
    content["hyper_parameters"]["bomb"] = level
    assert "more than" in fails(save(tmp_path / "a.ckpt", content))
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(CheckpointError):
        to_plain(loop)


# ---- fifty damaged checkpoints


def cut(share: float) -> Callable[[Path, dict[str, Any]], None]:
    def damage(path: Path, content: dict[str, Any]) -> None:
        data = save(path, content).read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return damage


def records(change: Callable[[str, bytes], bytes | None], **settings: Any) -> Callable[[Path, dict[str, Any]], None]:
    def damage(path: Path, content: dict[str, Any]) -> None:
        rewrite(save(path, content), change, **settings)

    return damage


def weight(key: str, value: Any) -> Callable[[Path, dict[str, Any]], None]:
    def damage(path: Path, content: dict[str, Any]) -> None:
        state = content["state_dict"]
        if value is None:
            del state[key]
        else:
            state[key] = value(state[key]) if callable(value) else value
        save(path, content)

    return damage


def hyper(key: str, value: Any) -> Callable[[Path, dict[str, Any]], None]:
    def damage(path: Path, content: dict[str, Any]) -> None:
        content["hyper_parameters"][key] = value
        save(path, content)

    return damage


def whole(value: Any) -> Callable[[Path, dict[str, Any]], None]:
    def damage(path: Path, content: dict[str, Any]) -> None:
        save(path, value(content) if callable(value) else value)

    return damage


def raw(data: bytes) -> Callable[[Path, dict[str, Any]], None]:
    def damage(path: Path, content: dict[str, Any]) -> None:
        path.write_bytes(data)

    return damage


def poke(tensor: torch.Tensor, value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed.view(-1)[0] = value
    return changed


def zipped(entries: dict[str, bytes], **settings: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **settings) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def overlapping() -> bytes:
    """A zip whose directory lists one record a thousand times under other names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/data/0", b"\0" * 100_000)
        first = archive.getinfo("a/data/0")
        for number in range(1, 1000):
            again = zipfile.ZipInfo(f"a/data/{number}")
            again.file_size = again.compress_size = first.file_size
            again.header_offset, again.CRC = first.header_offset, first.CRC
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
    return buffer.getvalue()


def safetensors_header(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


class TinyModel(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)


CONV = "model.decoder.bottleneck.conv.weight"
BIAS = "model.head.head.2.bias"
DAMAGES: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    **{f"cut at {share}": cut(share) for share in (0.0, 0.00001, 0.001, 0.25, 0.5, 0.9, 0.99, 0.9999)},
    "record missing": records(lambda n, d: None if n.endswith("data/0") else d),
    "record too short": records(lambda n, d: d[:4] if n.endswith("data/0") else d),
    "pickle missing": records(lambda n, d: None if n.endswith("data.pkl") else d),
    "pickle cut": records(lambda n, d: d[:200] if n.endswith("data.pkl") else d),
    "pickle scrambled": records(lambda n, d: d[:300] + d[900:] if n.endswith("data.pkl") else d),
    "pickle of noise": records(lambda n, d: bytes(range(256)) if n.endswith("data.pkl") else d),
    "big-endian": records(lambda n, d: b"big" if n.endswith("byteorder") else d),
    "compressed": records(lambda n, d: d, compression=zipfile.ZIP_DEFLATED),
    "pickle too long": records(lambda n, d: d + b"\0" * (33 * 2**20) if n.endswith("data.pkl") else d),
    "zip bomb": raw(zipped({"a/data.pkl": b"\0" * 30_000_000}, compression=zipfile.ZIP_DEFLATED)),
    "overlapping bomb": raw(overlapping()),
    "zip of something else": raw(zipped({"readme.txt": b"hello"})),
    "zip with two pickles": raw(zipped({"a/data.pkl": b"}.", "b/data.pkl": b"}."})),
    "TorchScript": raw(zipped({"a/data.pkl": b"}.", "a/constants.pkl": b").", "a/code/x.py": b"pass"})),
    "empty zip": raw(zipped({})),
    "text": raw(b"not a checkpoint at all, just words"),
    "html": raw(b"<!doctype html><html><body>404</body></html>"),
    "git lfs pointer": raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    "key missing": weight(BIAS, None),
    "key extra": weight("model.head.surprise", torch.zeros(2)),
    "key not a string": weight(7, torch.zeros(2)),  # type: ignore[arg-type]
    "wrong shape": weight(CONV, lambda t: t[:, :, :2]),
    "wrong rank": weight(BIAS, torch.zeros(1, 1)),
    "stretched by stride 0": weight(BIAS, lambda t: t.expand(10**9)),
    "NaN": weight(CONV, lambda t: poke(t, float("nan"))),
    "infinity": weight(CONV, lambda t: poke(t, float("inf"))),
    "NaN in a statistic": weight("model.neck.2.fpn1.1.running_var", lambda t: poke(t, float("nan"))),
    "integers for floats": weight(BIAS, torch.zeros(1, dtype=torch.int64)),
    "complex numbers": weight(BIAS, torch.zeros(1, dtype=torch.complex64)),
    "a list for a tensor": weight(BIAS, [0.0]),
    "sparse": weight(BIAS, torch.zeros(1).to_sparse()),
    "other backbone named": hyper("backbone", "terramind_v1_base"),
    "unknown backbone": hyper("backbone", "prithvi_600"),
    "unknown decoder": hyper("decoder", "UNetDecoder"),
    "other channels": hyper("decoder_kwargs", {"decoder_channels": 8, "decoder_scale_modules": True}),
    "no scale modules": hyper("decoder_kwargs", {"decoder_channels": 4, "decoder_scale_modules": False}),
    "modalities out of order": hyper("modalities", ["DEM", "S2L2A", "S1GRD"]),
    "modalities no list": hyper("modalities", "S2L2A"),
    "statistics too short": hyper("stats", {"S2L2A": {"means": [1], "stds": [1]}}),
    "recipe unknown": hyper("recipe", {"composite": "psychic"}),
    "a list": whole([1, 2, 3]),
    "a tensor": whole(torch.zeros(3)),
    "a number": whole(5),
    "an empty dict": whole({}),
    "empty weights": whole(lambda c: {**c, "state_dict": {}}),
    "another model": whole(TinyModel().state_dict()),
    "a pickled module": whole(lambda content: TinyModel()),
    "safetensors cut": raw(safetensors_header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, b"\0")),
    "safetensors huge header": raw((2**62).to_bytes(8, "little") + b"{"),
    "safetensors bad json": raw(safetensors_header(b"{" * 50)),
    "safetensors overlapping": raw(
        safetensors_header(
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            },
            b"\0" * 8,
        )
    ),
    "safetensors without metadata": raw(
        safetensors_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4)
    ),
}


def test_there_are_fifty() -> None:
    assert len(DAMAGES) >= 50


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.filterwarnings("ignore")  # writing the damaged files may warn; reading them is under test
def test_damaged_checkpoints(tmp_path: Path, content: dict[str, Any], name: str) -> None:
    path = tmp_path / "damaged.ckpt"
    DAMAGES[name](path, content)
    message = fails(path)
    assert len(message) < 4_000
    assert str(path) in message or "hyper-parameters" in message


def test_errors_name_what_is_wrong(tmp_path: Path, content: dict[str, Any]) -> None:
    del content["state_dict"][BIAS]
    content["state_dict"]["model.head.surprise"] = torch.zeros(2)
    content["state_dict"][CONV] = torch.zeros(1, 2)
    message = fails(save(tmp_path / "a.ckpt", content))
    for part in ("1 missing: head.head.2.bias", "1 unexpected: head.surprise", "(1, 2) instead of"):
        assert part in message


def test_no_file(tmp_path: Path) -> None:
    assert "no file" in fails(tmp_path / "none.ckpt")
    assert "no file" in fails(tmp_path)


# ---- safetensors and what is said about the weights


def test_conversion_keeps_everything(tmp_path: Path, content: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    content["hyper_parameters"]["recipe"] = Recipe(composite="best").as_dict()
    content["soup"] = {"ingredients": ["step1.ckpt", "step2.ckpt"], "method": "uniform"}
    source = save(tmp_path / "soup.ckpt", content)
    before = read_checkpoint(source)
    first = convert_checkpoint(source, tmp_path / "a.safetensors")
    second = convert_checkpoint(source, tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()
    after = read_checkpoint(first)
    assert same(after.state_dict, weights)
    assert after.layout == "safetensors"
    assert after.source_sha256 == before.sha256
    for name in ("spec", "normalisation", "recipe", "ingredients", "hyper_parameters", "training"):
        assert getattr(after, name) == getattr(before, name), name
    again = read_checkpoint(convert_checkpoint(first, tmp_path / "c.safetensors"))
    assert again.source_sha256 == before.sha256
    assert not list(tmp_path.glob(".*part"))


def test_safetensors_are_those_of_the_library(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    library = pytest.importorskip("safetensors.torch")
    write_safetensors(tmp_path / "a.safetensors", weights, {"format": "pt"})
    assert same(library.load_file(tmp_path / "a.safetensors"), dict(weights))


def test_mlm_metadata(tmp_path: Path, content: dict[str, Any]) -> None:
    safetensors = pytest.importorskip("safetensors")
    out = convert_checkpoint(save(tmp_path / "a.ckpt", content), tmp_path / "a.safetensors")
    with safetensors.safe_open(out, framework="pt") as file:
        properties = json.loads(file.metadata()["mlm"])
    assert properties["mlm:framework"] == "pytorch"
    assert [part["name"] for part in properties["mlm:input"]] == ["S2L2A", "S1GRD", "DEM"]
    assert properties["mlm:input"][0]["input"]["shape"] == [-1, 12, 224, 224]
    assert len(properties["mlm:input"][0]["value_scaling"]) == 12
    assert properties["mlm:input"][2]["value_scaling"] == [{"type": "z-score", "mean": 4299.8, "stddev": 901.0}]


def test_description(tmp_path: Path, content: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    from cryosentinel_core.learn.network.lake_network import build_network

    path = save(tmp_path / "soup.ckpt", content)
    found = describe_checkpoint(path)
    json.dumps(found)
    trained = sum(p.numel() for p in build_network(SPEC).parameters())
    assert found["parameters"]["total"] == trained
    assert found["model"]["backbone"] == "terramind_v1_tiny"
    assert found["normalisation"]["S1GRD"]["means"] == [-9.25, -18.0]
    assert found["recipe"]["radar"] == "sigma0-tc"
    assert found["sha256"][:8] in found["name"]


def test_conversion_that_cannot_be_written(tmp_path: Path, content: dict[str, Any]) -> None:
    path = save(tmp_path / "a.ckpt", content)
    for out in (tmp_path / "a.bin", path / "a.safetensors"):
        with pytest.raises((OutputWrite, CryosentinelError)):
            convert_checkpoint(path, out)


@pytest.mark.parametrize("name", ["model_state_dict", "net", "weights"])
def test_weights_under_a_training_loops_name(tmp_path: Path, weights: dict[str, torch.Tensor], name: str) -> None:
    """Architecture read off the shapes, which are not those of the published one."""
    content = {"epoch": 3, "optimizer_state_dict": {"state": {}, "param_groups": []}, name: weights}
    found = read_checkpoint(save(tmp_path / "loop.pt", content))
    assert (found.layout, found.spec) == ("state-dict", SPEC)
    assert same(found.state_dict, weights)


@pytest.mark.parametrize(
    "backbone", ["terramind_v1_tiny", "terramind_v1_small", "terramind_v1_base", "terramind_v1_large"]
)
@pytest.mark.parametrize("modalities", [("S2L2A", "S1GRD", "DEM"), ("S2L2A", "DEM")])
def test_architecture_of_shapes(backbone: str, modalities: tuple[str, ...]) -> None:
    spec = ModelSpec(backbone=backbone, modalities=modalities, decoder_channels=8, scale_modules=False)
    assert spec_of_hyper_parameters({}, shapes_of(spec)) == spec


def test_an_encoder_that_nobody_knows(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    fewer = {key: value for key, value in weights.items() if not key.startswith("encoder.encoder.11.")}
    with pytest.raises(CheckpointError, match="11 blocks of width 192"):
        read_checkpoint(save(tmp_path / "short.pt", fewer))


def test_parts_of_training_are_left_out_and_told(tmp_path: Path, content: dict[str, Any]) -> None:
    extra = {
        "criterion.weight": torch.ones(2),
        "model.aux_heads.0.conv.weight": torch.ones(3, 3),
        "criterion.bias": torch.ones(2),
    }
    content["state_dict"] |= extra
    path = save(tmp_path / "full.ckpt", content)
    assert dict(read_checkpoint(path).left_out) == {"criterion": 2, "aux_heads": 1}
    told: list[str] = []

    class Notes(Silent):
        def note(self, message: str) -> None:
            told.append(message)

    load_segmenter(path, reporter=Notes(), device="cpu", precision="float32")
    assert told == ["full.ckpt: aux_heads (1 weights), criterion (2 weights) left out, which only training needs"]


def test_numbers_that_json_lacks_are_shown_as_words(tmp_path: Path, content: dict[str, Any]) -> None:
    content["hyper_parameters"] |= {"clip": float("inf"), "nested": {"least": -np.float64("inf"), "seen": float("nan")}}
    path = save(tmp_path / "endless.ckpt", content)
    done = CliRunner().invoke(cli, ["model", "info", str(path), "--json"])
    assert done.exit_code == 0, done.output
    hyper = json.loads(done.stdout, parse_constant=pytest.fail)["hyper_parameters"]
    assert (hyper["clip"], hyper["nested"]) == ("inf", {"least": "-inf", "seen": "nan"})
    converted = convert_checkpoint(path, tmp_path / "endless.safetensors")
    assert read_checkpoint(converted).hyper_parameters["clip"] == "inf"
