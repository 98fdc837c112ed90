// SPDX-License-Identifier: Apache-2.0
// Updates: training as it goes on, and what the gate decided on what grounds.

import { follow, get, list, post } from "./api.js";
import { confusion, curves } from "./charts.js";
import { cards, el, link, paged, percent, short, table, when } from "./dom.js";

export async function updates() {
  const listing = await paged((cursor) => list("/updates", cursor), (rows) => table("Updates", [
    ["Made", (u) => link(`updates/${u.id}`, when(u.created_at))],
    ["Method", (u) => u.method],
    ["From version", (u) => u.base_version, "number"],
    ["State", (u) => u.state],
    ["Gate", (u) => (u.result ? u.result.outcome : "–")],
    ["Accuracy", (u) => (u.result ? percent(u.result.after.accuracy) : "–"), "number"],
    ["Forgetting", (u) => (u.result ? percent(u.result.forgetting) : "–"), "number"],
  ], rows));
  return el("section", {}, el("h1", {}, "Updates"), listing);
}

// Saturation of the newest steps, layer by layer; the method lives or dies there.
const saturation = (layers, step) => table(`Saturation a layer, step ${step}`, [
  ["Layer", (l) => l.name],
  ["Forward", (l) => percent(l.saturated_forward), "number"],
  ["Input gradient", (l) => percent(l.saturated_input_gradient), "number"],
  ["Weight gradient", (l) => percent(l.saturated_weight_gradient), "number"],
  ["Clipped", (l) => percent(l.clipped), "number"],
  ["Weights at their end", (l) => l.masters_saturated, "number"],
], layers);

// Every number in a chunk's metrics that is a share becomes a curve, saturation in a chart of its own.
function training() {
  const learning = el("div", { id: "training" });
  const losing = el("div", { id: "saturation" });
  const series = new Map();
  const message = el("p", { role: "status" });
  const drawn = (saturated) => [...series.values()].filter((s) => s.saturated === saturated).slice(0, 3);
  function add(data) {
    message.textContent = data.message || "";
    const step = data.steps_done;
    const metrics = data.metrics || {};
    for (const [name, value] of Object.entries(metrics)) {
      if (step === undefined || typeof value !== "number" || value < 0 || value > 1) continue;
      if (["clipped", "masters_saturated"].includes(name)) continue;
      const label = name.replaceAll("_", " ");
      if (!series.has(label)) series.set(label, { name: label, points: [], saturated: name.startsWith("saturated_") });
      series.get(label).points.push([step, value]);
    }
    if (drawn(false).length) learning.replaceChildren(curves("Training", "step", drawn(false)));
    if (drawn(true).length) {
      losing.replaceChildren(curves("Saturated tiles", "step", drawn(true), true),
        ...(metrics.layers ? [saturation(metrics.layers, step)] : []));
    }
  }
  return [el("div", {}, message, learning, losing), add];
}

function perClass(before, after) {
  const names = Object.keys(after.per_class);
  const rows = names.map((name) => ({ name, before: before.per_class[name] ?? null, after: after.per_class[name] }));
  const change = (r) => (r.before === null || r.after === null ? "–" :
    `${r.after >= r.before ? "+" : "−"}${(100 * Math.abs(r.after - r.before)).toFixed(1)} points`);
  return table("Accuracy a class", [
    ["Class", (r) => r.name],
    ["Before", (r) => percent(r.before), "number"],
    ["After", (r) => percent(r.after), "number"],
    ["Change", change, "number"],
  ], rows);
}

function verdict(result) {
  const names = Object.keys(result.after.per_class);
  const old = Object.keys(result.before.per_class);
  return [
    el("h2", {}, "Gate"),
    cards([["outcome", result.outcome], ["accuracy", percent(result.after.accuracy)],
      ["forgetting", percent(result.forgetting)], ["largest fall of a class", percent(result.worst_class_drop)],
      ["state hash", short(result.state_hash)]]),
    el("ul", {}, result.reasons.map((reason) => el("li", {}, reason))),
    perClass(result.before, result.after),
    confusion("Confusion before", old, result.before.confusion),
    confusion("Confusion after", names, result.after.confusion),
  ];
}

export async function update(id) {
  const one = await get(`/updates/${id}`);
  const [live, add] = training();
  const result = el("div", {}, one.result ? verdict(one.result) : null);
  const state = el("strong", {}, one.state);
  const cancel = el("button", { type: "button", onclick: () => post(`/jobs/${one.job_id}/cancel`) }, "Cancel");
  cancel.hidden = one.result !== null || !["queued", "running"].includes(one.state);
  const stop = follow(one.job_id, async (kind, data) => {
    if (kind === "progress") return add(data);
    state.textContent = data.state;
    if (!["queued", "running"].includes(data.state)) {
      cancel.hidden = true;
      const ended = await get(`/updates/${id}`);
      if (ended.result) result.replaceChildren(...verdict(ended.result).flat());
    }
  });
  return [el("section", {}, el("h1", {}, `Update by ${one.method}`),
    el("p", {}, link(`models/${one.model_id}`, "Model"), `, from version ${one.base_version}. State: `, state, " ", cancel),
    el("h2", {}, "Training"), live, result), stop];
}
