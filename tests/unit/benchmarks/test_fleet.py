# SPDX-License-Identifier: Apache-2.0
"""The short form of benchmarks.fleet: real firmware, a good and a harmful update."""

from pathlib import Path

from benchmarks.fleet import run, table


def test_good_update_reaches_all_and_a_harmful_one_stops_at_the_canary(tmp_path: Path) -> None:
    good, harmful, versions = run(devices=8, qemu=1, folder=tmp_path)
    assert good.state == "finished"
    assert good.held == {versions["2"]: 8}
    assert sum(s.get("installed", 0) for s in good.stages) == 8
    assert harmful.state == "rolled_back"
    canary, *rest = harmful.stages
    assert canary == {"reverted": 1}
    assert [set(stage) for stage in rest] == [{"waiting"}, {"waiting"}]
    assert any(reason.startswith(("forgetting", "fall of accuracy")) for reason in harmful.reasons)
    # Back on the old weights, bit for bit.
    assert harmful.held == {versions["2"]: 8}
    assert "| class 7, poisoned labels | rolled_back |" in table(8, 1, (good, harmful, versions))
