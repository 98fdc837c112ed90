# SPDX-License-Identifier: Apache-2.0
"""What jobs make of a version: firmware, device tests, resource reports."""

from pathlib import Path

from server.errors import ConflictError, InvalidInputError, Issue, NotFoundError, NotReadyError
from server.ids import new_id, utc_text
from server.services.context import Context
from server.services.devices import check_boards
from server.services.jobs import create_job, require_job
from server.services.models import (
    class_names,
    require_model,
    require_ready_model,
    require_version,
)
from server.services.paging import Page, decode_cursor, make_page
from server.storage.ports import Unit
from server.storage.records import (
    DeviceTestRecord,
    FirmwareRecord,
    Json,
    ReportRecord,
    ReportRequestRecord,
)


def create_firmware(
    context: Context,
    unit: Unit,
    model_id: str,
    number: int | None,
    board: str,
    layout: str,
) -> FirmwareRecord:
    """Queue a firmware. Raises: NotFoundError, NotReadyError, InvalidInputError."""
    check_boards(context, [board], host_too=True)
    version = require_version(unit, model_id, number)
    firmware_id = new_id()
    job = create_job(context, unit, "firmware", firmware_id)
    firmware = FirmwareRecord(
        firmware_id, model_id, version.number, board, layout, job.id, utc_text()
    )
    unit.firmware.add(firmware)
    return firmware


def require_firmware(unit: Unit, firmware_id: str) -> FirmwareRecord:
    """Raises: NotFoundError."""
    firmware = unit.firmware.find(id=firmware_id)
    if firmware is None:
        raise NotFoundError(f"There is no firmware {firmware_id}.")
    return firmware


def store_image(
    context: Context, unit: Unit, firmware_id: str, file: Path, sha256: str, size_bytes: int
) -> FirmwareRecord:
    """Keep the binary that somebody built from a firmware's sources.

    Raises: NotFoundError; ConflictError once a packet was signed with another one.
    """
    firmware = require_firmware(unit, firmware_id)
    if firmware.image_sha256 != sha256 and unit.fleet.packets.count(firmware_id=firmware_id):
        issue = Issue("signed already", f"firmware {firmware_id}", "a firmware without packets")
        raise ConflictError("The image of a signed packet cannot be replaced.", [issue])
    context.blobs.put_file(file, sha256)
    unit.firmware.change({"id": firmware_id}, image_sha256=sha256, image_bytes=size_bytes)
    return require_firmware(unit, firmware_id)


def firmware_image(context: Context, firmware_id: str) -> tuple[FirmwareRecord, str]:
    """A firmware and the digest of its binary. Raises: NotFoundError, NotReadyError."""
    with context.database.read() as unit:
        firmware = require_firmware(unit, firmware_id)
    return firmware, require_image(firmware)


def require_image(firmware: FirmwareRecord) -> str:
    """Digest of a firmware's binary. Raises: NotReadyError if it has none."""
    if firmware.image_sha256 is None:
        expected = "layout field and a finished job, or PUT .../image"
        issue = Issue("no image", f"firmware {firmware.id}", expected)
        raise NotReadyError(f"Firmware {firmware.id} has no image.", [issue])
    return firmware.image_sha256


def firmware_zip(context: Context, firmware_id: str) -> tuple[FirmwareRecord, str]:
    """A finished firmware and the digest of its zip. Raises: NotFoundError, NotReadyError."""
    with context.database.read() as unit:
        firmware = require_firmware(unit, firmware_id)
        if firmware.zip_sha256 is None:
            state = require_job(unit, firmware.job_id).state
            issue = Issue(f"job is {state}", f"job {firmware.job_id}", "a job that has succeeded")
            raise NotReadyError(f"Firmware {firmware_id}: its job is {state}.", [issue])
        return firmware, firmware.zip_sha256


def list_firmware(
    context: Context, model_id: str | None, cursor: str | None, limit: int
) -> Page[FirmwareRecord]:
    """Firmware, the newest first."""
    after = decode_cursor(cursor, str)
    where = {} if model_id is None else {"model_id": model_id}
    with context.database.read() as unit:
        found = unit.firmware.page(order="id", after=after, limit=limit + 1, down=True, **where)
    return make_page(found, limit, lambda firmware: firmware.id)


def create_device_test(context: Context, unit: Unit, spec: Json) -> DeviceTestRecord:
    """Queue a test on boards.

    Args:
        spec: model_id, version, boards, sample_count, train_steps, seed.
    Raises: NotFoundError, NotReadyError, InvalidInputError.
    """
    check_boards(context, spec["boards"])
    version = require_version(unit, spec["model_id"], spec["version"])
    names = class_names(unit, version.model_id)
    known = {p for p, name in enumerate(names) if name in version.classes}
    counts = unit.samples.counts(version.model_id)
    tested = any(p in known and split in ("train", "test") and n for p, split, n in counts)
    if version.classes and not tested:  # an inference-only version has no classes
        issue = Issue(
            "no samples",
            f"model {version.model_id}",
            "samples of the version's classes",
        )
        raise InvalidInputError("A device test needs samples of classes it knows.", [issue])
    test_id = new_id()
    job = create_job(context, unit, "device-test", test_id)
    spec = {**spec, "last_seq": unit.samples.last_seq(version.model_id)}
    test = DeviceTestRecord(test_id, version.model_id, version.number, job.id, utc_text(), spec, [])
    unit.device_tests.add(test)
    return test


def require_device_test(unit: Unit, test_id: str) -> DeviceTestRecord:
    """Raises: NotFoundError."""
    test = unit.device_tests.find(id=test_id)
    if test is None:
        raise NotFoundError(f"There is no device test {test_id}.")
    return test


def list_device_tests(
    context: Context, model_id: str | None, cursor: str | None, limit: int
) -> Page[DeviceTestRecord]:
    """Device tests, the newest first."""
    after = decode_cursor(cursor, str)
    where = {} if model_id is None else {"model_id": model_id}
    with context.database.read() as unit:
        found = unit.device_tests.page(order="id", after=after, limit=limit + 1, down=True, **where)
    return make_page(found, limit, lambda test: test.id)


def create_report_request(
    context: Context, unit: Unit, model_id: str, boards: list[str]
) -> ReportRequestRecord:
    """Queue resource reports. Raises: NotFoundError, NotReadyError, InvalidInputError."""
    check_boards(context, boards)
    require_ready_model(unit, model_id)
    request_id = new_id()
    job = create_job(context, unit, "reports", request_id)
    request = ReportRequestRecord(request_id, model_id, job.id, utc_text(), boards)
    unit.report_requests.add(request)
    return request


def list_reports(context: Context, model_id: str) -> list[ReportRecord]:
    """Resource reports of a model, by board name. Raises: NotFoundError."""
    with context.database.read() as unit:
        require_model(unit, model_id)
        return unit.reports.page(order="board", after=None, limit=1000, model_id=model_id)


def get_report(context: Context, model_id: str, board: str) -> ReportRecord:
    """Raises: NotFoundError, also while no report was asked for."""
    with context.database.read() as unit:
        require_model(unit, model_id)
        report = unit.reports.find(model_id=model_id, board=board)
    if report is None:
        hint = Issue("no report", f"board {board[:60]}", "POST to resource-reports first")
        raise NotFoundError(f"Model {model_id} has no report for board {board[:60]}.", [hint])
    return report
