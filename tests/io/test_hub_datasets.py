"""Data sets of chips on a hub: the real client against a stand-in on loopback; only what is meant is fetched, and once.

Every use runs in a process of its own, as a user's does, with `HF_ENDPOINT` and the cache set by the environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from made_chips import lake_chip

import cryosentinel_core
from cryosentinel_core.errors import InputError
from cryosentinel_core.io.hub_datasets import DatasetReference
from cryosentinel_core.io.shards import write_shard

COMMIT = "1" * 40
REFERENCE = "hf://datasets/owner/lakes"


@dataclass
class Hub:
    """A running stand-in: paths in the repository -> bytes, and what was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    address: str = ""
    listed: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    def listing(self) -> dict[str, Any]:
        names = [
            *self.files,
            "../../evil/2022/shard_0.parquet",
            "data/pamir/2022/notes.txt",
            "data/pamir/late/shard_1.parquet",
        ]
        return {
            "_id": "1", "id": "owner/lakes", "sha": COMMIT,
            "siblings": [{"rfilename": name, "size": len(self.files.get(name, b""))} for name in names],
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """`/api/datasets/<repo>` and `/datasets/<repo>/resolve/<commit>/<file>`."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def answer(self) -> None:
        path = self.path.split("?")[0]
        if path in ("/api/datasets/owner/lakes", "/api/datasets/owner/lakes/revision/v1"):
            self.hub.listed.append(self.path)
            return self.send(200, json.dumps(self.hub.listing()).encode(), Content_Type="application/json")
        if path.startswith("/api/datasets/owner/lakes/revision/"):
            return self.send(404, X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
        file = path.removeprefix(f"/datasets/owner/lakes/resolve/{COMMIT}/")
        if file not in self.hub.files:
            return self.send(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        content = self.hub.files[file]
        if self.command == "GET":
            self.hub.bodies.append(file)
        digest = hashlib.sha256(content).hexdigest()
        return self.send(200, content, X_Repo_Commit=COMMIT, ETag=f'"{digest}"')


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("lakes")
    found = {}
    for region, year, number in [("pamir", 2022, 0), ("pamir", 2022, 1), ("pamir", 2017, 0), ("tien_shan", 2022, 0)]:
        name = f"{region}/{year}/shard_{number:03d}.parquet"
        write_shard(root / name, [lake_chip(number, region=region, year=year)])
        found[f"data/{name}"] = (root / name).read_bytes()
    return found


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    state = Hub(files=files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"hub": state}))
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def nowhere() -> str:
    """An address at which nobody listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}"


def run(home: Path, address: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    kept = {key: value for key, value in kept.items() if not key.lower().endswith("_proxy")}
    return subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=200, cwd=home,
        env=kept | {
            "HF_ENDPOINT": address, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(Path(cryosentinel_core.__file__).parents[1]),
        },
    )  # fmt: skip


def test_only_what_is_meant_is_fetched_and_once(hub: Hub, tmp_path: Path) -> None:
    done = run(tmp_path, hub.address, "chips", "export", f"{REFERENCE}/pam*/2022", "-o", tmp_path / "tifs", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["names"] == ["c0", "c1"]
    assert "2 of 4 shards" in done.stderr
    assert sorted(hub.bodies) == ["data/pamir/2022/shard_000.parquet", "data/pamir/2022/shard_001.parquet"]
    assert not (tmp_path.parent / "evil").exists()
    again = run(
        tmp_path, hub.address, "predict", "--chips", REFERENCE, "--region", "pamir", "--year", "2022", "--model",
        "water-index", "-w", tmp_path / "ws", "--json",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert sorted(told["water_share"]) == ["c0", "c1"]
    assert told["labels"]["iou"] > 0.5
    assert told["folder"].endswith("chip-results/lakes/water-index")
    assert len(hub.bodies) == 2, "what is in the cache is not asked for again"

    cached = run(tmp_path, nowhere(), "chips", "stats", REFERENCE, "--split", "all", "-o", "stats.json", "--json")
    assert cached.returncode == 0, cached.stderr
    assert "the hub could not be asked" in cached.stderr
    assert json.loads(cached.stdout)["years"]["2022"]["n_chips"] == 2
    assert list(json.loads((tmp_path / "stats.json").read_text())) == ["DEM", "S1GRD", "S2L2A"]
    absent = run(tmp_path, nowhere(), "chips", "stats", f"{REFERENCE}/tien_shan", "-o", "stats.json")
    assert absent.returncode == 1
    assert "could not be reached" in absent.stderr
    assert "Traceback" not in absent.stderr


def test_info_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    done = run(tmp_path, hub.address, "chips", "info", f"{REFERENCE}@v1", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["regions"], told["years"], told["n_shards"]) == (["pamir", "tien_shan"], [2017, 2022], 4)
    assert told["n_bytes"] == sum(len(content) for content in hub.files.values())
    assert hub.bodies == []
    assert "/revision/v1" in hub.listed[0]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (f"{REFERENCE}/alps", "alps in any year is not in"),
        (f"{REFERENCE}@v2", "has no revision v2"),
        ("hf://datasets/owner/other", "no dataset repository owner/other"),
        ("hf://datasets/owner", "cannot read the data set reference"),
    ],
)
def test_what_the_hub_does_not_have(hub: Hub, tmp_path: Path, reference: str, words: str) -> None:
    done = run(tmp_path, hub.address, "chips", "split", reference)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_references() -> None:
    assert DatasetReference.parse("hf://datasets/a/b") == DatasetReference(repo="a/b")
    whole = DatasetReference.parse("hf://datasets/a-1/b.c@v1.0/tien_*/202?")
    assert whole == DatasetReference(repo="a-1/b.c", revision="v1.0", region="tien_*", year="202?")
    wrong = (
        "hf://a/b", "hf://datasets/a", "hf://datasets/../b", "hf://datasets/a/b@", "hf://datasets/a/b/c/d",
        "hf://datasets/a/b/..", "hf:/datasets/a/b",
    )  # fmt: skip
    for text in wrong:
        with pytest.raises(InputError, match="cannot read the data set reference"):
            DatasetReference.parse(text)
