# SPDX-License-Identifier: Apache-2.0
"""Samples: checked row by row, stored once, acknowledged when durable."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest

from server.api.schemas import ModelRead
from server.client import npz_bytes
from server.errors import (
    MalformedRequestError,
    NotReadyError,
    PayloadTooLargeError,
    SampleInvalidError,
    TooManyClassesError,
)
from tests.api.fake_engine import fake_onnx
from tests.api.harness import Service, calibration, make_samples
from tests.api.test_errors import check_problem

GOOD = [0.0, 1.0, 2.0, 3.0]


def ready(shared: Service) -> ModelRead:
    assert shared.model is not None
    return shared.model


def post_npz(service: Service, model_id: str, data: bytes, **params: str) -> Any:
    return service.http.post(
        f"/api/v1/models/{model_id}/samples",
        content=data,
        params=params,
        headers={"Content-Type": "application/octet-stream"},
    )


def test_samples_stored_as_json_and_npz_are_deduplicated(service: Service) -> None:
    model = service.ready_model()
    x, y = make_samples(3, 5)
    first = service.client.send_samples(x, y, model_id=model.id)
    assert (first.received, first.stored, first.duplicates) == (5, 5, 0)
    rows: list[dict[str, Any]] = [{"features": row.tolist(), "label": "3"} for row in x]
    again = service.client.send_json_samples(rows + rows[:1], model_id=model.id)
    assert (again.received, again.stored, again.duplicates) == (6, 0, 6)
    assert len(list(service.client.samples(model.id))) == 5
    assert [(c.name, c.train, c.test) for c in service.client.classes(model.id)][-1] == ("3", 5, 0)


def test_samples_of_new_names_take_free_slots(service: Service) -> None:
    model = service.ready_model(max_classes=5)
    rows: list[dict[str, Any]] = [
        {"features": GOOD, "label": "wave"},
        {"features": GOOD, "label": 3},
    ]
    done = service.client.send_json_samples(rows, model_id=model.id)
    assert (done.new_classes, done.classes_left) == (["3", "wave"], 0)
    with pytest.raises(TooManyClassesError, match="0 of 5 are left") as caught:
        service.client.send_json_samples([{"features": GOOD, "label": "x"}], model_id=model.id)
    assert caught.value.errors[0].expected == "at most 0 new classes"
    assert service.client.model(model.id).classes == ["0", "1", "2", "3", "wave"]


def test_new_indices_may_come_in_any_order(service: Service) -> None:
    model = service.ready_model()
    rows: list[dict[str, Any]] = [{"features": GOOD, "label": label} for label in (5, "4", 3, 4)]
    assert service.client.send_json_samples(rows, model_id=model.id).new_classes == ["3", "4", "5"]


def test_samples_with_index_gap_are_refused(service: Service) -> None:
    model = service.ready_model()
    rows: list[dict[str, Any]] = [{"features": GOOD, "label": 0}, {"features": GOOD, "label": 5}]
    with pytest.raises(SampleInvalidError, match="Row 1 names class 5 of 3"):
        service.client.send_json_samples(rows, model_id=model.id)
    assert not list(service.client.samples(model.id))


@pytest.mark.parametrize(
    ("features", "where"),
    [
        ([0, 1, float("nan"), 3], "row 1, column 2"),
        ([0, 1, 2, float("inf")], "row 1, column 3"),
        ([0, 101, 2, 3], "row 1, column 1"),
        ([0, 1, 2], "row 1"),
        ([0, 1, 2, 3, 4], "row 1"),
        (["a", 1, 2, 3], "row 1, column 0"),
        ([True, 1, 2, 3], "row 1, column 0"),
        ([[0], 1, 2, 3], "row 1, column 0"),
        ([10**400, 1, 2, 3], "row 1, column 0"),
        ("text", "row 1"),
        (None, "row 1"),
    ],
)
def test_sample_with_bad_features_names_row_and_column(
    shared: Service, features: Any, where: str
) -> None:
    model = ready(shared)
    rows: list[dict[str, Any]] = [
        {"features": GOOD, "label": 3},
        {"features": features, "label": 3},
    ]
    response = shared.http.post(
        f"/api/v1/models/{model.id}/samples",
        content=json.dumps({"samples": rows}),
        headers={"Content-Type": "application/json"},
    )
    problem = check_problem(response, 422, "sample-invalid")
    assert problem["errors"][0]["where"] == where
    assert shared.client.model(model.id).classes_left == 3


@pytest.mark.parametrize("label", [None, "", -1, 1.5, True, [], "a\nb", "x" * 101])
def test_sample_with_bad_label_is_refused(shared: Service, label: Any) -> None:
    model = ready(shared)
    with pytest.raises(SampleInvalidError, match="row 0, label"):
        shared.client.send_json_samples([{"features": GOOD, "label": label}], model_id=model.id)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"samples": 1e}'],
)
def test_samples_that_are_not_json_are_400(shared: Service, body: bytes) -> None:
    model = ready(shared)
    response = shared.http.post(
        f"/api/v1/models/{model.id}/samples",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    check_problem(response, 400, "malformed-request")


@pytest.mark.parametrize(
    "body", [1, [], {}, {"samples": []}, {"samples": [1]}, {"samples": [{"features": GOOD}]}]
)
def test_samples_of_wrong_json_are_422(shared: Service, body: Any) -> None:
    model = ready(shared)
    response = shared.http.post(f"/api/v1/models/{model.id}/samples", json=body)
    check_problem(response, 422, "sample-invalid")


def _plain(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _bomb() -> bytes:
    """A small file that would unpack to 400 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            head, {"descr": "<f4", "fortran_order": False, "shape": (25_000_000, 4)}
        )
        with archive.open("x.npy", "w", force_zip64=True) as file:
            file.write(head.getvalue())
            for _ in range(40):
                file.write(bytes(10_000_000))
    return buffer.getvalue()


def _header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    """An array whose header promises more than the file holds."""
    head, buffer = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", head.getvalue())
    return buffer.getvalue()


def _names(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


HOSTILE = {
    "not a zip": b"hello",
    "truncated": npz_bytes([GOOD], [0])[:-30],
    "pickle": _plain(x=np.array([{"a": 1}], dtype=object), y=np.zeros(1)),
    "no x": _names("y.npy"),
    "path": _names("x.npy", "../../etc/passwd"),
    "not an array": _names("x.npy"),
    "unknown array": _names("x.npy", "z.npy"),
    "huge header": _header((1 << 40, 4)),
    "negative header": _header((-1, 4)),
    "text features": _plain(x=np.array([["a"] * 4]), y=np.zeros(1, dtype=int)),
    "complex": _header((1, 4), "<c8"),
    "no labels": npz_bytes([GOOD]),
    "labels of floats": npz_bytes([GOOD], np.array([0.5])),
    "too few labels": npz_bytes([GOOD, GOOD], [0]),
    "one axis": npz_bytes(GOOD, [0]),
    "no rows": npz_bytes(np.zeros((0, 4)), np.zeros(0, dtype=int)),
    "wrong width": npz_bytes([[1.0, 2.0]], [0]),
    "nan": npz_bytes([[1.0, np.nan, 0, 0]], [0]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_npz_is_422_and_stores_nothing(shared: Service, name: str) -> None:
    model = ready(shared)
    check_problem(post_npz(shared, model.id, HOSTILE[name]), 422, "sample-invalid")
    assert not list(shared.client.samples(model.id))
    assert not list(shared.context.settings.temporary_dir.iterdir())


@pytest.mark.parametrize("service", [{"npz_max_bytes": 1 << 20}], indirect=True)
def test_zip_bomb_is_413_without_unpacking(service: Service) -> None:
    model = service.ready_model()
    bomb = _bomb()
    assert len(bomb) < 4_000_000
    check_problem(post_npz(service, model.id, bomb), 413, "payload-too-large")


def test_npz_with_names_and_split_is_stored(service: Service) -> None:
    model = service.ready_model()
    data = npz_bytes([GOOD, GOOD[::-1]], ["1", "jump"])
    assert post_npz(service, model.id, data, split="test").status_code == 201
    found = [(s.label, s.split) for s in service.client.samples(model.id)]
    assert found == [("1", "test"), ("jump", "test")]


def test_samples_out_of_range_can_be_allowed(service: Service) -> None:
    model = service.ready_model()
    x = [[1000.0, 0, 0, 0]]
    with pytest.raises(SampleInvalidError, match="column 0"):
        service.client.send_samples(x, [0], model_id=model.id)
    done = service.client.send_samples(x, [0], model_id=model.id, out_of_range="allow")
    assert done.stored == 1


@pytest.mark.parametrize("service", [{"samples_max_rows": 3}], indirect=True)
def test_too_many_rows_are_422(service: Service) -> None:
    model = service.ready_model()
    response = post_npz(service, model.id, npz_bytes([GOOD] * 4, [0] * 4))
    check_problem(response, 422, "invalid-input")


def test_samples_before_import_are_409(service: Service) -> None:
    model = service.client.upload_model("m", fake_onnx(), calibration())
    with pytest.raises(NotReadyError, match="its job is queued"):
        service.client.send_samples([GOOD], [0], model_id=model.id)


def test_samples_of_a_device_belong_to_its_model(service: Service) -> None:
    model = service.ready_model()
    device = service.client.create_device("greenhouse", model.id, "good")
    service.client.send_samples([GOOD], ["new"], device_id=device.id)
    (sample,) = service.client.samples(model.id)
    assert (sample.device_id, sample.label) == (device.id, "new")
    page = service.http.get(f"/api/v1/devices/{device.id}/samples").json()
    assert len(page["items"]) == 1


def test_samples_page_by_cursor_without_gap_or_repeat(service: Service) -> None:
    model = service.ready_model()
    x, y = make_samples(3, 7)
    service.client.send_samples(x, y, model_id=model.id)
    path, seen, query = f"/api/v1/models/{model.id}/samples", [], {"limit": "3"}
    while True:
        page = service.http.get(path, params=query).json()
        seen += [item["content_sha256"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 7


def test_client_raises_typed_errors(service: Service) -> None:
    model = service.ready_model()
    with pytest.raises(MalformedRequestError):
        service.client._send(
            "POST",
            f"/models/{model.id}/samples",
            content=b"{",
            headers={"Content-Type": "application/json"},
        )
    with pytest.raises(PayloadTooLargeError):
        service.client._send("POST", "/updates", content=b"x" * (1 << 20 | 1))


def test_samples_npz_without_labels_names_the_array(shared: Service) -> None:
    response = post_npz(shared, ready(shared).id, npz_bytes([GOOD]))
    problem = check_problem(response, 422, "sample-invalid")
    assert "no array y" in problem["detail"]


def test_index_that_names_another_class_is_refused(service: Service) -> None:
    """Classes named by mention: index 3 is "4", so the label 4 could mean either."""
    model = service.ready_model()
    named = [{"features": GOOD, "label": "4"}, {"features": GOOD[::-1], "label": "3"}]
    service.client.send_json_samples(named, model_id=model.id)
    with pytest.raises(SampleInvalidError, match="name of one class and the index of another"):
        service.client.send_json_samples([{"features": GOOD, "label": 4}], model_id=model.id)
