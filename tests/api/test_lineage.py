# SPDX-License-Identifier: Apache-2.0
"""Lineage over the whole service: classes, samples, contributors, two devices compared."""

import json
from typing import Any

from typer.testing import CliRunner

from server.cli import app
from server.fleet.lineage import ancestors
from tests.api.fleet import accepted_version, add_device, roll_out, sign
from tests.api.fleet_fixtures import Fleet, fleet
from tests.api.harness import make_samples

__all__ = ["fleet"]


def test_lineage_names_classes_samples_and_contributors(fleet: Fleet) -> None:
    """Device one takes version 3, whose class 4 came from device two; device two stays at 2."""
    http, model_id = fleet.http, fleet.model_id
    one, two = (add_device(fleet, model_id, name) for name in ("line-1", "line-2"))

    def get(path: str, **query: str) -> Any:
        answer = http.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    first = roll_out(fleet, fleet.packet["id"], shares=[1.0], min_reports=1)
    for device in (one, two):
        device.tell(f"deploymentBase/{device.offered()}")
    assert get(f"/rollouts/{first}")["state"] == "finished"
    x, y = make_samples(4, 6, seed=5)
    sender = get("/targets/line-2")["device_id"]
    fleet.client.send_samples(x, y, device_id=sender)
    body = {"model_id": model_id, "steps": 20}
    fleet.run(http.post("/api/v1/updates", json=body).json()["job_id"])
    packet = sign(fleet, model_id)
    made = http.post(
        "/api/v1/rollouts",
        json={"packet_id": packet["id"], "targets": ["line-1"], "policy": {"shares": [1.0]}},
    )
    assert made.status_code == 201, made.text
    one.tell(f"deploymentBase/{one.offered()}")

    line = get("/targets/line-1/lineage")
    assert (line["version"], line["classes"]) == (3, ["0", "1", "2", "3", "4"])
    assert [a["version"] for a in line["ancestors"]] == [3, 2, 1]
    assert [a["new_classes"] for a in line["ancestors"]] == [["4"], ["3"], ["0", "1", "2"]]
    assert [len(a["samples"]) for a in line["ancestors"]] == [6, 10, 0]
    assert line["ancestors"][0]["contributors"] == {sender: 6}
    stored = get(f"/models/{model_id}/samples", limit="200")["items"]
    assert set(line["ancestors"][0]["samples"]) == {
        s["content_sha256"] for s in stored if s["device_id"] == sender
    }
    found = get("/comparisons", left="line-1", right="line-2")
    assert found == {
        "same_state": None,
        "common_version": 2,
        "classes_left": ["4"],
        "classes_right": [],
        "classes_both": ["0", "1", "2", "3"],
        "samples_left": 6,
        "samples_right": 0,
        "samples_both": 10,
    }


def test_device_that_learns_alone_tells_hash_and_figures_only(fleet: Fleet) -> None:
    device = add_device(fleet, fleet.model_id, "alone-1")
    before = fleet.http.get(f"/api/v1/models/{fleet.model_id}/classes").json()
    device.config(state_hash="a" * 64, accuracy="0.9", forgetting="0.01")
    device.config(state_hash="b" * 64, accuracy="0.95")
    told = fleet.http.get("/api/v1/targets/alone-1/learning").json()
    assert [t["state_hash"][0] for t in told] == ["b", "a"]
    assert told[1]["metrics"] == {"accuracy": 0.9, "forgetting": 0.01}
    assert fleet.http.get(f"/api/v1/models/{fleet.model_id}/classes").json() == before


def test_withdrawn_contributor_is_erased_and_the_model_rebuilt_without(fleet: Fleet) -> None:
    http, model = fleet.http, accepted_version(fleet)
    device = add_device(fleet, model, "giver-1")
    sender = http.get("/api/v1/targets/giver-1").json()["device_id"]
    x, y = make_samples(4, 6, seed=9)
    fleet.client.send_samples(x, y, device_id=sender)

    def update(**more: Any) -> Any:
        made = http.post("/api/v1/updates", json={"model_id": model, "steps": 20, **more})
        assert made.status_code == 202, made.text
        fleet.run(made.json()["job_id"])
        return http.get(f"/api/v1/models/{model}/versions").json()["items"][0]

    assert update()["classes"] == ["0", "1", "2", "3", "4"]
    body = {"model_id": model, "kind": "contributor", "subject": sender}
    done = http.post("/api/v1/withdrawals", json=body).json()
    assert (done["samples"], done["versions"], done["rebuild_from"]) == (6, [3], 2)
    assert http.post("/api/v1/withdrawals", json=body).status_code == 404, "nothing is left"
    left = http.get(f"/api/v1/models/{model}/samples", params={"limit": 200}).json()["items"]
    assert len(left) == 10
    assert sender not in {s["device_id"] for s in left}
    with fleet.context.database.read() as unit:
        kept = unit.samples.page(order="seq", after=None, limit=99, device_id=sender)
    assert {s.features for s in kept} == {b""}
    again = fleet.client.send_samples(x, y, device_id=sender)
    assert (again.stored, again.duplicates) == (0, 6)
    nothing = http.post(f"/api/v1/withdrawals/{done['id']}/rebuild")
    assert nothing.status_code == 409, "no samples of the class are left"
    assert "rollback to version 2" in nothing.json()["errors"][0]["expected"]
    fleet.send(model, 4)
    made = http.post(f"/api/v1/withdrawals/{done['id']}/rebuild")
    fleet.run(made.json()["job_id"])
    rebuilt = http.get(f"/api/v1/models/{model}/versions").json()["items"][0]
    assert (rebuilt["number"], rebuilt["parent"]) == (4, 2)
    assert rebuilt["classes"] == ["0", "1", "2", "3", "4"]
    device.config(version="4")
    with fleet.context.database.read() as unit:
        line = ancestors(unit, model, 4)
        old = ancestors(unit, model, 3)
    gone = {s.content_sha256 for s in kept}
    assert not gone & {digest for a in line for digest in a.samples}
    assert gone == set(old[0].samples), "what version 3 had used is still told"


def test_rebuild_without_one_sample_learns_all_later_classes_in_one_job(fleet: Fleet) -> None:
    """Version 2 learned class 3, version 3 class 4; a sample of class 3 goes."""
    http, model = fleet.http, accepted_version(fleet)
    fleet.send(model, 4)
    fleet.run(fleet.client.create_update(model, steps=20).job_id)
    with fleet.context.database.read() as unit:
        used = ancestors(unit, model, 2)[0].samples
    body = {"model_id": model, "kind": "sample", "subject": used[0]}
    done = http.post("/api/v1/withdrawals", json=body).json()
    assert (done["versions"], done["rebuild_from"]) == ([2, 3], 1)
    command = ["jobs", "rebuild", done["id"], "--json"]
    where = ["--data-dir", str(fleet.context.settings.data_dir)]
    engine = {"HADAPT_ENGINE": fleet.context.settings.engine}
    ran = CliRunner().invoke(app, [*command, *where], env=engine)
    assert ran.exit_code == 0, ran.output
    made = fleet.client.update(json.loads(ran.stdout)["update_id"])
    assert (made.spec["base_version"], made.spec["classes"]) == (1, ["3", "4"])
    fleet.run(made.job_id)
    with fleet.context.database.read() as unit:
        line = ancestors(unit, model, 4)
    assert [a.version for a in line] == [4, 1]
    assert line[0].new_classes == ["3", "4"]
    assert len(line[0].samples) == 19 and used[0] not in line[0].samples
    again = http.post(f"/api/v1/withdrawals/{done['id']}/rebuild")
    assert again.status_code == 409, "the newest version is clean"
    assert http.post(f"/api/v1/withdrawals/{'0' * 32}/rebuild").status_code == 404
    rows = http.get("/api/v1/audit", params={"limit": 200}).json()["items"]
    assert "samples.rebuild" in [r["action"] for r in rows]


def test_withdrawal_of_a_sample_a_class_and_a_base_class(fleet: Fleet) -> None:
    http, model = fleet.http, accepted_version(fleet)

    def withdraw(kind: str, subject: str) -> Any:
        body = {"model_id": model, "kind": kind, "subject": subject}
        return http.post("/api/v1/withdrawals", json=body)

    sample = http.get(f"/api/v1/models/{model}/samples").json()["items"][0]["content_sha256"]
    assert withdraw("sample", sample).json()["samples"] == 1
    found = withdraw("class", "3").json()
    assert (found["samples"], found["rebuild_from"], found["versions"]) == (9, 1, [2])
    assert withdraw("class", "0").status_code == 409
    assert withdraw("class", "nine").status_code == 404
    assert withdraw("sample", "0" * 64).status_code == 404
    rows = http.get("/api/v1/audit", params={"limit": 200}).json()["items"]
    assert [r["action"] for r in rows].count("samples.withdraw") >= 2
