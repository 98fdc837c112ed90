# SPDX-License-Identifier: Apache-2.0
"""The API against strangers: schemathesis makes up requests by the OpenAPI description, right and
wrong ones, and holds every answer against the description with all of its checks.

The short form takes few requests an operation; `make api-fuzz` takes HADAPT_API_EXAMPLES.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from server.app import create_app
from server.storage.records import WorkerRecord
from tests.api.conftest import Backend
from tests.api.fake_engine import FakeEngine
from tests.api.fleet import accepted_version, sign, signing
from tests.api.harness import Service, make_settings

EXAMPLES = int(os.environ.get("HADAPT_API_EXAMPLES", "2"))
# What a description cannot say is refused with 422: bytes that are no ONNX, a cursor that is of no
# listing, a board that there is not; with 400 the text field `options` if it is no JSON; and with
# 429 whoever tries to log in again and again.
CONFIG = {
    "checks": {
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "400", "401", "403", "404", "409", "415", "422", "429"]
        }
    }
}


def failures(service: Service, mode: GenerationMode) -> list[str]:
    """What schemathesis finds wrong, operation by operation."""
    config = schemathesis.Config.from_dict(CONFIG)
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.app, config=config)
    headers = {"Authorization": service.http.headers["Authorization"]}
    found, seen = [], 0
    for result in schema.get_all_operations():
        operation = result.ok()
        seen += 1
        show_worker(service)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            case.call_and_validate(headers=headers)

        try:
            ask()
        except BaseExceptionGroup as group:
            found += [f"{operation.label}: {error}" for error in group.exceptions]
        except Unsatisfiable:
            # Nothing can be wrong in a request without parameters.
            assert mode is GenerationMode.NEGATIVE, operation.label
        except Exception as error:
            found.append(f"{operation.label}: {type(error).__name__}: {error}")
    assert seen > 30
    return found


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Service]:
    """A service that can sign, with a model whose version 2 has a packet."""
    folder = tmp_path_factory.mktemp("signed")
    stores = backend.settings(keep=True)
    settings = make_settings(folder / "data", **signing(folder), **stores)
    app = create_app(settings, FakeEngine(settings))
    with TestClient(app, raise_server_exceptions=False) as http:
        service = Service(app, http)
        sign(service, accepted_version(service))
        yield service


def show_worker(service: Service) -> None:
    """A worker that was just seen: the service is ready."""
    with service.context.database.write() as unit:
        unit.workers.delete()
        unit.workers.add(WorkerRecord("w", 1, time.time()))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_made_up_requests_are_answered_as_described(signed: Service, mode: GenerationMode) -> None:
    found = failures(signed, mode)
    assert not found, "\n\n".join(found)
