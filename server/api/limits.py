# SPDX-License-Identifier: Apache-2.0
"""How many requests a client may send a minute: sliding windows of the library limits.

A client costs two numbers, and is forgotten two minutes after its last request. Moving windows,
which are exact, would keep the time of every request, and a name for ever: then who may choose
names or addresses could fill the memory.
"""

import ipaddress
import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from server.errors import Issue, TooManyRequestsError
from server.settings import Settings


class RateLimits:
    """Counts requests by client. In memory, each API process counts for itself."""

    def __init__(self, settings: Settings) -> None:
        storage = storage_from_string(settings.rate_limit_storage)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._known = RateLimitItemPerMinute(settings.rate_limit_per_minute)
        self._unknown = RateLimitItemPerMinute(settings.rate_limit_unknown_per_minute)
        self._login = RateLimitItemPerMinute(settings.rate_limit_login_per_minute)

    def count(self, client: str) -> None:
        """A request of a known client. Raises: TooManyRequestsError."""
        self._hit(self._known, "client", client)

    def count_unknown(self, address: str) -> None:
        """A request without valid credentials. Raises: TooManyRequestsError."""
        self._hit(self._unknown, "unknown", network_of(address))

    def count_login(self, address: str, name: str) -> None:
        """A login. Raises: TooManyRequestsError."""
        self._hit(self._login, "login-address", network_of(address))
        self._hit(self._login, "login-name", name)

    def _hit(self, item: RateLimitItemPerMinute, kind: str, client: str) -> None:
        if self._limiter.hit(item, kind, client):
            return
        reset = self._limiter.get_window_stats(item, kind, client).reset_time
        wait_s = min(60, max(1, math.ceil(reset - time.time())))
        issue = Issue("too many requests", kind, f"at most {item.amount} a minute")
        raise TooManyRequestsError(f"Too many requests; wait {wait_s} s.", wait_s, [issue])


def network_of(address: str) -> str:
    """What counts as one address: with IPv6 a /64, which is what one household is given."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
