# SPDX-License-Identifier: Apache-2.0
"""Scopes: what a key or a person may do. A route names one of them, or has another rule."""

from collections.abc import Iterable

from server.errors import InvalidInputError, Issue

ALL = "*"
SCOPES = {
    "models:read": "models, versions, reports, ONNX, state bytes and learned memory",
    "models:write": "upload and delete models, ask for resource reports",
    "samples:read": "samples and class counts",
    "samples:write": "send samples",
    "devices:read": "devices",
    "devices:write": "register devices",
    "updates:read": "updates and their state bytes",
    "updates:write": "start updates",
    "firmware:read": "firmware",
    "firmware:write": "generate firmware",
    "device-tests:read": "device tests",
    "device-tests:write": "run device tests",
    "packets:read": "signed packets and their artifacts",
    "packets:write": "sign packets with the release key",
    "targets:read": "devices that pull updates, gateways",
    "targets:write": "register them, make and revoke their tokens",
    "rollouts:read": "rollouts and their devices",
    "rollouts:write": "start, pause, abort and roll back rollouts",
    "audit:read": "the audit of signing and rollout",
    "jobs:read": "jobs, their log and events",
    "jobs:write": "cancel jobs",
    "metrics:read": "figures for Prometheus",
    "access:read": "keys and people, without their secrets",
    "access:write": "make and revoke keys and people, never beyond the maker's own scopes",
}


def check_scopes(wanted: Iterable[str], own: Iterable[str] = (ALL,)) -> list[str]:
    """Scopes that may be given, sorted.

    Args:
        wanted: names, or "*" for all there are and ever will be.
        own: scopes of who gives them; nobody gives more.
    Raises: InvalidInputError.
    """
    names = sorted(set(wanted))
    known = [*SCOPES, ALL]
    issues = [Issue(f"{n[:60]!r}", "scopes", ", ".join(known)) for n in names if n not in known]
    if not names:
        issues = [Issue("empty", "scopes", "at least one of " + ", ".join(known))]
    held = set(own)
    if not issues and ALL not in held:
        beyond = [n for n in names if n not in held]
        issues = [Issue(f"{n!r}", "scopes", "scopes that you hold yourself") for n in beyond]
    if issues:
        first = issues[0]
        raise InvalidInputError(f"scopes: {first.what}; expected {first.expected}.", issues)
    return names


def holds(own: Iterable[str], name: str) -> bool:
    """True if the scopes include this one."""
    held = set(own)
    return ALL in held or name in held
