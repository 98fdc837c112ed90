# SPDX-License-Identifier: Apache-2.0
"""When devices were last seen, kept for a moment so that a poll need not write.

A fleet polls far more often than anything happens. Times of polls are collected and stored
together, by the first poll that comes a second or more after the last time. What a killed process
had not stored is lost: the device polls again.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

FLUSH_S = 1.0
LOOK_S = 1.0


@dataclass
class Sightings:
    """Of one process. All times in seconds since 1970."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: dict[str, float] = field(default_factory=dict)
    _flushed_s: float = 0.0
    _looked_s: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, now: float) -> Mapping[str, float]:
        """Remember a poll. Returns: what is to be stored now, by name; mostly nothing."""
        with self._lock:
            self._seen[name] = now
            if now - self._flushed_s < FLUSH_S:
                return {}
            return self._take(now)

    def take(self) -> Mapping[str, float]:
        """All that is not stored yet."""
        with self._lock:
            return self._take(self._flushed_s)

    def _take(self, now: float) -> Mapping[str, float]:
        seen, self._seen, self._flushed_s = self._seen, {}, now
        return seen

    def may_look(self, rollout_id: str, now: float) -> bool:
        """True at most once a second: whether time alone has moved a rollout on is worth a look."""
        with self._lock:
            if now - self._looked_s.get(rollout_id, 0.0) < LOOK_S:
                return False
            self._looked_s[rollout_id] = now
            return True
