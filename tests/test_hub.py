"""Models from a hub: the real client against a stand-in on loopback that speaks the hub's protocol for files.

Every use runs in a process of its own, as a user's does, with `HF_ENDPOINT` and the cache set by the environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import cryosentinel_core

COMMIT, TAGGED = "1" * 40, "2" * 40
TOKEN = "hf_secret"
REFERENCE = "hf://owner/repo/folder/soup.ckpt"
MIB = 2**20
CONTENT = bytes(range(256)) * (24 * MIB // 256)
"""What the file at the head of the repository holds; the client writes by 10 MiB, and less than that is not kept."""

RESOLVE = """
import json, sys
from pathlib import Path
from cryosentinel_core.errors import ModelError
from cryosentinel_core.io.model_files import resolve_model
try:
    print(json.dumps({"path": str(resolve_model(sys.argv[1]))}))
except ModelError as error:
    print(json.dumps({"message": error.message, "hint": error.hint}))
"""


@dataclass
class Hub:
    """A running stand-in.

    Attributes:
        address: `http://127.0.0.1:<port>`.
        private: Whether only those who bring the token may see the repository.
        break_at: Bytes after which the next bodies break off, one entry a body.
        hang_at: Bytes after which the next body stops coming, for as long as the stand-in lives.
        asked: (method, path, Range header) of every request.
    """

    address: str = ""
    private: bool = False
    break_at: list[int] = field(default_factory=list)
    hang_at: int | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def bodies(self) -> list[str | None]:
        """The Range headers of the requests for a file's body."""
        return [span for method, _, span in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    """`/<owner>/<repo>/resolve/<revision>/<file>` with commit, ETag, byte ranges, and the hub's own error codes."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def refuse(self, status: int, code: str, words: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", words)
        if code == "EntryNotFound":
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self) -> None:
        hub, span = self.hub, self.headers.get("Range")
        hub.asked.append((self.command, self.path, span))
        commits = {"main": (COMMIT, CONTENT), "v1.0": (TAGGED, CONTENT[::-1]), COMMIT: (COMMIT, CONTENT)}
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:3] != ["owner", "repo", "resolve"]:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        if hub.private and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "RepoNotFound", "Invalid username or password.")
        if parts[3] not in commits:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        if parts[4:] != ["folder", "soup.ckpt"]:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        commit, content = commits[parts[3]]
        start = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
        self.send_response(206 if span else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        if hub.hang_at is not None:
            self.wfile.write(content[start : hub.hang_at])
            self.wfile.flush()
            hub.hang_at = None
            hub.closing.wait()
            self.close_connection = True
        elif hub.break_at:
            self.wfile.write(content[start : hub.break_at.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(content[start:])
        return None


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"hub": state}))
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    state.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


def environment(home: Path, address: str, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    kept = {key: value for key, value in kept.items() if not key.lower().endswith("_proxy")}
    return kept | {
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(Path(cryosentinel_core.__file__).parents[1]),
        **more,
    }


def resolve(home: Path, address: str, reference: str = REFERENCE, **more: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, reference],
        capture_output=True, text=True, timeout=120, env=environment(home, address, **more),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return told


def content_of(told: dict[str, str]) -> bytes:
    assert "path" in told, told
    return Path(told["path"]).read_bytes()


def nowhere() -> str:
    """An address at which nobody listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}"


def test_downloaded_once_then_offline(hub: Hub, tmp_path: Path) -> None:
    first = resolve(tmp_path, hub.address)
    assert content_of(first) == CONTENT
    assert Path(first["path"]).name == "soup.ckpt"
    n_asked = len(hub.asked)
    assert hub.bodies == [None]
    assert resolve(tmp_path, hub.address) == first
    assert len(hub.asked) == n_asked, "the cache is enough, nobody is asked again"
    assert resolve(tmp_path, nowhere()) == first


def test_a_revision_is_a_file_of_its_own(hub: Hub, tmp_path: Path) -> None:
    assert content_of(resolve(tmp_path, hub.address)) == CONTENT
    tagged = resolve(tmp_path, hub.address, f"{REFERENCE}@v1.0")
    assert content_of(tagged) == CONTENT[::-1]
    assert TAGGED in tagged["path"]
    assert content_of(resolve(tmp_path, nowhere(), f"{REFERENCE}@v1.0")) == CONTENT[::-1]
    assert content_of(resolve(tmp_path, nowhere(), f"{REFERENCE}@{COMMIT}")) == CONTENT


def test_a_broken_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.break_at = [12 * MIB, 23 * MIB]
    assert content_of(resolve(tmp_path, hub.address)) == CONTENT
    starts = [int(str(span).removeprefix("bytes=").split("-")[0]) for span in hub.bodies[1:]]
    assert hub.bodies[0] is None
    assert len(starts) == 2
    assert 0 < starts[0] <= 12 * MIB < starts[1] <= 23 * MIB


def test_a_killed_download_leaves_nothing_that_looks_whole(hub: Hub, tmp_path: Path) -> None:
    """The next run completes the file, whatever the client makes of the half that is there."""
    hub.hang_at = 12 * MIB
    child = subprocess.Popen(
        [sys.executable, "-c", RESOLVE, REFERENCE],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(tmp_path, hub.address),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while hub.hang_at is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert hub.hang_at is None
    time.sleep(1.0)
    child.kill()
    child.wait()
    assert not list(tmp_path.rglob("soup.ckpt"))
    assert "message" in resolve(tmp_path, hub.address, HF_HUB_OFFLINE="1")
    assert content_of(resolve(tmp_path, hub.address)) == CONTENT


def test_a_private_repository(hub: Hub, tmp_path: Path) -> None:
    hub.private = True
    told = resolve(tmp_path, hub.address)
    assert "owner/repo" in told["message"]
    assert "log in" in told["hint"]
    assert content_of(resolve(tmp_path, hub.address, HF_TOKEN=TOKEN)) == CONTENT


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("hf://owner/repo/folder/none.ckpt", ("owner/repo", "folder/none.ckpt", "its head")),
        (f"{REFERENCE}@v9", ("owner/repo", "v9")),
        ("hf://owner/other/soup.ckpt", ("owner/other",)),
    ],
    ids=["file", "revision", "repository"],
)
def test_what_is_not_there(hub: Hub, tmp_path: Path, reference: str, words: tuple[str, ...]) -> None:
    told = resolve(tmp_path, hub.address, reference)
    for word in words:
        assert word in told["message"]
    assert not list(tmp_path.rglob("*.ckpt")) or not any(path.stat().st_size for path in tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    "more",
    [pytest.param({}, marks=pytest.mark.slow), {"HF_HUB_OFFLINE": "1"}],
    ids=["unreachable", "told to stay offline"],
)
def test_no_network_at_all(tmp_path: Path, more: dict[str, str]) -> None:
    told = resolve(tmp_path, nowhere(), **more)
    assert REFERENCE in told["message"]
    assert "--model FILE" in told["hint"]
    assert "water-index" in told["hint"]


def test_the_command_says_so_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", "model", "info", REFERENCE],
        capture_output=True, text=True, timeout=120, env=environment(tmp_path, nowhere(), HF_HUB_OFFLINE="1"),
    )  # fmt: skip
    assert done.returncode == 1
    assert "water-index" in done.stderr
    assert "Traceback" not in done.stderr
