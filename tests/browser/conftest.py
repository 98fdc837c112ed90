# SPDX-License-Identifier: Apache-2.0
"""A service on a real port, and a real Chromium that may reach nothing else."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, Page, Route, sync_playwright

from device.harness.errors import ToolchainMissingError
from server.app import create_app
from server.services import people
from tests.api.fake_engine import FakeEngine
from tests.api.fleet import signing
from tests.api.harness import Service, make_settings

NAME, PASSWORD = "ada", "correct horse battery staple"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@dataclass(frozen=True)
class Site:
    """A served service with two models' worth of history."""

    url: str
    service: Service


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The application behind uvicorn; jobs are run by hand."""
    folder = tmp_path_factory.mktemp("site")
    settings = make_settings(folder / "data", **signing(folder))
    app = create_app(settings, FakeEngine(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    with TestClient(app, raise_server_exceptions=False) as http:
        service = Service(app, http)
        hashed = people.hash_password(PASSWORD)
        with service.context.database.write() as unit:
            people.create_user(unit, NAME, hashed, ["*"], ["*"])
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        yield Site(f"http://127.0.0.1:{port}", service)
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        raise ToolchainMissingError("chromium is missing; get it with `apt install chromium`")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(site: Site, browser: Browser) -> Iterator[Page]:
    """A fresh page; requests to other hosts, script errors and refused resources fail the test."""
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1100, "height": 900}, locale="en-GB")
    one = context.new_page()

    def only_ours(route: Route) -> None:
        if not route.request.url.startswith(site.url):
            faults.append(f"request to {route.request.url}")
            route.abort()
        else:
            route.continue_()

    context.route("**/*", only_ours)
    one.on("pageerror", lambda error: faults.append(f"script error {error}"))
    one.on(
        "console",
        lambda m: faults.append(m.text) if "Content Security Policy" in m.text else None,
    )
    yield one
    context.close()
    assert faults == []


@pytest.fixture(scope="session")
def cookies(site: Site, browser: Browser) -> Any:
    """Cookies of one login: logins are counted, and more than a few a minute are refused."""
    context = browser.new_context()
    body = {"name": NAME, "password": PASSWORD}
    assert context.request.post(f"{site.url}/api/v1/sessions", data=body).ok
    found = context.cookies()
    context.close()
    return found


@pytest.fixture
def person(site: Site, page: Page, cookies: Any) -> Page:
    """A page of somebody who is logged in."""
    page.context.add_cookies(cookies)
    page.goto(f"{site.url}/dashboard/")
    page.get_by_role("heading", name="Models").wait_for()
    return page
