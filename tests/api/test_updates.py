# SPDX-License-Identifier: Apache-2.0
"""Updates: gate, versions, lineage; firmware and device tests of versions."""

import io
import json
import zipfile
from typing import Any

import pytest

from server.client import HadaptClient
from server.errors import InvalidInputError, NotFoundError, NotReadyError
from tests.api.harness import Service, make_samples


def learn(service: Service, model_id: str, **spec: Any) -> Any:
    made = service.client.create_update(model_id, **{"steps": 150, **spec})
    service.run(made.job_id)
    return service.client.update(made.id)


def prepared(service: Service, *labels: int) -> str:
    """A model with test samples of all classes so far and training samples of new ones."""
    model = service.ready_model()
    service.send(model.id, 0, 1, 2, *labels, split="test")
    service.send(model.id, *labels)
    return model.id


def test_accepted_update_makes_a_version_with_lineage(service: Service) -> None:
    model_id = prepared(service, 3)
    first = learn(service, model_id, gate={"min_accuracy": 0.9, "max_forgetting": 0.1})
    assert (first.state, first.version, first.result.outcome) == ("succeeded", 2, "accepted")
    assert first.result.before.accuracy == 1.0
    assert first.result.after.per_class["3"] == 1.0
    service.send(model_id, 4, split="test")
    service.send(model_id, 4)
    second = learn(service, model_id)
    version = service.client.version(model_id, 3)
    assert (version.parent, version.update_id) == (2, second.id)
    assert version.tasks == [["0", "1", "2"], ["3"], ["4"]]
    assert version.state_hash == second.result.state_hash
    assert service.client.update_state(second.id) == service.client.version_state(model_id, 3)
    assert second.result.forgetting is not None


def test_refused_update_says_why_and_makes_no_version(service: Service) -> None:
    model_id = prepared(service, 3)
    gate = {"min_accuracy": 1.0, "max_forgetting": -1.0, "max_class_drop": -1.0}
    refused = learn(service, model_id, steps=1, gate=gate)
    assert (refused.state, refused.version, refused.result.outcome) == (
        "succeeded",
        None,
        "refused",
    )
    assert [reason.split(" is ")[0] for reason in refused.result.reasons] == [
        "accuracy",
        "forgetting",
        "largest fall of a class",
    ]
    assert [v.number for v in service.client.versions(model_id)] == [1]
    assert json.loads(service.client.update_state(refused.id))


def test_update_from_an_older_version_branches(service: Service) -> None:
    model_id = prepared(service, 3)
    assert learn(service, model_id).version == 2
    service.send(model_id, 4)
    branch = learn(service, model_id, base_version=1, selection={"classes": ["4"]})
    version = service.client.version(model_id, branch.version)
    assert (version.number, version.parent, version.classes) == (3, 1, ["0", "1", "2", "4"])


def test_update_repeats_to_the_same_bits(service: Service) -> None:
    model_id = prepared(service, 3)
    hashes = {learn(service, model_id, base_version=1).result.state_hash for _ in range(2)}
    assert len(hashes) == 1
    other = learn(service, model_id, base_version=1, seed=2)
    assert other.result.state_hash not in hashes


def test_ncm_update_needs_no_steps(service: Service) -> None:
    model_id = prepared(service, 3)
    done = learn(service, model_id, method="ncm")
    assert done.result.after.per_class["3"] == 1.0


@pytest.mark.parametrize("method", ["finetune", "lwf", "icarl"])
def test_update_by_a_training_method_is_taken(service: Service, method: str) -> None:
    done = learn(service, prepared(service, 3), method=method, options={"temperature": 2})
    assert done.method == method
    assert done.result.after.per_class["3"] == 1.0


def test_update_by_an_unknown_method_lists_the_methods(service: Service) -> None:
    with pytest.raises(InvalidInputError, match="icarl"):
        learn(service, prepared(service, 3), method="der")


def test_update_from_a_device_uses_its_samples_only(service: Service) -> None:
    model_id = prepared(service, 3)
    device = service.client.create_device("d", model_id, "good")
    x, y = make_samples(3, 4, seed=9)
    service.client.send_samples(x, y, device_id=device.id)
    done = learn(service, model_id, selection={"device_id": device.id})
    message = service.client.job_log(done.job_id)[2].data["message"]
    assert message == "4 training and 40 test samples"


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ({}, "nothing new to learn"),
        ({"selection": {"classes": ["odd"]}}, "class 'odd' has no training samples"),
        ({"steps": 100_001}, "Too many steps"),
    ],
)
def test_update_without_samples_is_refused(
    service: Service, spec: dict[str, Any], match: str
) -> None:
    model = service.ready_model()
    with pytest.raises(InvalidInputError, match=match):
        service.client.create_update(model.id, **spec)


def test_gate_without_test_samples_is_refused_naming_classes(service: Service) -> None:
    model = service.ready_model()
    service.send(model.id, 3)
    with pytest.raises(InvalidInputError, match="no test samples") as caught:
        service.client.create_update(model.id, gate={"min_accuracy": 0.5})
    assert len(caught.value.errors) == 4


def test_update_of_missing_version_is_404(service: Service) -> None:
    model = service.ready_model()
    with pytest.raises(NotFoundError):
        service.client.create_update(model.id, base_version=7)


@pytest.mark.parametrize(
    ("options", "code"), [({"bug": 1}, "internal"), ({"fill_disk": 1}, "storage-full")]
)
def test_failing_update_keeps_a_problem(
    service: Service, options: dict[str, int], code: str
) -> None:
    model_id = prepared(service, 3)
    made = learn(service, model_id, options=options)
    job = service.client.job(made.job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.type == f"urn:hadapt:problem:{code}"
    with pytest.raises(NotReadyError):
        service.client.update_state(made.id)


def test_firmware_is_reproducible(service: Service) -> None:
    model = service.ready_model()
    zips = []
    for _ in range(2):
        made = service.client.create_firmware(model.id, "good")
        with pytest.raises(NotReadyError):
            service.client.firmware_zip(made.id)
        service.run(made.job_id)
        zips.append(service.client.firmware_zip(made.id))
    assert zips[0] == zips[1]
    assert zipfile.ZipFile(io.BytesIO(zips[0])).namelist()[:2] == ["model.c", "state.bin"]
    assert service.client.firmware(made.id).zip_bytes == len(zips[0])


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"board": "tiny"}, "model-does-not-fit"),
        ({"board": "good", "layout": "x"}, "invalid-input"),
    ],
)
def test_firmware_that_cannot_be_made_fails_its_job(
    service: Service, spec: dict[str, str], code: str
) -> None:
    model = service.ready_model()
    made = service.client.create_firmware(model.id, **spec)
    service.run(made.job_id)
    job = service.client.job(made.job_id)
    assert job.error is not None
    assert job.error.type.endswith(code)


def test_device_test_reports_every_board(service: Service) -> None:
    model_id = prepared(service)
    made = service.client.create_device_test(model_id, ["good", "toolless", "hanging"])
    service.run(made.job_id)
    done = service.client.device_test(made.id)
    good, toolless, hanging = done.results
    assert done.state == "succeeded"
    assert (good["bit_exact"], good["error"]) == (True, None)
    assert len(good["elf_sha256"]) == 64
    assert toolless["error"]["type"].endswith("tool-missing")
    assert "last output" in hanging["error"]["detail"]


def test_device_test_without_samples_is_refused(service: Service) -> None:
    model = service.ready_model()
    with pytest.raises(InvalidInputError, match="needs samples"):
        service.client.create_device_test(model.id, ["good"])


def test_listings_filter_by_model(service: Service) -> None:
    client: HadaptClient = service.client
    model_id, other = prepared(service, 3), service.ready_model().id
    made = learn(service, model_id)
    assert [u.id for u in client.updates(model_id)] == [made.id]
    assert not list(client.updates(other))
    for path in ("updates", "firmware", "device-tests"):
        page = service.http.get(f"/api/v1/{path}", params={"model_id": other}).json()
        assert page == {"items": [], "next_cursor": None}
