// SPDX-License-Identifier: Apache-2.0
// Rollouts: how far, what came back, and the four things a person may do.

import { get, list, optional, post } from "./api.js";
import { cards, el, link, paged, percent, table, when } from "./dom.js";

const VERBS = [["pause", "Pause"], ["resume", "Resume"], ["abort", "Abort"], ["rollback", "Roll back"]];

export async function rollouts() {
  const there = await optional("/rollouts");
  if (!there) return el("section", {}, el("h1", {}, "Rollouts"), el("p", {}, "Not visible to you."));
  const listing = await paged((cursor) => list("/rollouts", cursor), (rows) => table("Rollouts", [
    ["Made", (r) => link(`rollouts/${r.id}`, when(r.created_at))],
    ["State", (r) => r.state],
    ["Stage", (r) => `${r.stage + 1} of ${r.policy.shares.length}`],
    ["Devices", (r) => r.stages.reduce((n, s) => n + Object.values(s).reduce((a, b) => a + b, 0), 0), "number"],
    ["Stopped because", (r) => r.reasons.join("; ")],
  ], rows));
  return el("section", {}, el("h1", {}, "Rollouts"), listing);
}

// All members, page by page: a stage's mean needs every device of it.
async function everyMember(id) {
  const found = [];
  let cursor = null;
  do {
    const page = await list(`/rollouts/${id}/targets?limit=1000`, cursor);
    found.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return found;
}

const mean = (values) => {
  const known = values.filter((v) => v !== null && v !== undefined);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
};

function stages(one, members) {
  const states = [...new Set(one.stages.flatMap((s) => Object.keys(s)))];
  const rows = one.stages.map((counts, index) => ({
    index, counts, share: one.policy.shares[index], group: members.filter((m) => m.stage === index),
  }));
  return table("Stages", [
    ["Stage", (r) => (r.index ? `${r.index + 1}` : "1, the canary")],
    ["Up to", (r) => percent(r.share), "number"],
    ...states.map((state) => [state, (r) => r.counts[state] || 0, "number"]),
    ["Accuracy before", (r) => percent(mean(r.group.map((m) => m.accuracy_before))), "number"],
    ["after", (r) => percent(mean(r.group.map((m) => m.accuracy_after))), "number"],
    ["Forgetting", (r) => percent(mean(r.group.map((m) => m.forgetting))), "number"],
  ], rows);
}

export async function rollout(id, again) {
  const [one, everyone] = await Promise.all([get(`/rollouts/${id}`), everyMember(id)]);
  const answer = el("p", { role: "status", class: "error" });
  const operate = async (verb) => {
    try {
      await post(`/rollouts/${id}/${verb}`);
      await again();
    } catch (problem) {
      answer.textContent = problem.message;
    }
  };
  const members = await paged((cursor) => list(`/rollouts/${id}/targets`, cursor), (rows) => table("Devices", [
    ["Device", (m) => m.name], ["Stage", (m) => m.stage + 1, "number"], ["State", (m) => m.state],
    ["Before", (m) => percent(m.accuracy_before), "number"],
    ["After", (m) => percent(m.accuracy_after), "number"],
    ["Forgetting", (m) => percent(m.forgetting), "number"],
  ], rows));
  return el("section", {}, el("h1", {}, "Rollout"), cards([["state", one.state],
    ["stage", `${one.stage + 1} of ${one.policy.shares.length}`], ["made", when(one.created_at)]]),
  el("p", {}, link(`models/${one.model_id}`, "Model")),
  el("ul", {}, one.reasons.map((reason) => el("li", {}, reason))),
  el("div", { class: "row" }, VERBS.map(([verb, text]) =>
    el("button", { type: "button", onclick: () => operate(verb) }, text))), answer,
  stages(one, everyone), members);
}
