// SPDX-License-Identifier: Apache-2.0
// Models: layers, classes with their samples, versions, and what each board makes of them.

import { get, list, optional, post } from "./api.js";
import { curves, gauge, shares } from "./charts.js";
import { bytes, cards, el, link, paged, percent, short, table, when } from "./dom.js";

export async function models() {
  const listing = await paged((cursor) => list("/models", cursor), (rows) => table("Models", [
    ["Name", (m) => link(`models/${m.id}`, m.name)],
    ["State", (m) => (m.ready ? "ready" : "being made")],
    ["Features", (m) => m.feature_count, "number"],
    ["Classes", (m) => m.classes.length, "number"],
    ["Room for", (m) => m.classes_left ?? "–", "number"],
    ["Made", (m) => when(m.created_at)],
  ], rows));
  return el("section", {}, el("h1", {}, "Models"), listing);
}

function layers(report) {
  const frozen = (report.frozen_layers || []).concat(report.front || [])
    .map((layer) => ({ ...layer, kind: "frozen, 8 bits" }));
  const trained = (report.trainable_layers || []).map((layer) => ({ ...layer, kind: "trainable, 4 bits" }));
  return table("Layers", [
    ["Layer", (l) => l.name],
    ["Shape", (l) => (l.shape || []).join(" × ")],
    ["Kind", (l) => l.kind],
  ], frozen.concat(trained));
}

const LACKS = {
  good: "", few: "few samples beside the others", missing: "missing: no samples",
  untested: "no held-out samples: accuracy is unknown", untrained: "no samples to train on",
};

function samples(classes, newest) {
  const known = new Set(newest ? newest.classes : []);
  return table("Classes and their samples", [
    ["Class", (c) => c.name],
    ["Training", (c) => c.train, "number"],
    ["Held out", (c) => c.test, "number"],
    ["State", (c) => (known.has(c.name) ? "learned" : "new")],
    ["Note", (c) => LACKS[c.coverage] ?? c.coverage],
  ], classes);
}

// Samples far from the mean of their class; where another class's mean is nearest, the label may be wrong.
function outliers(found) {
  if (!found) return null;
  return [el("p", { class: "note" }, `Outliers among the newest ${bytes(found.considered)} samples: `,
    "a score of 3 is three times the median distance of its class from the class's mean."),
  table("Outliers", [
    ["Sample", (o) => short(o.content_sha256)],
    ["Class", (o) => o.label],
    ["Score", (o) => o.score.toFixed(1), "number"],
    ["Nearest class", (o) => (o.nearest_class === o.label ? o.label : `${o.nearest_class}: is the label right?`)],
    ["Split", (o) => o.split],
    ["Taken in", (o) => when(o.created_at)],
  ], found.items)];
}

function versions(found) {
  const first = found.filter((v) => v.accuracy && v.accuracy.some((a) => a !== null));
  const mean = (v) => {
    const known = v.accuracy.filter((a) => a !== null);
    return known.reduce((a, b) => a + b, 0) / known.length;
  };
  const points = first.map((v) => [v.number, mean(v)]).sort((a, b) => a[0] - b[0]);
  return [
    points.length > 1 ? curves("Mean accuracy over tasks", "version", [{ name: "accuracy", points }]) : null,
    table("Versions", [
      ["Version", (v) => v.number, "number"],
      ["Made", (v) => when(v.created_at)],
      ["Classes", (v) => v.classes.length, "number"],
      ["Accuracy a task", (v) => v.accuracy.map(percent).join(", ")],
      ["State hash", (v) => short(v.state_hash)],
      ["Update", (v) => (v.update_id ? link(`updates/${v.update_id}`, "open") : "import")],
    ], found),
  ];
}

// What RAM and flash hold, the largest first; what no line names is the rest.
function memoryMap(r) {
  const sizes = r.manifest?.sizes || {};
  const parts = [
    ["learned state, committed and working copy", 2 * (sizes.state_payload_bytes || 0)],
    ["training arena", sizes.arena_bytes || 0],
    ["inference arena", sizes.inference_bytes || 0],
    ["worst stack", r.stack_bytes || 0],
  ].sort((a, b) => b[1] - a[1]);
  const named = parts.reduce((sum, [, size]) => sum + size, 0);
  const rows = named <= r.ram_bytes
    ? parts.concat([["samples, tables and the rest", r.ram_bytes - named]]) : parts;
  return [shares(`RAM of ${r.board || "the board"}`, r.ram_bytes, rows), table(`Memory map of ${r.board || "the board"}`, [
    ["RAM", ([name]) => name],
    ["Bytes", ([, size]) => bytes(size), "number"],
    ["Share", ([, size]) => percent(size / r.ram_bytes), "number"],
  ], rows)];
}

function boards(reports) {
  return reports.map((entry) => {
    if (!entry.report) {
      return el("div", {}, el("h3", {}, entry.board),
        el("p", { class: "error" }, entry.error ? entry.error.detail : "No report."));
    }
    const r = { board: entry.board, ...entry.report };
    return el("div", {}, el("h3", {}, entry.board),
      gauge("RAM", r.ram_bytes, r.ram_available_bytes),
      gauge("Flash", r.flash_bytes, r.flash_available_bytes),
      el("p", { class: "note" }, `Worst stack ${bytes(r.stack_bytes)} bytes. Training arena `,
        `${bytes(r.manifest?.sizes?.arena_bytes)} bytes, lower bound ${bytes(r.manifest?.sizes?.arena_lower_bound_bytes)}.`),
      r.manifest ? memoryMap(r) : null);
  });
}

// Instructions as counted in the newest device test of each board.
function costs(tests) {
  const newest = new Map();
  for (const test of tests) {
    for (const result of test.results) {
      if (!newest.has(result.board)) newest.set(result.board, { test, result });
    }
  }
  return table("Cost a board", [
    ["Board", (r) => r.result.board],
    ["Version", (r) => r.test.version, "number"],
    ["Inference", (r) => bytes(r.result.instructions?.inference), "number"],
    ["Training step", (r) => bytes(r.result.instructions?.training_step), "number"],
    ["Flash", (r) => bytes(r.result.flash_bytes), "number"],
    ["RAM", (r) => bytes(r.result.ram_bytes), "number"],
    ["Bit-exact", (r) => (r.result.bit_exact ? "yes" : "NO")],
  ], [...newest.values()]);
}

async function ask(id, answer) {
  const all = await get("/boards");
  const names = all.filter((b) => b.available).map((b) => b.name);
  try {
    await post(`/models/${id}/resource-reports`, { boards: names });
    answer.textContent = `Asked for ${names.length} boards; look again in a minute.`;
  } catch (problem) {
    answer.textContent = problem.message;
  }
}

export async function model(id) {
  const [one, classes, odd, found, reports, tested] = await Promise.all([
    get(`/models/${id}`), optional(`/models/${id}/classes`),
    optional(`/models/${id}/outliers?limit=20`),
    optional(`/models/${id}/versions`), optional(`/models/${id}/resource-reports`),
    optional(`/device-tests?model_id=${id}&limit=100`)]);
  const newest = found && found.items.reduce((a, b) => (a && a.number > b.number ? a : b), null);
  const report = one.report || {};
  const answer = el("p", { role: "status" });
  return el("section", {}, el("h1", {}, one.name), cards([
    ["classes", one.classes.length], ["classes more", one.classes_left], ["features", one.feature_count],
    ["agreement with float32", report.calibration_agreement === undefined ? null : percent(report.calibration_agreement)],
    ["exemplars", report.exemplars],
  ]),
  one.ready ? null : el("p", {}, "The integer model is being made, or its making failed: see the job ", one.job_id, "."),
  el("h2", {}, "Network"), layers(report),
  el("h2", {}, "Samples"), samples(classes || [], newest), outliers(odd),
  el("h2", {}, "Versions"), versions(found ? found.items : []),
  el("h2", {}, "Boards"), costs(tested ? tested.items : []), boards(reports || []),
  el("button", { type: "button", onclick: () => ask(id, answer) }, "Report on every board"), answer);
}
