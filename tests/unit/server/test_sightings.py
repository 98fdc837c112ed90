# SPDX-License-Identifier: Apache-2.0
"""Polls are remembered at once, and stored together a second later at the earliest."""

from server.services.sightings import Sightings


def test_polls_are_stored_together_and_none_is_forgotten() -> None:
    seen = Sightings()
    assert seen.note("a", 100.0) == {"a": 100.0}
    assert seen.note("b", 100.2) == {}
    assert seen.note("a", 100.4) == {}
    assert seen.note("c", 101.1) == {"a": 100.4, "b": 100.2, "c": 101.1}
    assert seen.note("d", 101.2) == {}
    assert seen.take() == {"d": 101.2}
    assert seen.take() == {}


def test_rollout_is_looked_at_once_a_second() -> None:
    seen = Sightings()
    looks = [seen.may_look("r", now) for now in (10.0, 10.5, 11.0, 11.5)]
    assert looks == [True, False, True, False]
    assert seen.may_look("other", 11.5)
