# SPDX-License-Identifier: Apache-2.0
"""Whether a worker lives: it says so every two seconds."""

import time

SILENCE_S = 15.0


def silence_s(seen_at: float) -> float:
    """Seconds since a worker was seen.

    Both ways: seen in the future means that the clock was set back since, and who lives says so
    again at once. So a worker that is dead does not look alive for as long as the clock was wrong.
    """
    return abs(time.time() - seen_at)
