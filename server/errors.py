# SPDX-License-Identifier: Apache-2.0
"""Errors of the service. Each one becomes an RFC 9457 problem document of one shape.

    HadaptError
    ├── MalformedRequestError        400  the request cannot be parsed
    ├── UnauthorizedError            401  no valid key or session
    ├── ForbiddenError               403  the key or person may not do this
    ├── NotFoundError                404
    ├── MethodNotAllowedError        405
    ├── ConflictError                409  the resource is in the wrong state
    │   └── NotReadyError            409  a job must finish first
    ├── PayloadTooLargeError         413
    ├── UnsupportedMediaTypeError    415
    ├── InvalidInputError            422  parsed, but wrong
    │   ├── SampleInvalidError       422  names row and column
    │   ├── TooManyClassesError      422  names how many are left
    │   ├── IdempotencyMismatchError 422  same key, other request
    │   └── ModelRejectedError       422  the model cannot be imported
    │       ├── OperatorUnsupportedError  422
    │       └── ModelDoesNotFitError      422
    ├── TooManyRequestsError         429  carries retry_after_s
    ├── InternalError                500
    ├── DeviceFailedError            502  a firmware crashed, hung or refused
    ├── UnavailableError             503
    │   ├── ToolMissingError         503  a compiler or emulator is not installed
    │   └── DatabaseLostError        503  the database does not answer; nothing was stored
    ├── StorageFullError             507  nothing was stored
    └── StorageReadOnlyError         507  the disk refuses to be written; nothing was stored

The job that an error ends keeps the same document in its `error` field.
"""

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

PROBLEM_PREFIX = "urn:hadapt:problem:"
# Of a reader of JSON: no JSON, nested too deeply, an infinite number, or another document.
WRONG_JSON = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong: what it is, where it is, what would be right."""

    what: str
    where: str
    expected: str

    def to_dict(self) -> dict[str, str]:
        """The issue as JSON."""
        return {"what": self.what, "where": self.where, "expected": self.expected}


class HadaptError(Exception):
    """Root of the tree.

    Args:
        detail: one sentence for a person.
        errors: every single issue; empty where the detail says it all.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, errors: Iterable[Issue] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)

    def to_problem(self, instance: str) -> dict[str, Any]:
        """The problem document; `instance` is the path of the request or of the job."""
        return {
            "type": PROBLEM_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "errors": [issue.to_dict() for issue in self.errors],
        }


class MalformedRequestError(HadaptError):
    """The request cannot be parsed."""

    status, code, title = 400, "malformed-request", "The request cannot be parsed"


class UnauthorizedError(HadaptError):
    """The request carries no valid key, session or device token."""

    status, code, title = 401, "unauthorized", "A valid key or session is needed"


class ForbiddenError(HadaptError):
    """Who asks is known, but may not do this."""

    status, code, title = 403, "forbidden", "Not allowed"


class NotFoundError(HadaptError):
    """There is no such resource."""

    status, code, title = 404, "not-found", "No such resource"


class MethodNotAllowedError(HadaptError):
    """The resource does not know this method."""

    status, code, title = 405, "method-not-allowed", "Method not allowed"


class ConflictError(HadaptError):
    """The resource is not in a state that allows this."""

    status, code, title = 409, "conflict", "The state of the resource forbids this"


class NotReadyError(ConflictError):
    """A job has to finish first."""

    code, title = "not-ready", "The resource is not ready yet"


class PayloadTooLargeError(HadaptError):
    """The body is larger than the limit.

    Args:
        limit_bytes: the most that is accepted.
        where: the part of the request that is too large.
    """

    status, code, title = 413, "payload-too-large", "The body is too large"

    def __init__(self, limit_bytes: int, where: str = "body", detail: str | None = None) -> None:
        super().__init__(
            detail or f"The {where} is larger than {limit_bytes} bytes; nothing was stored.",
            [Issue("too large", where, f"at most {limit_bytes} bytes")],
        )


class UnsupportedMediaTypeError(HadaptError):
    """The body has a content type that this route does not take."""

    status, code, title = 415, "unsupported-media-type", "Content type not supported"


class InvalidInputError(HadaptError):
    """The request was understood, but a value in it is wrong."""

    status, code, title = 422, "invalid-input", "A value is wrong"


class SampleInvalidError(InvalidInputError):
    """A sample is wrong; each issue names row and column."""

    code, title = "sample-invalid", "A sample is wrong"


class TooManyClassesError(InvalidInputError):
    """The samples name more new classes than the model has free slots."""

    code, title = "too-many-classes", "No free class slot"


class IdempotencyMismatchError(InvalidInputError):
    """The Idempotency-Key was used before with another request."""

    code, title = "idempotency-mismatch", "Idempotency-Key used for another request"


class ModelRejectedError(InvalidInputError):
    """The ONNX file or its calibration data cannot become an integer model."""

    code, title = "model-rejected", "The model cannot be imported"


class OperatorUnsupportedError(ModelRejectedError):
    """The model uses an operator that is not supported; the issue names node and operator."""

    code, title = "operator-unsupported", "An operator is not supported"


class ModelDoesNotFitError(ModelRejectedError):
    """The model does not fit the board; the issue says by how many bytes and which board fits."""

    code, title = "model-does-not-fit", "The model does not fit the board"


class TooManyRequestsError(HadaptError):
    """The client must wait.

    Args:
        retry_after_s: seconds, sent as Retry-After.
    """

    status, code, title = 429, "too-many-requests", "Too many requests"

    def __init__(self, detail: str, retry_after_s: int, errors: Iterable[Issue] = ()) -> None:
        super().__init__(detail, errors)
        self.retry_after_s = retry_after_s


class InternalError(HadaptError):
    """A fault of the service; the log has the trace under the request id."""


class DeviceFailedError(HadaptError):
    """A firmware crashed, hung or refused a command; the issue carries its last output."""

    status, code, title = 502, "device-failed", "The device failed"


class UnavailableError(HadaptError):
    """Something that the request needs is not there at the moment."""

    status, code, title = 503, "unavailable", "Not available at the moment"


class ToolMissingError(UnavailableError):
    """A compiler or an emulator is not installed."""

    code, title = "tool-missing", "A tool is not installed"


class DatabaseLostError(UnavailableError):
    """The connection to the database was lost; the transaction was not stored, or not answered."""

    code, title = "database-lost", "The database does not answer"


class StorageFullError(HadaptError):
    """The disk is full; nothing of the request was stored."""

    status, code, title = 507, "storage-full", "The disk is full"

    def __init__(
        self, detail: str = "The disk is full; nothing of this request was stored."
    ) -> None:
        super().__init__(detail, [Issue("no space left", "data folder", "free disk space")])


class StorageReadOnlyError(HadaptError):
    """The disk has become read-only, as file systems do after a fault; nothing was stored."""

    status, code, title = 507, "storage-read-only", "The disk cannot be written"

    def __init__(
        self, detail: str = "The disk cannot be written; nothing of this request was stored."
    ) -> None:
        issue = Issue("read-only file system", "data folder", "a disk that can be written")
        super().__init__(detail, [issue])


def tree(root: type[HadaptError] = HadaptError) -> list[type[HadaptError]]:
    """Every class of the tree above, root first; not those that other modules derive."""
    own = [sub for sub in root.__subclasses__() if sub.__module__ == __name__]
    return [root, *(child for sub in own for child in tree(sub))]


_READ_ONLY_TEXTS = (
    "attempt to write a readonly database",
    "Read-only file system",
    "(os error 30)",
    "disk I/O error",
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXTS = ("database or disk is full", "No space left on device", "(os error 28)")


def storage_error(error: BaseException | None) -> HadaptError | None:
    """What this error, or one that caused it, says of the disk: full, not to be written; or None.

    SQLite and the blob store keep no errno, so their message texts are looked at too.
    """
    while error is not None:
        if isinstance(error, StorageFullError | StorageReadOnlyError):
            return error
        number, text = getattr(error, "errno", None), str(error)
        if number in _FULL or any(part in text for part in _FULL_TEXTS):
            return StorageFullError()
        if number == errno.EROFS or any(part in text for part in _READ_ONLY_TEXTS):
            return StorageReadOnlyError()
        error = error.__cause__ or error.__context__
    return None


def from_problem(problem: Mapping[str, Any], retry_after_s: int = 1) -> HadaptError:
    """The typed error that a problem document stands for; unknown types become HadaptError.

    Example:
        >>> from_problem(NotFoundError("no model x").to_problem("/api/v1/models/x"))
        NotFoundError('no model x')
    """
    code = str(problem.get("type", "")).removeprefix(PROBLEM_PREFIX)
    detail = str(problem.get("detail") or problem.get("title") or "unknown error")
    issues = [Issue(e["what"], e["where"], e["expected"]) for e in problem.get("errors", ())]
    kind = next((c for c in tree() if c.code == code), HadaptError)
    if kind in (PayloadTooLargeError, StorageFullError, StorageReadOnlyError):
        error: HadaptError = kind.__new__(kind)
        HadaptError.__init__(error, detail, issues)
        return error
    if kind is TooManyRequestsError:
        return TooManyRequestsError(detail, retry_after_s, issues)
    return kind(detail, issues)
