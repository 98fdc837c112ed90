# SPDX-License-Identifier: Apache-2.0
"""What a model or an engine cannot do is said to the request, not to its job."""

import io
import json
import re
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from codegen.generate import generate
from codegen.quantize import QuantizeOptions
from device.harness.boards import BOARDS
from device.twin.model import Arithmetic, IntModel
from server.api.quantize_options import QUANTIZE_OPTIONS
from server.demo.example import write_example
from server.errors import ConflictError, InvalidInputError, ModelRejectedError, NotFoundError
from server.jobs.kinds import MACHINES
from server.learning.engine import HadaptEngine
from server.learning.firmwares import with_names
from server.learning.ports import Calibration
from server.storage.records import JOB_KINDS
from tests.api.fake_engine import fake_onnx
from tests.api.harness import Service, calibration


def named_calibration(*names: str) -> bytes:
    """The calibration with an array class_names."""
    with np.load(io.BytesIO(calibration())) as file:
        arrays = {name: file[name] for name in file.files}
    out = io.BytesIO()
    np.savez(out, class_names=np.array(names), **arrays)
    return out.getvalue()


def test_update_that_the_engine_cannot_do_makes_no_job(service: Service) -> None:
    model = service.ready_model()
    service.send(model.id, 3)
    jobs = len(service.http.get("/api/v1/jobs").json()["items"])
    body = {"model_id": model.id, "batch": 512}
    answer = service.http.post("/api/v1/updates", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "batch")
    assert len(service.http.get("/api/v1/jobs").json()["items"]) == jobs
    unknown = service.http.post("/api/v1/updates", json={**body, "model_id": "0" * 32})
    assert unknown.status_code == 404


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The README's network and its integer model."""
    folder = tmp_path_factory.mktemp("digits")
    write_example(folder)
    onnx = (folder / "digits.onnx").read_bytes()
    with np.load(folder / "calib.npz") as file:
        found = Calibration(file["x"].astype(np.float32), file["y"])
    made = HadaptEngine().quantize(onnx, found, {"batch": 16, "keep_prototypes": False})
    return onnx, made.data


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_classes": 3}, "max_classes is 3"),
        ({"max_classes": 251}, "max_classes is 251"),
        ({"train_last": 9}, "train_last is 9"),
        ({"train_last": 0}, "train_last"),
        ({"exemplar_slots": 2}, "exemplar_slots is 2"),
        ({"staging_slots": 0}, "staging_slots 0"),
        ({"exemplar_slots": 65000, "staging_slots": 65000}, "at most 65535"),
        ({"per_class_limit": 70000}, "per_class_limit is 70000"),
        ({"batch": 513}, "batch must be"),
        ({"order": 3}, "order must be"),
        ({"features": "window-stats:axes=6,window=1"}, "features"),
        ({"nonsense": 1}, "unknown option"),
    ],
)
def test_options_that_the_network_cannot_have_are_refused_at_upload(
    digits: tuple[bytes, bytes], options: dict[str, object], match: str
) -> None:
    with pytest.raises(InvalidInputError, match=match) as caught:
        HadaptEngine().import_model(digits[0], options)
    assert caught.value.errors[0].expected


@pytest.mark.parametrize(
    ("method", "batch", "options", "match"),
    [
        ("replay", 32, {}, "batch size is fixed"),
        ("replay", None, {"temperature": 2}, "temperature"),
        ("lwf", 16, {"temperature": 3}, "temperature"),
        ("lwf", 16, {"distillation_weight": 1.0}, "distillation_weight"),
        ("bic", 16, {}, "bias correction"),
        ("ncm", 16, {}, "keeps no prototypes"),
    ],
)
def test_update_is_judged_by_the_model(
    digits: tuple[bytes, bytes],
    method: str,
    batch: int | None,
    options: dict[str, object],
    match: str,
) -> None:
    engine = HadaptEngine()
    engine.check_update(digits[1], "replay", 16, {})
    with pytest.raises(InvalidInputError, match=match):
        engine.check_update(digits[1], method, batch, options)  # type: ignore[arg-type]


def test_schema_of_options_is_that_of_the_quantizer(shared: Service) -> None:
    own = {f.name: f for f in (*fields(Arithmetic), *fields(QuantizeOptions))}
    own.pop("arithmetic")
    properties = QUANTIZE_OPTIONS["properties"]
    assert set(properties) == {*own, "class_names"}
    for name, found in own.items():
        assert properties[name].get("default") == found.default, name
    form = shared.http.get("/openapi.json").json()["paths"]["/api/v1/models"]["post"]
    schema = form["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["options"]["contentSchema"] == QUANTIZE_OPTIONS


def test_names_of_classes_come_with_the_calibration(service: Service) -> None:
    client = service.client
    made = client.upload_model("m", fake_onnx(), named_calibration("a", "b", "c"))
    assert made.classes == ["a", "b", "c"]
    service.run(made.job_id)
    assert client.model(made.id).ready
    named = client.upload_model(
        "m", fake_onnx(names=["p", "q", "r"]), named_calibration("a", "b", "c")
    )
    assert named.classes == ["p", "q", "r"]
    with pytest.raises(ModelRejectedError, match="class_names") as caught:
        client.upload_model("m", fake_onnx(), named_calibration("a", "b"))
    assert caught.value.errors[0].where == "calibration, array class_names"


def test_zip_of_a_later_version_names_its_classes(service: Service) -> None:
    model = service.ready_model(class_names=["a", "b", "c"])
    service.client.send_samples(np.ones((4, 4), np.float32), ["wave"] * 4, model_id=model.id)
    made = service.http.post("/api/v1/updates", json={"model_id": model.id, "steps": 20}).json()
    service.run(made["job_id"])
    body = {"model_id": model.id, "board": "good", "layout": "plain"}
    firmware = service.http.post("/api/v1/firmware", json=body).json()
    service.run(firmware["job_id"])
    data = service.http.get(f"/api/v1/firmware/{firmware['id']}/zip").content
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert json.loads(archive.read("names.json")) == ["a", "b", "c", "wave"]


def test_manifest_changes_in_its_names_only(digits: tuple[bytes, bytes]) -> None:
    sources = generate(IntModel.from_bytes(digits[1]), BOARDS["microbit"])
    assert with_names(sources, ()) == sources
    names = [f"digit {n}" for n in range(7)]
    changed = with_names(sources, names)
    before, after = (json.loads(files["manifest.json"]) for files in (sources, changed))
    assert after.pop("class_names") == names != before.pop("class_names")
    assert before == after
    assert with_names(changed, [str(n) for n in range(6)]) == sources


def test_only_a_model_that_failed_can_be_deleted(service: Service) -> None:
    client, http = service.client, service.http
    good = service.ready_model()
    waiting = client.upload_model("m", fake_onnx(), calibration())
    for model_id in (good.id, waiting.id):
        with pytest.raises(ConflictError, match="has failed"):
            client.delete_model(model_id)
    assert http.post(f"/api/v1/jobs/{waiting.job_id}/cancel").status_code == 200
    client.delete_model(waiting.id)
    with pytest.raises(NotFoundError):
        client.delete_model(waiting.id)
    assert [m.id for m in client.models()] == [good.id]
    assert http.get(f"/api/v1/jobs/{waiting.job_id}").json()["state"] == "cancelled"


def test_queue_is_told_by_kind(service: Service) -> None:
    assert set(JOB_KINDS) == set(MACHINES)
    for _ in range(2):
        service.client.upload_model("m", fake_onnx(), calibration())
    text = service.http.get("/metrics").text
    depth = dict(re.findall(r'^hadapt_queue_depth\{kind="([^"]+)"\} ([\d.]+)$', text, re.MULTILINE))
    assert {kind: float(count) for kind, count in depth.items()} == {
        kind: 2.0 if kind == "import" else 0.0 for kind in JOB_KINDS
    }


def test_text_labels_without_names_are_explained(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from server.cli import app

    write_example(tmp_path)
    with np.load(tmp_path / "calib.npz") as file:
        x, y = file["x"], np.array([f"digit {n}" for n in file["y"]])
    np.savez(tmp_path / "text.npz", x=x, y=y)
    words = ["quantize", str(tmp_path / "digits.onnx"), "--data", str(tmp_path / "text.npz")]
    done = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "m.hadapt")])
    assert done.exit_code == 1
    assert "array class_names with the 6 names in the order of the network's outputs" in done.output
