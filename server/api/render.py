# SPDX-License-Identifier: Apache-2.0
"""Records as the API shows them."""

import dataclasses
from collections.abc import Callable
from typing import Any

from server.api import schemas as s
from server.api.common import Item, PageRead
from server.services.context import Context
from server.services.jobs import jobs_by_id, require_job
from server.services.models import class_names
from server.services.paging import Page
from server.storage import records as r
from server.storage.ports import Unit


def _fields(record: Any, *leave_out: str) -> dict[str, Any]:
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return {k: v for k, v in values.items() if k not in leave_out}


def job(record: r.JobRecord) -> s.JobRead:
    """A job."""
    return s.JobRead.model_validate(_fields(record, "dispatched"))


def job_event(record: r.JobEventRecord) -> s.JobEventRead:
    """A line of a job's history."""
    return s.JobEventRead.model_validate(_fields(record, "job_id", "key"))


def model(unit: Unit, record: r.ModelRecord) -> s.ModelRead:
    """A model with its classes."""
    names = class_names(unit, record.id)
    left = None if record.max_classes is None else record.max_classes - len(names)
    ready = record.int_model_sha256 is not None
    return s.ModelRead(**_fields(record), ready=ready, classes=names, classes_left=left)


def version(record: r.VersionRecord) -> s.VersionRead:
    """A version."""
    return s.VersionRead(**_fields(record, "learner_sha256"))


def device(record: r.DeviceRecord) -> s.DeviceRead:
    """A device."""
    return s.DeviceRead(**_fields(record))


def update(record: r.UpdateRecord, state: str) -> s.UpdateRead:
    """An update with its job's state."""
    return s.UpdateRead.model_validate({**_fields(record, "last_seq"), "state": state})


def firmware(record: r.FirmwareRecord, state: str) -> s.FirmwareRead:
    """A firmware with its job's state."""
    return s.FirmwareRead.model_validate({**_fields(record), "state": state})


def device_test(record: r.DeviceTestRecord, state: str) -> s.DeviceTestRead:
    """A device test with its job's state."""
    spec = {k: v for k, v in record.spec.items() if k != "last_seq"}
    values = {**_fields(record), "state": state, "spec": spec}
    return s.DeviceTestRead.model_validate(values)


def report(record: r.ReportRecord) -> s.ReportRead:
    """A resource report."""
    return s.ReportRead.model_validate(_fields(record, "job_id"))


def state_of(unit: Unit, record: Any) -> str:
    """State of the job that makes a resource."""
    return require_job(unit, record.job_id).state


def page_with_states(
    context: Context, page: Page[Any], render: Callable[[Any, str], Item]
) -> PageRead[Item]:
    """A page of resources that jobs make; all states come from one query."""
    with context.database.read() as unit:
        jobs = jobs_by_id(unit, [record.job_id for record in page.items])
    items = [render(record, jobs[record.job_id].state) for record in page.items]
    return PageRead[Any](items=items, next_cursor=page.next_cursor)
