# SPDX-License-Identifier: Apache-2.0
"""Firmware of layout `field` over REST, made by the real engine."""

import io
import re
import zipfile
from pathlib import Path

from fastapi.testclient import TestClient

from server.app import create_app
from server.demo.example import write_example
from server.learning.engine import HadaptEngine
from tests.api.harness import Service, make_settings

BOARD = "mps2-an386"


def test_field_firmware_has_flash_guard_packets_and_signatures(tmp_path: Path) -> None:
    write_example(tmp_path)
    engine = HadaptEngine()
    app = create_app(make_settings(tmp_path / "data"), engine)
    with TestClient(app, raise_server_exceptions=False) as http:
        service = Service(app, http)
        onnx, calib = ((tmp_path / name).read_bytes() for name in ("digits.onnx", "calib.npz"))
        uploaded = service.client.upload_model("digits", onnx, calib)
        service.run(uploaded.job_id)
        made = service.client.create_firmware(uploaded.id, BOARD, layout="field")
        service.run(made.job_id)
        job = service.client.job(made.job_id)
        assert job.state == "succeeded", job.error
        assert service.client.firmware(made.id).layout == "field"
        content = zipfile.ZipFile(io.BytesIO(service.client.firmware_zip(made.id)))
        wrong = service.client.create_firmware(uploaded.id, BOARD, layout="fields")
        service.run(wrong.job_id)
        refused = service.client.job(wrong.job_id).error
    names = content.namelist()
    sources = {Path(name).name for name in names}
    wanted = {"had_packet.c", "had_store.c", "had_guard.c", "had_log.c", "flash_file.c"}
    assert wanted <= sources
    assert any(name.startswith("sodium/") for name in names)
    config = content.read("hadapt_config.h").decode()
    assert re.search(r"#define HAD_FIELD +1", config)
    assert re.search(r"#define HAD_GUARD_SLOTS +32U", config)
    assert "sodium" in content.read("sbom.cdx.json").decode()
    assert refused is not None and "field" in refused.errors[0].expected
