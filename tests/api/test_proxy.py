# SPDX-License-Identifier: Apache-2.0
"""The proxy of docker/, outside Docker: a real nginx before the real service."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from server.client import HadaptClient
from tests.api.proxy import Authority, Proxy, proxy_before
from tests.faults.service_process import ServiceProcess, running
from tests.faults.test_service_kill import prepare

POLL = "/DEFAULT/controller/v1/unit-1"
ONCE = (
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "content-security-policy",
)


@dataclass
class Site:
    """Service and proxy, and the token of the device unit-1."""

    service: ServiceProcess
    proxy: Proxy
    token: dict[str, str]
    folder: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with running(folder / "data", HADAPT_TRUSTED_PROXIES="127.0.0.1") as service:
        client = service.client
        device = client.create_device("unit-1", prepare(client), "good")
        key = {"Authorization": f"Bearer {service.key}"}
        made = httpx2.post(
            f"{service.url}/api/v1/targets", json={"device_id": device.id}, headers=key
        )
        token = {"Authorization": f"TargetToken {made.json()['token']}"}
        where = service.url.removeprefix("http://")
        with proxy_before(folder / "proxy", where) as proxy:
            yield Site(service, proxy, token, folder)


def test_plain_http_is_sent_on_to_tls(site: Site) -> None:
    answer = httpx2.get(f"{site.proxy.http}/api/v1/models?limit=1")
    assert answer.status_code == 308
    assert answer.headers["location"] == "https://localhost/api/v1/models?limit=1"


def test_people_and_programs_need_no_certificate(site: Site) -> None:
    with site.proxy.client() as http:
        client = HadaptClient(key=site.service.key, http=http)
        assert [m.name for m in client.models()] == ["m"]


def test_security_headers_are_on_every_answer_once(site: Site) -> None:
    http = site.proxy.client()
    for path in ("/healthz", "/api/v1/models", "/dashboard/"):
        names = [name.lower() for name, _ in http.get(path).headers.multi_items()]
        assert [names.count(name) for name in ONCE] == [1] * len(ONCE), path
    refused = http.get(POLL)
    assert refused.status_code == 403
    assert refused.headers["strict-transport-security"]


def test_device_without_a_certificate_is_refused(site: Site) -> None:
    assert site.proxy.client().get(POLL, headers=site.token).status_code == 403


def test_device_path_cannot_be_disguised(site: Site) -> None:
    http = site.proxy.client()
    for path in (POLL.lower(), POLL.replace("controller", "%63ontroller"), "//x/.." + POLL):
        assert http.get(path, headers=site.token).status_code in (403, 404), path


def test_device_with_its_certificate_polls_over_https(site: Site) -> None:
    http = site.proxy.client(site.proxy.devices.issue("unit-1"))
    answer = http.get(POLL, headers=site.token)
    assert answer.status_code == 200, answer.text
    # The service knows by which name and scheme it was asked.
    assert answer.json()["_links"]["configData"]["href"].startswith(site.proxy.https)
    assert http.get(POLL).status_code == 401, "the certificate does not replace the token"


def test_device_with_the_certificate_of_another_is_refused(site: Site) -> None:
    http = site.proxy.client(site.proxy.devices.issue("unit-2"))
    assert http.get(POLL, headers=site.token).status_code == 403


def test_gateway_may_speak_for_any_device(site: Site) -> None:
    http = site.proxy.client(site.proxy.devices.issue("gateway.hall-3"))
    assert http.get(POLL, headers=site.token).status_code == 200


def test_certificate_of_another_authority_is_refused(site: Site) -> None:
    other = Authority(site.folder, "other-ca").issue("unit-1")
    http = site.proxy.client(other)
    assert http.get(POLL, headers=site.token).status_code in (400, 403)


def test_figures_are_not_shown_outside(site: Site) -> None:
    key = {"Authorization": f"Bearer {site.service.key}"}
    assert httpx2.get(f"{site.service.url}/metrics", headers=key).status_code == 200
    assert site.proxy.client().get("/metrics", headers=key).status_code == 404


def test_one_address_cannot_take_the_proxy(tmp_path: Path) -> None:
    with proxy_before(tmp_path / "p", "127.0.0.1:1", PROXY_RATE="1", PROXY_BURST="3") as proxy:
        http = proxy.client()
        codes = [http.get("/healthz").status_code for _ in range(12)]
    assert codes[0] == 502
    assert codes.count(429) >= 6
