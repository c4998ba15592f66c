"""A small archive on loopback: files with byte ranges, a STAC API that pages, and faults on demand."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Loopback:
    """A running server.

    Attributes:
        address: `http://127.0.0.1:<port>`.
        files: Folder that `/files/...` serves.
        items: What the STAC API finds.
        page_size: Items per page at most, whatever is asked for.
        faults: Path's end -> statuses to answer with, one a request, before behaving; `truncated` breaks a body off.
        answers: Path -> JSON to answer with.
        asked: How often each path was asked for.
        searches: Bodies of the searches that began (not of further pages).
        search_with: Answers a search's page in place of the items: body -> JSON, or text that is sent as it is.
    """

    files: Path
    address: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 2
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    searches: list[dict[str, Any]] = field(default_factory=list)
    search_with: Callable[[dict[str, Any]], Any] | None = None


@contextmanager
def loopback(files: Path) -> Iterator[Loopback]:
    """A server that lives for a with-block."""
    state = Loopback(files)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body: dict[str, Any] | None = None) -> None:
            path = urlsplit(self.path).path
            with lock:
                state.asked[path] += 1
                fault = next((left.pop(0) for end, left in state.faults.items() if path.endswith(end) and left), None)
            if isinstance(fault, int):
                return self.send(fault, b"{}")
            cut = fault == "truncated"
            if path == "/api":
                return self.send_json(landing_page(state.address), cut)
            if path == "/api/search" and body is not None:
                return self.send_json(state.search_with(body) if state.search_with else self.search(body), cut)
            if path in state.answers:
                return self.send_json(state.answers[path], cut)
            file = state.files / path.removeprefix("/files/")
            if not path.startswith("/files/") or not file.is_file():
                return self.send(404, b"gone")
            return self.send_file(file.read_bytes(), is_truncated=fault == "truncated")

        def search(self, body: dict[str, Any]) -> dict[str, Any]:
            start = int(body.get("token", 0))
            if not start:
                state.searches.append(body)
            found = [one for one in state.items if one["collection"] in body["collections"]]
            if body.get("datetime"):
                first, last = body["datetime"].split("/")
                found = [one for one in found if first[:19] <= one["properties"]["datetime"][:19] <= last[:19]]
            size = min(int(body.get("limit", 10)), state.page_size)
            links = []
            if start + size < len(found):
                links.append(
                    {"rel": "next", "method": "POST", "href": f"{state.address}/api/search",
                     "body": {**body, "token": str(start + size)}}
                )  # fmt: skip
            return {"type": "FeatureCollection", "features": found[start : start + size], "links": links}

        def send_json(self, data: Any, cut: bool = False) -> None:
            text = data if isinstance(data, str) else json.dumps(data)
            self.send(200, text.encode(), "application/json", cut=cut)

        def send_file(self, data: bytes, *, is_truncated: bool) -> None:
            wanted = self.headers.get("Range")
            if not wanted:
                return self.send(200, data, cut=is_truncated)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
            if start >= len(data):
                return self.send(416, b"")
            part = data[start:stop]
            self.send(206, part, extra={"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}, cut=is_truncated)

        def send(
            self,
            status: int,
            data: bytes,
            kind: str = "image/tiff",
            extra: dict[str, str] | None = None,
            cut: bool = False,
        ) -> None:
            self.send_response(status)
            for key, value in {
                "Content-Type": kind, "Content-Length": str(len(data)), "Accept-Ranges": "bytes", **(extra or {})
            }.items():  # fmt: skip
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if cut else data)
            if cut:
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def landing_page(address: str) -> dict[str, Any]:
    """The landing page of a STAC API that can search."""
    return {
        "type": "Catalog", "id": "loopback", "stac_version": "1.0.0", "description": "a stand-in",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
        "links": [
            {"rel": "self", "href": f"{address}/api"}, {"rel": "root", "href": f"{address}/api"},
            {"rel": "search", "href": f"{address}/api/search", "method": "POST", "type": "application/geo+json"},
        ],
    }  # fmt: skip
