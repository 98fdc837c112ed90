-- SPDX-License-Identifier: Apache-2.0
-- The job engine has a database of its own; this runs once, when the volume is empty.
CREATE DATABASE hadapt_jobs;
