"""`evaluate --published`: made-up weights and chips on a hub of this machine under the released names, and a table of theirs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from made_chips import lake_chip

import cryosentinel_core
from cryosentinel_core.chips.published import PUBLISHED_DATA, PUBLISHED_TABLE, Comparison
from cryosentinel_core.io.shards import write_shard
from cryosentinel_core.io.weights.model_files import write_random_checkpoint
from cryosentinel_core.settings.predict import DEFAULT_MODEL

COMMIT = "3" * 40
MODEL_REPO, DATA_REPO = "/".join(DEFAULT_MODEL.split("/")[2:4]), PUBLISHED_DATA.removeprefix("hf://datasets/")


class Handler(BaseHTTPRequestHandler):
    """Files of both repositories, and the listing of the data set's."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, headers = self.path.split("?")[0], {"X-Repo-Commit": COMMIT}
        body = self.files.get(path.replace(f"/{COMMIT}/", "/main/"))
        if path == f"/api/datasets/{DATA_REPO}":
            start = f"/datasets/{DATA_REPO}/resolve/main/"
            names = [name.removeprefix(start) for name in self.files if name.startswith(start)]
            siblings = [{"rfilename": name, "size": len(self.files[start + name])} for name in names]
            body = json.dumps({"_id": "1", "id": DATA_REPO, "sha": COMMIT, "siblings": siblings}).encode()
            headers["Content-Type"] = "application/json"
        self.send_response(404 if body is None else 200)
        body = body or b""
        for name, value in {**headers, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A hub with a tiny network and six chips: in blocks of validation, of test and of training, in two regions."""
    root = tmp_path_factory.mktemp("hub")
    weights = write_random_checkpoint(root / "soup.ckpt", seed=6, decoder_channels=8)
    places = {"val": (43.075, 76.725), "test": (42.925, 77.475), "train": (43.225, 77.775)}
    files = {f"/{MODEL_REPO}/resolve/main/{'/'.join(DEFAULT_MODEL.split('/')[4:])}": weights.read_bytes()}
    for region in ("ile_alatau", "pamir"):
        chips = []
        for number, (split, (lat, lon)) in enumerate(places.items()):
            chips.append(lake_chip(number, chip_id=f"{region}-{split}", region=region, lat=lat, lon=lon, split=split))
        path = root / region / "2022" / "shard_000.parquet"
        write_shard(path, chips)
        files[f"/datasets/{DATA_REPO}/resolve/main/{region}/2022/shard_000.parquet"] = path.read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"files": files}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def run(home: Path, address: str, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    kept = {key: value for key, value in kept.items() if not key.lower().endswith("_proxy")}
    return subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", "evaluate", "--published", "--block-size", "column", "--no-tta",
         "--region", "ile_alatau", "--no-water-index", *words],
        capture_output=True, text=True, timeout=300, cwd=home,
        env=kept | {
            "HF_ENDPOINT": address, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(Path(cryosentinel_core.__file__).parents[1]),
        },
    )  # fmt: skip


@pytest.mark.slow
def test_the_table_of_a_stand_in_comes_out_again(address: str, tmp_path: Path) -> None:
    """First beside the released table, which made-up weights cannot give; then beside their own, which they must."""
    done = run(tmp_path, address, "--json", "-q")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["model"] == DEFAULT_MODEL
    assert told["data"] == PUBLISHED_DATA
    assert not told["agrees"]
    assert [row["published"] for row in told["comparisons"] if row["figure"] == "chips"] == [666, 665]
    assert [one["n_chips"] for one in told["evaluations"].values()] == [1, 1], "one region of two, one chip of three"
    own = {
        split: {
            "n_chips": one["n_chips"],
            "global_iou": {level: round(value, 4) for level, value in one["global_iou"].items()},
            "per_chip_iou": round(one["per_chip_iou"], 4),
            "regions": {"ile_alatau": round(one["global_iou"]["0.5"], 4)},
        }
        for split, one in told["evaluations"].items()
    }
    table = tmp_path / "table.json"
    table.write_text(json.dumps(own))
    again = run(tmp_path, address, "--table", str(table))
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == "all 24 figures agree"


def test_figures_agree_that_round_to_the_same_four_decimals() -> None:
    def agrees(ours: float | None) -> bool:
        return Comparison(split="val", figure="global IoU @0.5", published=0.9557, ours=ours).agrees

    assert agrees(0.95571)
    assert agrees(0.955651)
    assert not agrees(0.95576)
    assert not agrees(None)


def test_the_published_table_is_the_card_s() -> None:
    assert {split: one["n_chips"] for split, one in PUBLISHED_TABLE.items()} == {
        "val": 666, "test": 665, "test label-corrected": 658,
    }  # fmt: skip
    assert PUBLISHED_TABLE["val"]["global_iou"]["0.7"] == max(PUBLISHED_TABLE["val"]["global_iou"].values()) == 0.9596
    assert PUBLISHED_TABLE["test"]["global_iou"]["0.5"] == 0.8918
