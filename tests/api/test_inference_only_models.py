# SPDX-License-Identifier: Apache-2.0
"""Inference-only models over REST, by the real engine (SPEC.md 17)."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from server.app import create_app
from server.errors import ConflictError, HadaptError
from server.learning.engine import HadaptEngine
from tests.api.harness import Service, make_settings
from tests.suite.networks import NETWORKS, samples

ENTRY = NETWORKS["labels"]


def test_inference_only_model_is_tested_and_delivered_and_does_not_learn(tmp_path: Path) -> None:
    onnx, x = ENTRY.build().SerializeToString(), samples(ENTRY, 40, 1)
    buffer = io.BytesIO()
    np.savez(buffer, x=x)
    calib = buffer.getvalue()
    app = create_app(make_settings(tmp_path / "data"), HadaptEngine())
    with TestClient(app, raise_server_exceptions=False) as http:
        service = Service(app, http)
        client = service.client
        with pytest.raises(HadaptError, match="inference_only"):
            client.upload_model("labels", onnx, calib)
        model = client.upload_model("labels", onnx, calib, {"inference_only": True})
        service.run(model.job_id)
        assert client.job(model.job_id).state == "succeeded", client.job(model.job_id).error
        assert client.model(model.id).classes == []
        with pytest.raises(ConflictError, match="inference-only"):
            client.send_samples(x[:4], [0, 1, 2, 3], model_id=model.id)
        with pytest.raises(ConflictError, match="inference-only"):
            client.create_update(model.id)
        assert [row.kind for row in client.explain(model.id).layers][-1] == "table"
        tested = client.create_device_test(model.id, ["microbit"], sample_count=3)
        service.run(tested.job_id)
        (result,) = client.device_test(tested.id).results
        made = client.create_firmware(model.id, "microbit")
        service.run(made.job_id)
        names = zipfile.ZipFile(io.BytesIO(client.firmware_zip(made.id))).namelist()
    assert result["bit_exact"] is True
    assert "runtime/src/network/had_network.c" in names
    assert not any("learner/" in name for name in names)
