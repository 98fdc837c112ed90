// SPDX-License-Identifier: Apache-2.0
// Devices, and what the delivery protocol knows of them.

import { get, list, optional } from "./api.js";
import { cards, el, link, paged, short, table, when } from "./dom.js";

const boardColumns = [
  ["Name", (d) => link(`devices/${d.id}`, d.name)],
  ["Board", (d) => d.board],
  ["Model", (d) => link(`models/${d.model_id}`, "open")],
  ["Registered", (d) => when(d.created_at)],
];

export async function devices() {
  const listing = await paged((cursor) => list("/devices", cursor), (rows) => table("Devices", boardColumns, rows));
  const targets = await optional("/targets");
  const fleet = targets && [el("h2", {}, "Devices that pull updates"),
    await paged((cursor) => list("/targets", cursor), (rows) => table("Devices that pull updates", [
      ["Controller", (t) => t.controller_id],
      ["Version", (t) => t.version, "number"],
      ["State hash", (t) => short(t.state_hash)],
      ["Takes", (t) => t.form],
      ["Last seen", (t) => when(t.polled_at)],
    ], rows))];
  return el("section", {}, el("h1", {}, "Devices"), listing, fleet);
}

export async function device(id) {
  const one = await get(`/devices/${id}`);
  const samples = await paged((cursor) => list(`/devices/${id}/samples`, cursor), (rows) => table("Its samples", [
    ["Class", (s) => s.label], ["Split", (s) => s.split], ["Taken in", (s) => when(s.created_at)],
    ["Digest", (s) => short(s.content_sha256)],
  ], rows));
  return el("section", {}, el("h1", {}, one.name), cards([["board", one.board], ["registered", when(one.created_at)]]),
    el("p", {}, link(`models/${one.model_id}`, "Its model")), samples);
}
