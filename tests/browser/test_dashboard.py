# SPDX-License-Identifier: Apache-2.0
"""The dashboard as a person uses it, in a real Chromium over HTTP, under its own content policy."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.api.fleet import add_device, roll_out, sign
from tests.api.harness import Service, make_samples
from tests.browser.conftest import NAME, PASSWORD, Site

PHONE = {"width": 375, "height": 740}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def learned(site: Site) -> Iterator[tuple[str, str]]:
    """A model with an accepted update, a device and a device test: (model id, update id)."""
    service: Service = site.service
    model = service.ready_model("greenhouse")
    service.send(model.id, 0, 1, 2, 3, split="test")
    service.send(model.id, 3)
    update = service.client.create_update(model.id, steps=150, gate={"min_accuracy": 0.5})
    service.run(update.job_id)
    service.client.create_device(HOSTILE, model.id, "good")
    yield model.id, update.id


def go(page: Page, site: Site, view: str) -> None:
    """Open a view by its address."""
    page.goto(f"{site.url}/dashboard/#/{view}")
    expect(page.get_by_text("Loading.")).to_have_count(0)


def test_log_in_wrong_password_says_so_and_right_one_opens_models(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill("not this one at all")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("heading", name="Models")).to_have_count(0)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_model_shows_layers_classes_versions(
    site: Site, person: Page, learned: tuple[str, str]
) -> None:
    go(person, site, f"models/{learned[0]}")
    expect(person.get_by_role("heading", name="greenhouse")).to_be_visible()
    classes = person.get_by_role("region", name="Classes and their samples")
    expect(classes.get_by_role("row")).to_have_count(5)
    expect(classes.get_by_role("row").nth(4)).to_contain_text("learned")
    expect(person.get_by_role("region", name="Versions").get_by_role("row")).to_have_count(3)
    expect(person.get_by_role("img", name="Mean accuracy over tasks")).to_be_visible()


def test_update_shows_gate_confusion_and_change_per_class(
    site: Site, person: Page, learned: tuple[str, str]
) -> None:
    go(person, site, f"updates/{learned[1]}")
    expect(person.get_by_text("accepted", exact=True)).to_be_visible()
    after = person.get_by_role("region", name="Confusion after")
    expect(after.get_by_role("row")).to_have_count(5)
    change = person.get_by_role("region", name="Accuracy a class")
    expect(change.get_by_role("row")).to_have_count(5)


def test_training_curve_grows_while_the_job_runs(
    site: Site, person: Page, learned: tuple[str, str]
) -> None:
    service = site.service
    service.send(learned[0], 4)
    service.send(learned[0], 4, split="test")
    update = service.client.create_update(learned[0], steps=200)
    go(person, site, f"updates/{update.id}")
    expect(person.get_by_text("queued", exact=True)).to_be_visible()
    service.run(update.job_id)
    expect(person.get_by_text("succeeded", exact=True)).to_be_visible(timeout=15_000)
    expect(person.get_by_role("heading", name="Gate")).to_be_visible()
    expect(person.locator("#training circle").first).to_be_attached()


def test_saturation_is_drawn_while_the_job_runs_and_told_layer_by_layer(
    site: Site, person: Page, learned: tuple[str, str]
) -> None:
    service = site.service
    update = service.client.create_update(learned[0], steps=150, selection={"classes": ["3"]})
    go(person, site, f"updates/{update.id}")
    expect(person.get_by_text("queued", exact=True)).to_be_visible()
    service.run(update.job_id)
    log = service.client.job_log(update.job_id)
    told = [e.data["metrics"] for e in log if e.data.get("metrics")]
    expect(person.locator("#saturation circle")).to_have_count(len(told))
    share = f"{100 * told[-1]['saturated_forward']:.1f} %"
    assert told[-1]["saturated_forward"] > 0
    chart = person.get_by_role("img", name="Saturated tiles")
    expect(chart).to_have_attribute("aria-label", re.compile(f"forward ends at {share}"))
    layer = person.get_by_role("region", name="Saturation a layer, step 150").get_by_role("row")
    expect(layer.nth(1)).to_contain_text("head")
    expect(layer.nth(1)).to_contain_text(share)


def test_outliers_and_missing_classes_are_named(
    site: Site, person: Page, learned: tuple[str, str]
) -> None:
    service = site.service
    model = service.ready_model("odd samples")
    service.send(model.id, 0, 1, count=12)
    service.send(model.id, 0, split="test")
    wrong, _ = make_samples(1, 1, seed=5)
    service.client.send_samples(wrong, [0], model_id=model.id)
    go(person, site, f"models/{model.id}")
    rows = person.get_by_role("region", name="Outliers").get_by_role("row")
    expect(rows).to_have_count(2)
    found = service.client.outliers(model.id).items[0]
    for text in (found.content_sha256[:12], f"{found.score:.1f}", "1: is the label right?"):
        expect(rows.nth(1)).to_contain_text(text)
    classes = person.get_by_role("region", name="Classes and their samples").get_by_role("row")
    expect(classes.nth(2)).to_contain_text("no held-out samples")
    expect(classes.nth(3)).to_contain_text("missing: no samples")


def test_names_of_users_are_text_never_markup(
    site: Site, person: Page, learned: tuple[str, str]
) -> None:
    go(person, site, "devices")
    expect(person.get_by_role("link", name=HOSTILE)).to_be_visible()
    assert person.locator("main img").count() == 0


def test_unknown_resource_is_told_in_words(site: Site, person: Page) -> None:
    go(person, site, f"models/{'0' * 32}")
    expect(person.get_by_role("alert")).to_contain_text("There is no model")


def test_every_section_is_reached_by_keyboard_alone(site: Site, person: Page) -> None:
    for name in ("Updates", "Devices", "Rollouts", "Device tests"):
        person.get_by_role("link", name=name, exact=True).focus()
        person.keyboard.press("Enter")
        expect(person.get_by_role("heading", name=name, level=1)).to_be_visible()
    person.locator("body").press("Tab")


def test_model_shows_memory_map_and_cost_of_each_board(
    site: Site, person: Page, learned: tuple[str, str]
) -> None:
    """The reports are asked for on the page itself, and are there once the job has run."""
    go(person, site, f"models/{learned[0]}")
    person.get_by_role("button", name="Report on every board").click()
    expect(person.get_by_text("Asked for 3 boards")).to_be_visible()
    test = site.service.client.create_device_test(learned[0], ["good"], sample_count=8)
    site.service.run_all()
    result = site.service.client.device_test(test.id).results[0]
    person.reload()
    memory = person.get_by_role("region", name="Memory map of good")
    expect(memory.get_by_role("row").filter(has_text="learned state")).to_contain_text("12")
    expect(memory.get_by_role("row").last).to_contain_text("samples, tables and the rest")
    expect(person.get_by_role("img", name="RAM: 64 of 262,144 bytes").first).to_be_visible()
    cost = person.get_by_role("region", name="Cost a board").get_by_role("row").nth(1)
    expect(cost).to_contain_text(f"{result['instructions']['inference']:,}")
    expect(person.get_by_role("heading", name="tiny")).to_be_visible()
    expect(person.locator("main .error").first).to_be_visible()


def test_rollout_shows_accuracy_by_group_and_stops_and_goes_on(
    site: Site, person: Page, learned: tuple[str, str]
) -> None:
    service, model_id = site.service, learned[0]
    packet = sign(service, model_id)
    base = packet["base_version"]
    devices = [add_device(service, model_id, f"unit-{i}", version=base) for i in range(4)]
    for device in devices:
        device.config(accuracy="0.9")
    rollout = roll_out(service, packet["id"], shares=[0.25, 1.0], min_reports=1)
    # Every device polls: one that was never seen would not be waited for.
    offers = [(device, device.offered()) for device in devices]
    canary, action = next((d, n) for d, n in offers if n is not None)
    told = ("hadapt.accuracy=0.875", "hadapt.forgetting=0.025")
    canary.tell(f"deploymentBase/{action}", "closed", "success", *told)
    go(person, site, f"rollouts/{rollout}")
    stages = person.get_by_role("region", name="Stages").get_by_role("row")
    expect(stages.nth(1)).to_contain_text("the canary")
    for figure in ("90.0 %", "87.5 %", "2.5 %"):
        expect(stages.nth(1)).to_contain_text(figure)
    expect(person.get_by_role("region", name="Devices").get_by_role("row")).to_have_count(5)
    for verb, state in (("Pause", "paused"), ("Resume", "running")):
        person.get_by_role("button", name=verb, exact=True).click()
        expect(person.get_by_role("listitem").filter(has_text="state").first).to_contain_text(state)
        assert service.http.get(f"/api/v1/rollouts/{rollout}").json()["state"] == state
    person.get_by_role("button", name="Abort", exact=True).press("Enter")
    expect(person.get_by_role("listitem").filter(has_text="state").first).to_contain_text("aborted")


@pytest.mark.parametrize("view", ["models", "updates", "devices", "rollouts", "tests"])
def test_phone_page_is_no_wider_than_the_screen(
    site: Site, person: Page, learned: tuple[str, str], view: str
) -> None:
    person.set_viewport_size(PHONE)  # type: ignore[arg-type]
    go(person, site, view)
    wide = person.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"]


def test_screenshots_are_what_the_documentation_shows(
    site: Site, person: Page, learned: tuple[str, str], tmp_path: Path
) -> None:
    """`make screenshots` puts them into docs/images."""
    folder = Path(os.environ.get("HADAPT_SCREENSHOTS", tmp_path))
    for view, name in ((f"models/{learned[0]}", "model"), (f"updates/{learned[1]}", "update")):
        go(person, site, view)
        expect(person.locator("svg").first).to_be_visible()
        picture = person.screenshot(path=folder / f"{name}.png", full_page=True)
        assert len(picture) > 10_000


def test_files_outside_the_dashboard_are_not_served(site: Site, page: Page) -> None:
    for name in ("..%2f..%2fapp.py", "__init__.py", "nothing.js"):
        assert page.request.get(f"{site.url}/dashboard/{name}").status == 404
