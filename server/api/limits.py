# SPDX-License-Identifier: Apache-2.0
"""How many requests a client may send a minute: moving windows of the library limits."""

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

from server.errors import Issue, TooManyRequestsError
from server.settings import Settings


class RateLimits:
    """Counts requests by client. In memory, each API process counts for itself."""

    def __init__(self, settings: Settings) -> None:
        storage = storage_from_string(settings.rate_limit_storage)
        self._limiter = MovingWindowRateLimiter(storage)
        self._known = RateLimitItemPerMinute(settings.rate_limit_per_minute)
        self._unknown = RateLimitItemPerMinute(settings.rate_limit_unknown_per_minute)
        self._login = RateLimitItemPerMinute(settings.rate_limit_login_per_minute)

    def count(self, client: str) -> None:
        """A request of a known client. Raises: TooManyRequestsError."""
        self._hit(self._known, "client", client)

    def count_unknown(self, address: str) -> None:
        """A request without valid credentials. Raises: TooManyRequestsError."""
        self._hit(self._unknown, "unknown", address)

    def count_login(self, address: str, name: str) -> None:
        """A login. Raises: TooManyRequestsError."""
        self._hit(self._login, "login-address", address)
        self._hit(self._login, "login-name", name)

    def _hit(self, item: RateLimitItemPerMinute, kind: str, client: str) -> None:
        if self._limiter.hit(item, kind, client):
            return
        reset = self._limiter.get_window_stats(item, kind, client).reset_time
        wait_s = min(60, max(1, math.ceil(reset - time.time())))
        issue = Issue("too many requests", kind, f"at most {item.amount} a minute")
        raise TooManyRequestsError(f"Too many requests; wait {wait_s} s.", wait_s, [issue])
