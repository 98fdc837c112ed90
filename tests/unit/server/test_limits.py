# SPDX-License-Identifier: Apache-2.0
"""What counting clients costs in memory, and what counts as one address."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from limits.storage import memory

from server.api.limits import RateLimits, network_of
from server.errors import TooManyRequestsError
from server.settings import Settings
from server.storage.database import CACHE_KIB, open_engine

CLIENTS = 500


def held(limits: RateLimits) -> int:
    """Names that are remembered, in whatever container."""
    storage: Any = limits._limiter.storage
    return sum(len(v) for v in vars(storage).values() if hasattr(v, "__len__"))


def wait_until_few(limits: RateLimits) -> int:
    """What is held once the library has swept, which it does beside a request."""
    deadline = time.monotonic() + 5
    while held(limits) > 20 and time.monotonic() < deadline:
        limits.count("one more")
        time.sleep(0.02)
    return held(limits)


def test_clients_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = RateLimits(Settings())
    for number in range(CLIENTS):
        limits.count_unknown(f"192.0.2.{number}")
        limits.count_login(f"198.51.100.{number}", f"name {number}")
    assert held(limits) >= 3 * CLIENTS
    now = time.time()
    monkeypatch.setattr(memory.time, "time", lambda: now + 200)
    assert wait_until_few(limits) <= 20


def test_a_client_costs_the_same_however_often_it_asks() -> None:
    limits = RateLimits(Settings())
    limits.count("key:1")
    before = held(limits)
    for _ in range(1000):
        limits.count("key:1")
    # The minute may have turned: two numbers a client, with their ends and their locks.
    assert held(limits) <= 2 * before + 4


def test_a_household_of_ipv6_is_one_address() -> None:
    assert (
        network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    )
    assert network_of("2001:db8:1:3::9") != network_of("2001:db8:1:2::9")
    assert network_of("192.0.2.7") == network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("testclient") == "testclient"
    limits = RateLimits(Settings(rate_limit_unknown_per_minute=2))
    with pytest.raises(TooManyRequestsError):
        for number in range(5):
            limits.count_unknown(f"2001:db8::{number}")


def test_pages_that_sqlite_keeps_are_bounded(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'd.sqlite3'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA cache_size").scalar() == -CACHE_KIB
    engine.dispose()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heaps")
def test_service_shares_few_heaps() -> None:
    from server.serve import bound_arenas

    assert bound_arenas()
