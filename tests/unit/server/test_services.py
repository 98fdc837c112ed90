# SPDX-License-Identifier: Apache-2.0
"""Ids, cursors, settings, the gate, the job serializer."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.errors import HadaptError, InvalidInputError
from server.ids import new_id
from server.jobs.supervisor import environment
from server.jobs.worker import JsonSerializer
from server.services.paging import decode_cursor, encode_cursor
from server.services.updates import Evaluation, judge
from server.settings import Settings


def test_ids_sort_by_time() -> None:
    ids = [new_id(lambda t=t: float(t)) for t in (1, 2, 1000, 1_800_000_000)]
    assert ids == sorted(ids)
    assert {len(i) for i in ids} == {32}


@given(st.text(max_size=60))
def test_cursor_from_outside_is_a_key_or_an_error(text: str) -> None:
    for kind in (str, int):
        try:
            key = decode_cursor(text, kind)
        except InvalidInputError as error:
            assert error.errors
        else:
            assert type(key) is kind


@pytest.mark.parametrize("key", ["01ab", 7])
def test_cursor_survives_the_round_trip(key: Any) -> None:
    assert decode_cursor(encode_cursor(key), type(key)) == key
    other = int if isinstance(key, str) else str
    with pytest.raises(InvalidInputError):
        decode_cursor(encode_cursor(key), other)


def test_settings_reach_the_worker_by_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, job_concurrency=3, log_json=True)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def evaluation(*tasks: float | None, **classes: float) -> Evaluation:
    known = [t for t in tasks if t is not None]
    mean = sum(known) / len(known) if known else None
    return Evaluation(mean, list(tasks), dict(classes), [])


@pytest.mark.parametrize(
    ("gate", "reasons"),
    [
        ({}, 0),
        ({"min_accuracy": 0.7, "max_forgetting": 0.3, "max_class_drop": 0.5}, 0),
        ({"min_accuracy": 0.71}, 1),
        ({"max_forgetting": 0.29}, 1),
        ({"max_class_drop": 0.49}, 1),
        ({"min_accuracy": 0.9, "max_forgetting": 0.0, "max_class_drop": 0.0}, 3),
    ],
)
def test_gate_refuses_beyond_each_limit(gate: dict[str, float], reasons: int) -> None:
    before, after = evaluation(0.9, a=1.0, b=0.8), evaluation(0.6, 0.8, a=0.5, b=0.8, c=0.9)
    verdict = judge(gate, before, after, [[0.9]])
    assert len(verdict.reasons) == reasons
    assert verdict.accepted == (reasons == 0)
    assert verdict.forgetting == pytest.approx(0.3)
    assert verdict.worst_class_drop == pytest.approx(0.5)


def test_gate_without_history_has_no_forgetting() -> None:
    assert judge({}, evaluation(None), evaluation(None, None), [[None]]).forgetting is None


def test_serializer_is_json_and_never_pickle() -> None:
    serializer = JsonSerializer()
    value = {"args": ["a", {"n": 1}], "kwargs": {}}
    assert serializer.deserialize(serializer.serialize(value)) == value
    back = serializer.deserialize(serializer.serialize(HadaptError("x")))
    assert isinstance(back, RuntimeError)
    with pytest.raises(TypeError):
        serializer.serialize({"x": object()})
    with pytest.raises(ValueError, match="Expecting value"):
        serializer.deserialize("gASVBAAAAAAAAABLAS4=")
