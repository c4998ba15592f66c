"""Read tokens for archives that want one, asked for at the moment of reading and never used after they were refused."""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import dataclass
from typing import Final

import requests
import tenacity

from cryosentinel_core.errors import RasterError
from cryosentinel_core.io.catalogs.http import reason_in_words
from cryosentinel_core.scenes.providers import token_address

SPARE_S: Final = 120.0
"""A token with less time left than this is not used for another read."""


@dataclass(frozen=True)
class _Token:
    text: str
    expires_at: float


class TokenSigner:
    """Signs hrefs in Azure blob storage with tokens of a token service; leaves all others alone. Safe between threads.

    Args:
        token_api: Address that answers `<token_api>/<account>/<container>` with `token` and `msft:expiry`.
        attempts: Times that a token is asked for.
        wait_s: Seconds before the second attempt, then doubled.
    """

    def __init__(self, token_api: str, *, attempts: int = 4, wait_s: float = 1.0) -> None:
        self._token_api = token_api
        self._attempts = attempts
        self._wait_s = wait_s
        self._tokens: dict[str, _Token] = {}
        self._lock = threading.Lock()

    def sign(self, href: str) -> str:
        """The href with a token that is good for at least two minutes more.

        Raises:
            RasterError: If the service gives none.
        """
        address = token_address(href, self._token_api)
        if address is None:
            return href
        with self._lock:
            token = self._tokens.get(address)
            if token is None or token.expires_at - time.time() < SPARE_S:
                token = self._ask(address)
                self._tokens[address] = token
        return f"{href}?{token.text}"

    def renew(self, href: str) -> None:
        """Forget the token of this href's container."""
        address = token_address(href, self._token_api)
        if address is not None:
            with self._lock:
                self._tokens.pop(address, None)

    def _ask(self, address: str) -> _Token:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_exponential(multiplier=self._wait_s, max=30.0),
            retry=tenacity.retry_if_exception_type((requests.RequestException, ValueError, KeyError, TypeError)),
            reraise=True,
        )
        try:
            return retrying(_ask_once, address)
        except (requests.RequestException, ValueError, KeyError, TypeError, OverflowError) as error:
            raise RasterError(
                f"no read token from {address}: {reason_in_words(error)}", "run again later to complete"
            ) from error


def _ask_once(address: str) -> _Token:
    answer = requests.get(address, timeout=60.0)
    answer.raise_for_status()
    data = answer.json()
    expiry = dt.datetime.fromisoformat(str(data["msft:expiry"]).replace("Z", "+00:00"))
    return _Token(str(data["token"]), expiry.timestamp())
