# SPDX-License-Identifier: Apache-2.0
"""Models, versions, exports and resource reports."""

import json

import numpy as np
import pytest

from server.client import npz_bytes
from server.errors import (
    InvalidInputError,
    ModelRejectedError,
    NotFoundError,
    OperatorUnsupportedError,
    SampleInvalidError,
)
from tests.api.fake_engine import fake_onnx
from tests.api.harness import Service, calibration
from tests.api.test_errors import check_problem


def test_model_upload_makes_version_one(service: Service) -> None:
    model = service.ready_model("digits", max_classes=5)
    assert model.ready
    assert (model.name, model.classes, model.classes_left) == ("digits", ["0", "1", "2"], 2)
    (version,) = service.client.versions(model.id)
    assert (version.number, version.parent, version.tasks) == (1, None, [["0", "1", "2"]])
    assert json.loads(service.client.int_model(model.id))["max_classes"] == 5
    state = service.client.version_state(model.id, 1)
    assert json.loads(state)["weights"]
    assert service.client.version_learner(model.id, 1) != state
    assert [m.id for m in service.client.models()] == [model.id]


def test_layers_are_explained_for_the_newest_version_and_for_one_by_number(
    service: Service,
) -> None:
    model = service.ready_model()
    found = service.client.explain(model.id)
    assert (found.model_id, found.version) == (model.id, 1)
    assert [layer.shape for layer in found.layers] == [[3]]
    assert service.client.explain(model.id, 1) == found
    with pytest.raises(NotFoundError):
        service.client.explain(model.id, 2)


def test_calibration_labels_are_names_where_classes_are_named_by_numbers(service: Service) -> None:
    """Regression: labels 1 and 2 were taken for the classes 2 and 3."""
    x, named = np.eye(3, 4, dtype=np.float32), fake_onnx(names=["1", "2", "3"])
    made = service.client.upload_model("n", named, npz_bytes(x, np.array([1, 2, 3])))
    service.run(made.job_id)
    assert service.client.model(made.id).ready


@pytest.mark.parametrize("form", ["exact", "qdq"])
def test_onnx_export_has_both_forms(service: Service, form: str) -> None:
    model = service.ready_model()
    data = service.client.onnx(model.id, 1, form)  # type: ignore[arg-type]
    assert json.loads(data)["form"] == form
    assert json.loads(data)["class_names"] == model.classes


def test_model_names_come_from_options_then_file(service: Service) -> None:
    assert service.ready_model(class_names=["a", "b", "c"]).classes == ["a", "b", "c"]
    named = service.client.upload_model("n", fake_onnx(names=["p", "q", "r"]), calibration())
    assert named.classes == ["p", "q", "r"]
    with pytest.raises(ModelRejectedError, match="class_names"):
        service.ready_model(class_names=["a", "a", "c"])


@pytest.mark.parametrize(
    ("onnx", "kind"),
    [
        (b"garbage", ModelRejectedError),
        (fake_onnx(operator="Conv"), OperatorUnsupportedError),
    ],
)
def test_bad_model_is_refused_at_once(
    service: Service, onnx: bytes, kind: type[ModelRejectedError]
) -> None:
    with pytest.raises(kind) as caught:
        service.client.upload_model("m", onnx, calibration())
    assert caught.value.errors
    assert not list(service.client.models())


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"not npz", ModelRejectedError),
        (npz_bytes(np.zeros((3, 5))), SampleInvalidError),
        (npz_bytes([[0, 0, np.nan, 0]]), SampleInvalidError),
        (npz_bytes(np.zeros((2, 4)), [0, 3]), ModelRejectedError),
        (npz_bytes(np.zeros((2, 4)), ["0", "zero"]), ModelRejectedError),
        (npz_bytes(np.zeros((2, 4)), [0]), ModelRejectedError),
    ],
)
def test_bad_calibration_is_refused_at_once(
    service: Service, data: bytes, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        service.client.upload_model("m", fake_onnx(), data)


@pytest.mark.parametrize("options", ["{", "[]", "1", "[" * 50_000])
def test_bad_options_are_refused(service: Service, options: str) -> None:
    files = {"onnx": fake_onnx(), "calibration": calibration()}
    response = service.http.post("/api/v1/models", files=files, data={"options": options})
    assert response.status_code in (400, 422)
    check_problem(
        response, response.status_code, response.json()["type"].removeprefix("urn:hadapt:problem:")
    )


def test_unknown_quantiser_option_is_refused_at_once(service: Service) -> None:
    with pytest.raises(InvalidInputError) as caught:
        service.client.upload_model("m", fake_onnx(), calibration(), {"odd": 1})
    assert caught.value.errors[0].what == "option odd"
    assert list(service.client.models()) == []


def test_missing_version_is_404(service: Service) -> None:
    model = service.ready_model()
    with pytest.raises(NotFoundError, match="no version 2"):
        service.client.version(model.id, 2)


def test_reports_say_what_fits_and_what_is_missing(service: Service) -> None:
    model = service.ready_model()
    queued = service.client.request_reports(model.id, ["good", "tiny", "toolless"])
    service.run(queued.job_id)
    good, tiny, toolless = service.client.reports(model.id)
    assert good.report is not None
    assert good.report["ram_bytes"] == 64
    assert tiny.error is not None
    assert tiny.error.errors[0].expected == "board good"
    assert toolless.error is not None
    assert toolless.error.type.endswith("tool-missing")
    assert service.client.report(model.id, "good") == good
    with pytest.raises(NotFoundError, match="has no report"):
        service.client.report(model.id, "hanging")
    service.run(service.client.request_reports(model.id, ["good"]).job_id)
    assert len(service.client.reports(model.id)) == 3


def test_unknown_board_is_refused_naming_those_there_are(service: Service) -> None:
    model = service.ready_model()
    with pytest.raises(InvalidInputError, match="one of tiny, good"):
        service.client.request_reports(model.id, ["odd"])
