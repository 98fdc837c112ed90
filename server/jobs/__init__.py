# SPDX-License-Identifier: Apache-2.0
"""Durable jobs.

`kinds` holds one state machine a kind of job, free of the job engine: a step takes a cursor (small
JSON) and returns the next one, or None at the end. `runner` adds what every kind needs; `worker`
runs it in DBOS, one step of the machine in one durable step; `warden` and `supervisor` keep the
worker process alive and take everything down with it.
"""
