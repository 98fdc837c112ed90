# SPDX-License-Identifier: Apache-2.0
"""Lineage over the whole service: classes, samples, contributors, two devices compared."""

from typing import Any

from tests.api.fleet import add_device, roll_out, sign
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
