# SPDX-License-Identifier: Apache-2.0
"""Figures of the parts as load.json, and all of them as tables in load.md."""

import json
import os
import platform
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HEAD = """# The service under load

`make load` (`python -m benchmarks.load`): wrk over loopback, against `hadapt serve` with one API
process and one worker, SQLite and files, or PostgreSQL and files where it says so, every
acknowledged sample forced to disk (PostgreSQL as it is configured by default). CORES,
shared by wrk, the service and whatever else ran: the load average of the last 15 minutes stands
beside each part, and what a busy machine gives is a lower bound. Statuses are counts of answers.
"""
POSTGRESQL = "@postgresql"
COMMANDS = {
    "samples": "Samples and reads",
    "devices": "Devices that poll",
    "overload": "Too much at once",
    "growth": "Cost beside history",
    "soak": "For long",
}


def keep(folder: Path, part: str, rows: list[Row], options: str) -> None:
    """Replace a part's figures, and write the tables anew."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "load.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    load = os.getloadavg()[2]
    found[part] = {"rows": rows, "load_average": round(load, 1), "options": options}
    path.write_text(json.dumps(found, indent=1) + "\n")
    (folder / "load.md").write_text(text(found))


def text(found: dict[str, Any]) -> str:
    """All tables."""
    cores = f"{os.cpu_count()} cores of {platform.machine()}"
    head = HEAD.replace("CORES", cores)
    tables = {
        "samples": _loads,
        "devices": _loads,
        "overload": _loads,
        "growth": _growth,
        "soak": _soak,
    }
    keys = [f"{name}{store}" for name in tables for store in ("", POSTGRESQL)]
    parts = [
        f"\n## {_title(key)}\n\n`python -m benchmarks.load --part {_options(key)} "
        f"{found[key]['options']}`,\nload average {found[key]['load_average']}."
        f"{found[key].get('note', '')}"
        f"\n\n{tables[key.removesuffix(POSTGRESQL)](found[key]['rows'])}"
        for key in keys
        if key in found
    ]
    return head + "".join(parts)


def _title(key: str) -> str:
    name = key.removesuffix(POSTGRESQL)
    return COMMANDS[name] + (", on PostgreSQL" if key != name else "")


def _options(key: str) -> str:
    return key.replace(POSTGRESQL, " --postgresql")


def _loads(rows: list[Row]) -> str:
    heads = [
        "what",
        "clients",
        "answers/s",
        "samples/s",
        "p50_ms",
        "p99_ms",
        "statuses",
        "Retry-After",
    ]
    lines = ["| " + " | ".join(heads) + " |\n", "| --- " * len(heads) + "|\n"]
    for row in rows:
        told = ", ".join(f"{code}: {n}" for code, n in sorted(row["statuses"].items()))
        cells = (
            row["what"], row["clients"], row["answers_per_s"], row.get("samples_per_s", "-"),
            row["p50_ms"], row["p99_ms"], told, row.get("retry_after", "-"),
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |\n")
    for row in rows:
        lines.append(_compared(row))
        if "seen" in row:
            lines.append(f"\nDevices whose poll was stored at the end: {row['seen']}.\n")
    return "".join(lines)


def _compared(row: Row) -> str:
    if "compared" not in row:
        return ""
    c = row["compared"]
    return (
        f"\nAll samples of this part: {c['acknowledged']} acknowledged, {c['lost']} of them lost, "
        f"{c['doubled']} stored twice;\n{c['stored']} stored (some whose answer wrk no longer "
        "waited for).\n"
    )


def _growth(rows: list[Row]) -> str:
    counts = sorted({row["rows"] for row in rows})
    lines = ["Milliseconds, p50 (p99), one client, beside so many rows of each table.\n\n"]
    lines.append("| what | " + " | ".join(f"{n} rows" for n in counts) + " |\n")
    lines.append("| --- |" + " --- |" * len(counts) + "\n")
    for what in dict.fromkeys(row["what"] for row in rows):
        cells = {r["rows"]: f"{r['p50_ms']} ({r['p99_ms']})" for r in rows if r["what"] == what}
        lines.append(f"| {what} | " + " | ".join(cells.get(n, "-") for n in counts) + " |\n")
    return "".join(lines)


def _soak(rows: list[Row]) -> str:
    row = rows[0]
    lines = [f"{row['what']}: {row['answers']} answers, {row['failed']} of them no success.\n\n"]
    lines.append(
        "| process | MiB at the start | after a third | two thirds | at the end | most |\n"
    )
    lines.append("| --- | --- | --- | --- | --- | --- |\n")
    for kind, values in row["rss_mib"].items():
        picked = [values[0], values[len(values) // 3], values[2 * len(values) // 3], values[-1]]
        cells = [kind, *(f"{v:.0f}" for v in (*picked, max(values)))]
        lines.append("| " + " | ".join(cells) + " |\n")
    lines += [f"\n{_series(kind, values)}\n" for kind, values in row["rss_mib"].items()]
    return "".join(lines) + _compared(row)


def _series(kind: str, values: list[float]) -> str:
    """Resident memory in equal steps of time, at most 21 figures."""
    step = max(1, (len(values) - 1) // 20)
    told = " ".join(f"{value:.0f}" for value in values[::step])
    return f"Series of {kind}, MiB: {told}."
