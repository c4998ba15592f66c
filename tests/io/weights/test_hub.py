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
from contextlib import contextmanager
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
from cryosentinel_core.io.weights.model_files import resolve_model
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
        sends: What the bodies hold where that is not what the hub says; None for honesty.
        etag: Of every file; None for its SHA-256.
        redirects_to: Address of another server that bodies and their length come from, as the hub has it for large files.
        asked: (method, path, Range header) of every request.
        tokens: Authorization header of every request.
    """

    address: str = ""
    private: bool = False
    break_at: list[int] = field(default_factory=list)
    hang_at: int | None = None
    sends: bytes | None = None
    etag: str | None = None
    redirects_to: str | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
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
        hub.tokens.append(self.headers.get("Authorization"))
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
        if hub.redirects_to is not None:
            self.send_response(302)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Location", f"{hub.redirects_to}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(206 if span else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hub.etag or hashlib.sha256(content).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        content = content if hub.sends is None else hub.sends
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


@contextmanager
def served(host: str = "127.0.0.1") -> Iterator[Hub]:
    """A stand-in that answers until the block ends."""
    state = Hub()
    server = ThreadingHTTPServer((host, 0), type("OneHandler", (Handler,), {"hub": state}))
    server.daemon_threads = True
    state.address = f"http://{host}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with served() as state:
        yield state


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
    starts = [start_of(span) for span in hub.bodies[1:]]
    assert hub.bodies[0] is None
    assert len(starts) == 2
    assert 0 < starts[0] <= 12 * MIB < starts[1] <= 23 * MIB


def start_of(span: str | None) -> int:
    return int(str(span).removeprefix("bytes=").split("-")[0]) if span else 0


def kill_half_way(hub: Hub, home: Path) -> None:
    """A download that is killed after 12 of 24 MiB."""
    hub.hang_at = 12 * MIB
    child = subprocess.Popen(
        [sys.executable, "-c", RESOLVE, REFERENCE],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(home, hub.address),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while sum(part.stat().st_size for part in home.rglob("*.incomplete")) < 10 * MIB and time.monotonic() < deadline:
        time.sleep(0.05)
    assert hub.hang_at is None
    child.kill()
    child.wait()


def kept(home: Path) -> Path:
    """What the cache keeps of a download that was cut off."""
    (part,) = home.rglob("*.incomplete")
    return part


def test_a_killed_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    kill_half_way(hub, tmp_path)
    assert not list(tmp_path.rglob("soup.ckpt")), "nothing looks whole"
    assert "message" in resolve(tmp_path, hub.address, HF_HUB_OFFLINE="1")
    there = kept(tmp_path).stat().st_size
    assert 10 * MIB <= there <= 12 * MIB
    assert content_of(resolve(tmp_path, hub.address)) == CONTENT
    assert [start_of(span) for span in hub.bodies] == [0, there]
    assert not list(tmp_path.rglob("*.incomplete"))
    assert content_of(resolve(tmp_path, nowhere())) == CONTENT


@pytest.mark.parametrize("damage", ["other bytes", "too long"])
def test_what_was_kept_and_is_damaged_is_downloaded_anew(hub: Hub, tmp_path: Path, damage: str) -> None:
    kill_half_way(hub, tmp_path)
    part = kept(tmp_path)
    part.write_bytes(bytes(part.stat().st_size) if damage == "other bytes" else CONTENT + b"more")
    assert content_of(resolve(tmp_path, hub.address)) == CONTENT
    assert start_of(hub.bodies[-1]) == 0
    assert not list(tmp_path.rglob("*.incomplete"))


def test_bytes_that_are_not_those_that_the_hub_names(hub: Hub, tmp_path: Path) -> None:
    """As a proxy on the way may change them: never in the cache under the name of the true file."""
    hub.sends = CONTENT[::-1]
    told = resolve(tmp_path, hub.address)
    assert "other bytes" in told["message"]
    assert hashlib.sha256(CONTENT).hexdigest()[:8] in told["message"]
    assert not list(tmp_path.rglob("soup.ckpt"))
    assert not list(tmp_path.rglob("*.incomplete"))
    hub.sends = None
    assert content_of(resolve(tmp_path, hub.address)) == CONTENT


def test_several_at_once_download_it_once(hub: Hub, tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RESOLVE, REFERENCE],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(tmp_path, hub.address),
        )
        for _ in range(3)
    ]
    told = [json.loads(child.communicate(timeout=120)[0].splitlines()[-1]) for child in children]
    assert [content_of(one) == CONTENT for one in told] == [True] * 3
    assert hub.bodies == [None]


def test_the_token_stays_with_the_hub(hub: Hub, tmp_path: Path) -> None:
    """Large files come from another server, to which the hub redirects; that one gets the range and not the token."""
    hub.private = True
    with served("localhost") as store:
        hub.redirects_to = store.address
        store.break_at = [12 * MIB]
        assert content_of(resolve(tmp_path, hub.address, HF_TOKEN=TOKEN)) == CONTENT
    assert set(hub.tokens) == {f"Bearer {TOKEN}"}
    starts = [start_of(span) for span in store.bodies]
    assert starts[0] == 0
    assert 0 < starts[1] <= 12 * MIB
    assert set(store.tokens) == {None}


def test_a_hub_that_names_no_hash_is_left_to_its_client(hub: Hub, tmp_path: Path) -> None:
    """Small files of a repository have a Git hash for an ETag."""
    hub.etag = "0" * 40
    assert content_of(resolve(tmp_path, hub.address)) == CONTENT
    assert hub.bodies == [None]


@pytest.mark.parametrize("error", ["ImportError", "TypeError"])
def test_a_client_that_lacks_what_resuming_needs_downloads_alone(hub: Hub, tmp_path: Path, error: str) -> None:
    """Some of its parts it does not promise to keep: they may be gone, or be called otherwise."""
    without = f"import cryosentinel_core.io.weights.hub as hub\ndef gone(*_): raise {error}\nhub._append = gone\n"
    done = subprocess.run(
        [sys.executable, "-c", without + RESOLVE, REFERENCE],
        capture_output=True, text=True, timeout=120, env=environment(tmp_path, hub.address),
    )  # fmt: skip
    assert content_of(json.loads(done.stdout.splitlines()[-1])) == CONTENT


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


def test_no_network_at_all(tmp_path: Path) -> None:
    told = resolve(tmp_path, nowhere(), HF_HUB_OFFLINE="1")
    assert REFERENCE in told["message"]
    assert "--model FILE" in told["hint"]
    assert "water-index" in told["hint"]


@pytest.mark.parametrize(
    "more",
    [pytest.param({}, marks=pytest.mark.slow), {"HF_HUB_OFFLINE": "1"}],
    ids=["unreachable", "told to stay offline"],
)
def test_the_command_says_so_once(tmp_path: Path, more: dict[str, str]) -> None:
    """One sentence and what to do, however often the client tried."""
    done = subprocess.run(
        [sys.executable, "-m", "cryosentinel_cli", "model", "info", REFERENCE],
        capture_output=True, text=True, timeout=120, env=environment(tmp_path, nowhere(), **more),
    )  # fmt: skip
    assert done.returncode == 1
    message, hint = done.stderr.splitlines()
    assert REFERENCE in message
    assert "--model FILE" in hint
    assert "water-index" in hint
