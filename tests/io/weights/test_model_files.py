"""Finding a model's file: paths, hub references, the cache, and what is said without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import errors

from cryosentinel_core.errors import ModelError
from cryosentinel_core.io.weights.hub import HubReference
from cryosentinel_core.io.weights.model_files import (
    load_ensemble,
    load_segmenter,
    resolve_model,
    write_random_checkpoint,
)
from cryosentinel_core.learn.model_spec import PUBLISHED_MODEL, PUBLISHED_RECIPE

REFERENCE = "hf://owner/repo/folder/soup.ckpt"


def test_published_reference() -> None:
    assert HubReference.parse(PUBLISHED_MODEL) == HubReference(
        repo="abzal-glw/cryosentinel-terramind-v3", file="terramind_v3_finetune_almaty_v2/checkpoints/soup.ckpt"
    )


def test_revision() -> None:
    assert HubReference.parse(f"{REFERENCE}@v1.0").revision == "v1.0"
    assert HubReference.parse(f"{REFERENCE}@refs/pr/3").revision == "refs/pr/3"
    assert HubReference.parse(REFERENCE).revision is None


@pytest.mark.parametrize(
    "reference",
    [
        "hf://owner/repo",
        "hf://owner/repo/",
        "hf:///repo/file",
        "hf://owner/repo/../../etc/passwd",
        "hf://owner/repo/a//b",
        "hf://../../x/y/z.ckpt",
        "hf://owner/repo/.hidden/file",
        "hf://owner/repo/a\\..\\b",
        "hf://owner/repo/file.ckpt@",
        "hf://owner/repo/file.ckpt@../../main",
        "hf://owner/repo/file.ckpt@/etc",
        "hf://owner/repo/file with space",
    ],
)
def test_references_that_are_refused(reference: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="model reference"):
        resolve_model(reference, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_local_paths(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(ModelError, match=r"a\.ckpt"):
        resolve_model(str(path))
    path.write_bytes(b"x")
    assert resolve_model(str(path)) == path


class Hub:
    """A hub whose download fails or succeeds as told, and which counts."""

    def __init__(self, path: Path, cached: bool, error: Exception | None = None) -> None:
        self.path, self.cached, self.error = path, cached, error
        self.calls: list[dict[str, Any]] = []

    def __call__(self, repo_id: str, filename: str, **settings: Any) -> str:
        self.calls.append({"repo_id": repo_id, "filename": filename, **settings})
        if settings["local_files_only"] and not self.cached:
            raise errors.LocalEntryNotFoundError("not in the cache")
        if not settings["local_files_only"] and self.error:
            raise self.error
        return str(self.path)


def test_cached_files_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(tmp_path / "soup.ckpt", cached=True, error=RuntimeError("must not be asked"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    assert resolve_model(f"{REFERENCE}@main", cache_dir=tmp_path) == tmp_path / "soup.ckpt"
    assert hub.calls == [
        {
            "repo_id": "owner/repo",
            "filename": "folder/soup.ckpt",
            "repo_type": "model",
            "revision": "main",
            "cache_dir": tmp_path,
            "local_files_only": True,
        }
    ]


def test_other_files_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(tmp_path / "soup.ckpt", cached=False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    assert resolve_model(REFERENCE) == tmp_path / "soup.ckpt"
    assert [call["local_files_only"] for call in hub.calls] == [True, False]


def made(kind: type[Exception]) -> Exception:
    """One of the hub's errors without the response that its transport (which differs by version) would bring."""
    error = kind.__new__(kind)
    Exception.__init__(error, "404 Client Error")
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.LocalEntryNotFoundError("offline"), "water-index"),
        (OSError("connection refused"), "water-index"),
        (made(errors.RepositoryNotFoundError), "owner/repo"),
        (made(errors.GatedRepoError), "terms"),
        (made(errors.RemoteEntryNotFoundError), "folder/soup.ckpt"),
        (made(errors.RevisionNotFoundError), "folder/soup.ckpt"),
    ],
    ids=["offline", "refused", "no-repo", "gated", "no-file", "no-revision"],
)
def test_what_is_said_when_it_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", Hub(tmp_path / "x", cached=False, error=error))
    with pytest.raises(ModelError) as caught:
        resolve_model(REFERENCE)
    assert words in str(caught.value)


def test_the_real_hub_client_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        resolve_model(REFERENCE, cache_dir=tmp_path)
    assert "--model FILE" in str(caught.value)


def test_a_file_in_the_real_clients_cache_is_found(tmp_path: Path) -> None:
    commit = "0" * 40
    repo = tmp_path / "models--owner--repo"
    file = repo / "snapshots" / commit / "folder" / "soup.ckpt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    assert resolve_model(REFERENCE, cache_dir=tmp_path).read_bytes() == b"weights"


def test_segmenter_of_a_file(tmp_path: Path) -> None:
    path = write_random_checkpoint(tmp_path / "soup.ckpt", decoder_channels=4, compiled=True, ema=True)
    segmenter = load_segmenter(path, device="cpu", precision="float32", tta=False, threads=1)
    assert segmenter.name.startswith("soup-")
    assert len(segmenter.name) == len("soup-") + 8
    assert segmenter.recipe == PUBLISHED_RECIPE
    average = load_segmenter(path, device="cpu", precision="float32", tta=False, threads=1, weights="ema")
    assert average.name != segmenter.name
    assert average.digest != segmenter.digest
    ours = segmenter.network.state_dict()["head.head.2.weight"].numpy()
    np.testing.assert_allclose(average.network.state_dict()["head.head.2.weight"].numpy(), ours * 1.01, rtol=1e-6)


def test_an_ensemble_of_files_falls_back_to_one_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the check of one network fails, all are loaded again in float32."""
    from cryosentinel_core.learn.inference import network_segmenter as infer

    paths = [
        write_random_checkpoint(tmp_path / f"{name}.ckpt", seed=seed, decoder_channels=16)
        for seed, name in enumerate(("one", "two"))
    ]
    chosen = iter(["bf16", "float32"])
    monkeypatch.setattr(infer, "choose_precision", lambda network, device: next(chosen))
    ensemble = load_ensemble(paths, device="cpu", tta=False, threads=1)
    assert ensemble.conditions["precision"] == "float32"
    assert ensemble.conditions["n_models"] == 2
    assert ensemble.name.startswith("one-2-")
    single = load_segmenter(paths[0], device="cpu", precision="float32")
    assert ensemble.members[single.name] == single.sha256
    assert single.name == f"one-{single.sha256[:8]}", "one model is named as ever"
