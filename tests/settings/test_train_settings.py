"""Published configurations are taken as they are; the bundled recipe and the examples say what they claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cryosentinel_cli.train_settings import read_settings
from cryosentinel_core.errors import ConfigError
from cryosentinel_core.io.tables.yaml_files import dump_yaml, load_yaml
from cryosentinel_core.settings.train import NO_EFFECT, TrainSettings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        inner = found
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return found


def flat(settings: TrainSettings) -> dict[str, Any]:
    def walk(data: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(data, dict):
            return {prefix: data}
        return {
            key: value
            for name, inner in data.items()
            for key, value in walk(inner, f"{prefix}.{name}".strip(".")).items()
        }

    return walk(settings.model_dump(mode="json"), "")


@pytest.fixture(scope="module")
def published(shared_data: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((shared_data / "published-fixtures" / "published_config_keys.json").read_text())
    return {name: values for name, values in found.items() if not name.startswith("_")}


@pytest.mark.parametrize("name", ["terramind_v3_finetune_almaty_v2.yaml", "terramind_v3_pretrain_v2.yaml"])
def test_published_files_are_taken_as_they_are(published: dict[str, dict[str, Any]], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(dump_yaml(nested(published[name])))
    settings = flat(read_settings(path, (), {}))
    for key, value in published[name].items():
        assert settings[key] == value, key


def test_a_decoder_that_is_not_built_is_told(published: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "smoke.yaml"
    path.write_text(dump_yaml(nested(published["terramind_smoke.yaml"])))
    with pytest.raises(ConfigError, match=r"model\.decoder is 'UNetDecoder': wanted UperNetDecoder"):
        read_settings(path, (), {})


def test_the_bundled_recipe_is_the_published_fine_tune(published: dict[str, dict[str, Any]]) -> None:
    bundled = flat(TrainSettings())
    own = {
        "run_name", "output_dir", "data.data_dir", "data.regions", "data.years", "data.norm_stats_path", "data.block_size_deg",
        "data.block_buffer_deg", "data.block_salt", "model.compile_model", "trainer.accelerator",
    }  # fmt: skip
    for key, value in published["terramind_v3_finetune_almaty_v2.yaml"].items():
        if key not in own and not key.startswith("model.decoder_kwargs"):
            assert bundled[key] == value, key
    assert (TrainSettings().model.width, TrainSettings().model.scale_modules) == (256, True)


@pytest.mark.parametrize(
    ("example", "name"),
    [
        ("finetune-published.yaml", "terramind_v3_finetune_almaty_v2.yaml"),
        ("pretrain-stage4a.yaml", "terramind_v3_pretrain_v2.yaml"),
    ],
)
def test_examples_say_the_same_in_our_words(published: dict[str, dict[str, Any]], example: str, name: str) -> None:
    ours = flat(read_settings(EXAMPLES / example, (), {}))
    unlike = {"run_name", "output_dir", "data.data_dir", "data.norm_stats_path", *NO_EFFECT}
    for key, value in published[name].items():
        if key not in unlike:
            assert ours[key] == value, key


def test_every_example_is_read() -> None:
    for path in EXAMPLES.glob("*.yaml"):
        read_settings(path, (), {})


def test_numbers_are_read_as_yaml_1_2_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("model: {lr: 6e-5, weight_decay: 1E-4}\nseed: 7\n")
    assert load_yaml(path) == {"model": {"lr": 6e-5, "weight_decay": 1e-4}, "seed": 7}
    path.write_text("seed: 7\nseed: 8\n")
    with pytest.raises(ConfigError, match="seed stands there twice"):
        load_yaml(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("trainer.swa.swa_epoch_start=1.5", "wanted a share"),
        ("data.multi_scale={scale_min: 1.2, scale_max: 0.8}", "above scale_max"),
        ("data.copy_paste.sub_sample_frac=0.5", "sub_sample_frac"),
        ("run_name=../../etc", "run_name"),
        ("model.decoder_kwargs={channels: 3}", "decoder_kwargs has channels"),
        ("data.batch_size=0", "data.batch_size is 0"),
    ],
)
def test_values_that_make_no_sense_are_told(change: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_settings(None, (change,), {})
    assert message in error.value.message
