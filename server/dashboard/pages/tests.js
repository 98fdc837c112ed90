// SPDX-License-Identifier: Apache-2.0
// Device tests: firmware in an emulator beside the host build, bit for bit.

import { list } from "./api.js";
import { bytes, el, link, paged, short, table, when } from "./dom.js";

export async function tests() {
  const rows = (found) => found.flatMap((test) =>
    (test.results.length ? test.results : [{}]).map((result) => ({ test, result })));
  const listing = await paged((cursor) => list("/device-tests", cursor), (found) => table("Device tests", [
    ["Made", (r) => when(r.test.created_at)],
    ["Model", (r) => link(`models/${r.test.model_id}`, `version ${r.test.version}`)],
    ["State", (r) => r.test.state],
    ["Board", (r) => r.result.board || "–"],
    ["Bit-exact", (r) => (r.result.bit_exact === undefined ? "–" : r.result.bit_exact ? "yes" : "NO")],
    ["Flash", (r) => bytes(r.result.flash_bytes), "number"],
    ["RAM", (r) => bytes(r.result.ram_bytes), "number"],
    ["Instructions", (r) => Object.entries(r.result.instructions || {}).map(([k, v]) => `${k} ${bytes(v)}`).join(", ") || "–"],
    ["State hash", (r) => short(r.result.state_hash)],
  ], rows(found)));
  return el("section", {}, el("h1", {}, "Device tests"), listing);
}
