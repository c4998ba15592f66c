"""Fixtures that several rooms' tests share, and the wall that keeps tests off the network."""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes depends on what else the machine does; speed belongs in the benchmarks.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, the most of them foremost, so that at the end no worker is left with one by itself."""
    n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -n_slow[item.path])


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data not at hand: no folder {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine, so that no test depends on a network."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple):
            host = str(address[0])
            local = host == "localhost"
            if not local:
                try:
                    local = ipaddress.ip_address(host).is_loopback
                except ValueError:
                    local = False
            if not local:
                raise RuntimeError(f"a test tried to connect to {host}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def small_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated catalogue of 3 km and two years; read only."""
    from cryosentinel_core.simulate import SimulateSettings, simulate

    folder = tmp_path_factory.mktemp("catalogue")
    simulate(folder, SimulateSettings(seed=1, size_km=3.0))
    return folder
