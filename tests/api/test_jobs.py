# SPDX-License-Identifier: Apache-2.0
"""Jobs: history, events, cancelling; idempotent requests; health and metrics."""

import threading

import pytest

from server.errors import ConflictError, IdempotencyMismatchError
from server.jobs.kinds import MACHINES
from server.jobs.runner import FIRST, run_step
from tests.api.fake_engine import fake_onnx
from tests.api.harness import Service, calibration, make_samples


def test_events_tell_the_whole_history_and_end(service: Service) -> None:
    model = service.ready_model()
    events = list(service.client.job_events(model.job_id))
    states = [e.data["state"] for e in events if e.kind == "state"]
    assert states == ["queued", "running", "succeeded"]
    assert [e.data["message"] for e in events if e.kind == "progress"] == [
        "quantising",
        "filling the learner's memory",
    ]
    assert [e.seq for e in service.client.job_events(model.job_id, after=events[2].seq)] == [
        e.seq for e in events[3:]
    ]


def test_events_arrive_while_the_job_runs(service: Service) -> None:
    model = service.client.upload_model("m", fake_onnx(), calibration())
    timer = threading.Timer(0.3, service.run, [model.job_id])
    timer.start()
    kinds = [e.data.get("state") for e in service.client.job_events(model.job_id)]
    timer.join()
    assert kinds[-1] == "succeeded"


def test_repeated_step_changes_nothing(service: Service) -> None:
    model = service.client.upload_model("m", fake_onnx(), calibration())
    machine = MACHINES["import"]
    cursor = run_step(service.context, machine, model.job_id, FIRST)
    assert run_step(service.context, machine, model.job_id, FIRST) == cursor
    assert cursor is not None
    assert run_step(service.context, machine, model.job_id, cursor) is None
    assert run_step(service.context, machine, model.job_id, cursor) is None
    assert len(list(service.client.versions(model.id))) == 1
    assert len(service.client.job_log(model.job_id)) == 5


def test_cancelled_job_never_succeeds(service: Service) -> None:
    model = service.client.upload_model("m", fake_onnx(), calibration())
    cursor = run_step(service.context, MACHINES["import"], model.job_id, FIRST)
    assert service.client.cancel_job(model.job_id).state == "cancelled"
    assert service.client.cancel_job(model.job_id).state == "cancelled"
    assert cursor is not None
    assert run_step(service.context, MACHINES["import"], model.job_id, cursor) is None
    assert not service.client.model(model.id).ready
    assert service.client.job(model.job_id).state == "cancelled"


def test_cancel_of_a_running_step_stops_it(service: Service) -> None:
    model = service.ready_model()
    service.send(model.id, 3)
    made = service.client.create_update(model.id, steps=100_000, options={"step_ms": 20})
    thread = threading.Thread(target=service.run, args=[made.job_id])
    thread.start()
    while service.client.job(made.job_id).state == "queued":
        pass
    service.client.cancel_job(made.job_id)
    thread.join(10)
    assert not thread.is_alive()
    assert service.client.update(made.id).state == "cancelled"


def test_cancel_of_an_ended_job_is_409(service: Service) -> None:
    model = service.ready_model()
    with pytest.raises(ConflictError, match="has succeeded already"):
        service.client.cancel_job(model.job_id)


def test_jobs_are_listed_by_state(service: Service) -> None:
    model = service.ready_model()
    service.client.upload_model("n", fake_onnx(), calibration())
    page = service.http.get("/api/v1/jobs", params={"state": "succeeded"}).json()
    assert [job["id"] for job in page["items"]] == [model.job_id]


def test_same_key_acts_once_and_answers_the_same(service: Service) -> None:
    first = service.client.upload_model("m", fake_onnx(), calibration(), key="k1")
    again = service.client.upload_model("m", fake_onnx(), calibration(), key="k1")
    assert first == again
    assert len(list(service.client.models())) == 1
    with pytest.raises(IdempotencyMismatchError):
        service.client.upload_model("other", fake_onnx(), calibration(), key="k1")
    service.run(first.job_id)
    x, y = make_samples(3, 2)
    stored = [service.client.send_samples(x, y, model_id=first.id, key="k1") for _ in range(2)]
    assert [s.stored for s in stored] == [2, 2], "the first answer, not a count of duplicates"


def test_replayed_answer_is_marked(service: Service) -> None:
    model = service.ready_model()
    body = {"name": "d", "model_id": model.id, "board": "good"}
    answers = [
        service.http.post("/api/v1/devices", json=body, headers={"Idempotency-Key": "a"})
        for _ in range(2)
    ]
    assert [a.status_code for a in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert [a.headers.get("idempotent-replayed") for a in answers] == [None, "true"]
    clash = service.http.post("/api/v1/devices", json=body)
    assert clash.status_code == 409


def test_same_key_at_once_acts_once(service: Service) -> None:
    model = service.ready_model()
    x, y = make_samples(3, 20)
    found: list[int] = []

    def send() -> None:
        found.append(service.client.send_samples(x, y, model_id=model.id, key="same").stored)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [20] * 6
    assert len(list(service.client.samples(model.id))) == 20


def test_request_id_of_the_client_is_kept_if_harmless(service: Service) -> None:
    for given, kept in (("abc-1", True), ("a b", False), ("x" * 65, False)):
        response = service.http.get("/healthz", headers={"X-Request-ID": given})
        assert (response.headers["x-request-id"] == given) is kept


def test_metrics_count_requests_by_route_and_jobs_by_state(service: Service) -> None:
    service.ready_model()
    service.http.get("/odd/path")
    text = service.http.get("/metrics").text
    assert 'hadapt_jobs{state="succeeded"} 1.0' in text
    assert 'hadapt_stored{resource="models"} 1.0' in text
    assert 'route="unknown",status="404"' in text
    assert "odd/path" not in text


def test_metrics_tell_of_queue_jobs_and_gates(service: Service) -> None:
    model = service.ready_model()
    service.send(model.id, 0, 1, 2, 3)
    service.send(model.id, 0, 1, 2, 3, split="test")
    for limit in (0.0, 1.0):
        update = service.client.create_update(
            model.id, base_version=1, steps=1, gate={"min_accuracy": limit}
        )
        service.run(update.job_id)
    service.client.create_update(model.id, base_version=1, steps=1)
    text = service.http.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert lines['hadapt_job_seconds_count{kind="import",state="succeeded"}'] == "1.0"
    assert lines['hadapt_job_seconds_count{kind="update",state="succeeded"}'] == "2.0"
    assert float(lines['hadapt_job_seconds_sum{kind="update",state="succeeded"}']) > 0
    assert lines['hadapt_jobs{state="queued"}'] == "1.0"
    assert lines['hadapt_jobs{state="succeeded"}'] == "3.0"
    assert float(lines["hadapt_queue_oldest_seconds"]) > 0
    assert lines['hadapt_gate_verdicts_total{method="replay",outcome="accepted"}'] == "1.0"
    assert lines['hadapt_gate_verdicts_total{method="replay",outcome="refused"}'] == "1.0"
    assert lines['hadapt_stored{resource="samples"}'] == "80.0"


@pytest.mark.parametrize("service", [{"disk_free_min_bytes": 1 << 60}], indirect=True)
def test_readiness_names_a_disk_without_room(service: Service) -> None:
    problem = service.http.get("/readyz").json()
    found = {issue["where"]: issue["what"] for issue in problem["errors"]}
    assert set(found) == {"disk", "worker"}
    assert "MiB free" in found["disk"]
