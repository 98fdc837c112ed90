// SPDX-License-Identifier: Apache-2.0
// A client written from docs/reference/api.md alone: node client.mjs URL KEY FOLDER
// FOLDER holds model.onnx and calibration.npz. Prints what it saw as one JSON object.

import { createHash, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

const [base, key, folder] = process.argv.slice(2);

class Problem extends Error {
  constructor(status, document) {
    super(document.detail);
    Object.assign(this, { status, document });
  }
}

async function call(method, path, { body, headers = {}, once } = {}) {
  const all = { Authorization: `Bearer ${key}`, ...headers };
  if (once) all["Idempotency-Key"] = once;
  if (body !== undefined && !(body instanceof FormData) && !all["Content-Type"]) {
    all["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  for (let attempt = 0; ; attempt += 1) {
    const answer = await fetch(base + path, { method, headers: all, body });
    if ([429, 503].includes(answer.status) && attempt < 20) {
      const seconds = Number(answer.headers.get("Retry-After") ?? 0.5);
      await new Promise((done) => setTimeout(done, 1000 * seconds));
      continue;
    }
    if (answer.status >= 400) {
      if (!answer.headers.get("Content-Type").startsWith("application/problem+json")) {
        throw new Error(`${answer.status} is no problem document`);
      }
      throw new Problem(answer.status, await answer.json());
    }
    return answer;
  }
}

const get = async (path) => (await call("GET", path)).json();
const post = async (path, body, once = randomUUID()) => (await call("POST", path, { body, once })).json();

async function* items(path) {
  let cursor = null;
  do {
    const query = new URLSearchParams({ limit: "7", ...(cursor ? { cursor } : {}) });
    const page = await get(`${path}?${query}`);
    yield* page.items;
    cursor = page.next_cursor;
  } while (cursor !== null);
}

// Server-sent events of a job until it ends; returns their kinds and the last state.
async function follow(jobId) {
  const answer = await call("GET", `/api/v1/jobs/${jobId}/events`, { headers: { Accept: "text/event-stream" } });
  const kinds = [];
  let state = null;
  let rest = "";
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + chunk.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => [
        line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
      if (!fields.event) continue;
      kinds.push(fields.event);
      if (fields.event === "state") state = JSON.parse(fields.data).state;
    }
  }
  return { kinds, state };
}

async function refusal(attempt) {
  try {
    await attempt();
  } catch (problem) {
    if (problem instanceof Problem) return { status: problem.status, ...problem.document };
    throw problem;
  }
  throw new Error("what is wrong was taken");
}

const near = (centre, i) => centre.map((value, axis) => value + 0.1 * Math.sin(3 * i + axis));
const samples = (centre, label, count, from = 0) =>
  Array.from({ length: count }, (_, i) => ({ features: near(centre, from + i), label }));

const form = new FormData();
form.set("name", "from node");
form.set("onnx", new Blob([await readFile(join(folder, "model.onnx"))]), "model.onnx");
form.set("calibration", new Blob([await readFile(join(folder, "calibration.npz"))]), "calibration.npz");
const made = await (await call("POST", "/api/v1/models", { body: form, once: randomUUID() })).json();
const imported = await follow(made.job_id);
const model = await get(`/api/v1/models/${made.id}`);

const batch = { samples: samples([0, 0, 0, 4], "wave", 10) };
const once = randomUUID();
const stored = await post(`/api/v1/models/${model.id}/samples`, batch, once);
const repeated = await post(`/api/v1/models/${model.id}/samples`, batch, once);
const again = await post(`/api/v1/models/${model.id}/samples`, batch);
const held = { split: "test", samples: [
  ...samples([4, 0, 0, 0], 0, 5), ...samples([0, 4, 0, 0], 1, 5), ...samples([0, 0, 4, 0], 2, 5),
  ...samples([0, 0, 0, 4], "wave", 5, 50)] };
await post(`/api/v1/models/${model.id}/samples`, held);
const listed = [];
for await (const sample of items(`/api/v1/models/${model.id}/samples`)) listed.push(sample.label);

const update = await post("/api/v1/updates", {
  model_id: model.id, method: "replay", steps: 40, seed: 3, gate: { min_accuracy: 0.1 },
});
const trained = await follow(update.job_id);
const result = await get(`/api/v1/updates/${update.id}`);
const state = await call("GET", `/api/v1/models/${model.id}/versions/${result.version}/state`);
const bytes = Buffer.from(await state.arrayBuffer());

const board = (await get("/api/v1/boards")).find((one) => one.available && one.ram_bytes > 1e5);
const firmware = await post("/api/v1/firmware", { model_id: model.id, board: board.name });
await follow(firmware.job_id);
const zip = Buffer.from(await (await call("GET", `/api/v1/firmware/${firmware.id}/zip`)).arrayBuffer());

const wrong = await refusal(() => post(`/api/v1/models/${model.id}/samples`,
  { samples: [{ features: [1, "x", 3, 4], label: "wave" }] }));
const absent = await refusal(() => get(`/api/v1/models/${"0".repeat(32)}`));
const unknown = await refusal(() => post("/api/v1/updates", { model_id: model.id, stepz: 3 }));

console.log(JSON.stringify({
  model: model.id, ready: model.ready, imported, stored, repeated, again, listed,
  trained, outcome: result.result.outcome, version: result.version,
  state_sha256: createHash("sha256").update(bytes).digest("hex"),
  state_is_named: createHash("sha256").update(bytes).digest("hex") === result.result.state_sha256,
  zip_magic: zip.subarray(0, 2).toString(), wrong, absent, unknown,
}));
