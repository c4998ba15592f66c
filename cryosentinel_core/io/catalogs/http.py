"""JSON over HTTP: asked again where that can help, checked before it is taken for an answer, and failures in plain words.

Neighbours: `static_catalog` and `stac_api` ask with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests
import tenacity

from cryosentinel_core.errors import CatalogError

TIMEOUT_S: Final = (10.0, 60.0)
"""Longest wait for a connection, and for the next bytes of an answer."""

MAX_DEPTH: Final = 64
"""Deepest nesting that is read of a document; STAC needs about ten."""

_AGAIN: Final = (408, 425, 429, 500, 502, 503, 504)
_JSON_PIECES: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]|[^"\[\]{}]+')

Check = Callable[[Any], str]
"""What is wrong with a document, in words; empty if nothing is."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Retry policy: how often a service is asked again.

    Attributes:
        attempts: Times that one request is tried.
        wait_s: Seconds before the second; doubled for each one after it.
    """

    attempts: int = 4
    wait_s: float = 1.0


class NoAnswer(CatalogError):
    """A service that does not answer.

    Args:
        message: What happened.
        hint: What to try.
        address: Of the service.
        reason: Why, in words.
    """

    def __init__(self, message: str, hint: str = "", *, address: str = "", reason: str = "") -> None:
        super().__init__(message, hint)
        self.address = address
        self.reason = reason


class UnusableAnswer(CatalogError):
    """An answer that is none: cut off, no JSON, or not the document that was asked for."""


class DocumentGone(CatalogError):
    """A document that the service says it does not have."""


class RefusedRequest(CatalogError):
    """A request that the service understood and will not answer, as for a collection that it does not have."""


class _PassingFailure(Exception):
    """A failure after which asking again may help."""


def request_text(
    address: str,
    policy: RetryPolicy,
    *,
    session: requests.Session | None = None,
    method: str = "GET",
    parameters: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    check: Check = lambda _: "",
) -> tuple[str, str]:
    """A JSON document as text, and the address that it came from in the end.

    Args:
        address: http(s).
        policy: How often to ask.
        session: To ask with.
        method: `POST` sends the parameters as JSON, anything else in the address.
        parameters: Of the request.
        headers: Of the request.
        check: Looks at the parsed document; what it complains about is asked for again.

    Raises:
        CatalogError: If no usable answer came; of a class above where the cause is known.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(policy.attempts),
        wait=tenacity.wait_exponential(multiplier=policy.wait_s, max=30.0),
        retry=tenacity.retry_if_exception_type((_PassingFailure, UnusableAnswer)),
        reraise=True,
    )
    body, query = (dict(parameters or {}), None) if method == "POST" else (None, dict(parameters or {}))
    asking = session or requests.Session()
    wanted = {"Accept": "application/json, application/geo+json", **(headers or {})}

    def ask() -> tuple[str, str]:
        try:
            answer = asking.request(method, address, timeout=TIMEOUT_S, headers=wanted, json=body, params=query)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise _PassingFailure(reason_in_words(error)) from error
        _check_status(address, answer.status_code, answer.text)
        complaint = _complaint_about(answer.text, check)
        if complaint:
            raise UnusableAnswer(
                f"the catalogue {address} gives no usable answer: {complaint}",
                "try again later, or give another --catalog",
            )
        return answer.text, answer.url

    try:
        found: tuple[str, str] = retrying(ask)
    except (requests.RequestException, _PassingFailure) as error:
        reason = reason_in_words(error)
        raise NoAnswer(
            f"the catalogue {address} does not answer: {reason}",
            "check the connection and try again later, or give another --catalog",
            address=address,
            reason=reason,
        ) from error
    return found


def _check_status(address: str, status: int, text: str) -> None:
    if status in _AGAIN or status >= 500:
        raise _PassingFailure(f"HTTP {status}")
    if status in (404, 410):
        raise DocumentGone(f"the catalogue {address} does not answer: HTTP {status}", "check the address")
    if status >= 400:
        said = " ".join(text.split())[:200]
        raise RefusedRequest(
            f"the catalogue {address} does not answer: HTTP {status} {said}".rstrip(), "check the address"
        )


def _complaint_about(text: str, check: Check) -> str:
    try:
        return check(parse_json(text))
    except ValueError:
        return "it is no JSON, or broken off"


def reason_in_words(error: Exception) -> str:
    """A failed request in a few words that name no library."""
    text = str(error)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the answer broke off midway"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy lets nothing through"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.Timeout):
        return f"nothing came within {TIMEOUT_S[1]:.0f} seconds"
    if isinstance(error, requests.ConnectionError):
        if "resol" in text.lower() or "getaddrinfo" in text:
            return "its name cannot be resolved, as if this machine were offline"
        if "refused" in text:
            return "the connection is refused"
        if "unreachable" in text.lower():
            return "it cannot be reached, as if this machine were offline"
        return "the connection broke off"
    return " ".join(text.split())[:300]


def parse_json(text: str) -> Any:
    """The data of a JSON text; what is nested deeper than `MAX_DEPTH` is null where the whole could not be read otherwise.

    Raises:
        ValueError: If it is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(_without_depths(text))


def _without_depths(text: str) -> str:
    pieces, depth = [], 0
    for found in _JSON_PIECES.finditer(text):
        piece = found[0]
        if piece in "[{":
            depth += 1
            pieces.append(piece if depth <= MAX_DEPTH else "null" if depth == MAX_DEPTH + 1 else "")
        elif piece in "]}":
            pieces.append(piece if depth <= MAX_DEPTH else "")
            depth -= 1
        elif depth <= MAX_DEPTH:
            pieces.append(piece)
    return "".join(pieces)
