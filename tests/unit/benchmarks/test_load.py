# SPDX-License-Identifier: Apache-2.0
"""The measurement of the service under load: a sample's name, and the tables."""

from pathlib import Path

import numpy as np

from benchmarks.load import report, service
from server.services.samples import content_sha256


def test_sample_is_named_as_the_service_names_it() -> None:
    row = np.zeros(service.FEATURES, dtype=np.float32)
    row[:3] = [7, 0, 4]
    assert service.sample_digest(407) == content_sha256(row.tobytes(), "0")


def test_acknowledged_samples_of_all_threads_are_collected(tmp_path: Path) -> None:
    (tmp_path / "a-0.ids").write_text("3\n5\n")
    (tmp_path / "a-1.ids").write_text("4\n")
    (tmp_path / "b-0.ids").write_text("9\n")
    wanted = {service.sample_digest(n) for n in range(6, 12)}
    assert service.acknowledged(tmp_path, "a", batch=2) == wanted


def test_parts_are_kept_one_by_one(tmp_path: Path) -> None:
    figures = {"what": "poll", "rows": 1000, "p50_ms": 1.5, "p99_ms": 2.5}
    report.keep(
        tmp_path, "growth", [figures, {**figures, "rows": 10, "p50_ms": 1.0}], "--seconds 1"
    )
    soak = {
        "what": "mixed load", "answers": 5, "failed": 1, "rss_mib": {"api": [10.0, 12.0, 11.0]},
        "compared": {"acknowledged": 4, "lost": 1, "doubled": 0, "stored": 3},
    }  # fmt: skip
    report.keep(tmp_path, "soak", [soak], "--soak-s 9")
    polls = {**figures, "clients": 64, "answers_per_s": 7.0, "statuses": {"200": 42}}
    report.keep(tmp_path, "devices@postgresql", [polls], "--seconds 2")
    text = (tmp_path / "load.md").read_text()
    assert "| poll | 1.0 (2.5) | 1.5 (2.5) |" in text
    assert "| api | 10 | 12 | 11 | 11 | 12 |" in text
    assert "4 acknowledged, 1 of them lost" in text
    assert "## Devices that poll, on PostgreSQL" in text
    assert "--part devices --postgresql --seconds 2" in text
    assert "| poll | 64 | 7.0 | - | 1.5 | 2.5 | 200: 42 | - |" in text
