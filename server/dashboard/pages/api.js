// SPDX-License-Identifier: Apache-2.0
// The same API as every client's. The session is a cookie; its CSRF token goes with each change.

let csrf = "";

export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `The service answered ${status}.`);
    this.status = status;
    this.issues = document.errors || [];
  }
}

async function request(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") {
    headers["X-CSRF-Token"] = csrf;
    headers["Idempotency-Key"] = crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${Math.random()}`;
  }
  const answer = await fetch(`/api/v1${path}`, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  const document = text && /json/.test(answer.headers.get("content-type") || "") ? JSON.parse(text) : {};
  if (!answer.ok) throw new Problem(answer.status, document);
  return document;
}

export const get = (path) => request("GET", path);
export const post = (path, body) => request("POST", path, body);

// One page of a listing: {items, next_cursor}.
export function list(path, cursor) {
  const mark = path.includes("?") ? "&" : "?";
  return get(cursor ? `${path}${mark}cursor=${encodeURIComponent(cursor)}` : path);
}

// What is asked may be absent in this version or hidden from this person: then null.
export async function optional(path) {
  try {
    return await get(path);
  } catch (problem) {
    if (problem.status === 403 || problem.status === 404) return null;
    throw problem;
  }
}

export async function whoAmI() {
  const session = await get("/sessions/current");
  csrf = session.csrf_token || "";
  return session;
}

export async function logIn(name, password) {
  const session = await request("POST", "/sessions", { name, password });
  csrf = session.csrf_token || "";
  return session;
}

export const logOut = () => post("/sessions/current/end");

// Events of a job until it ends: on(kind, data). Returns a function that stops listening.
export function follow(jobId, on) {
  const source = new EventSource(`/api/v1/jobs/${jobId}/events`);
  for (const kind of ["state", "progress"]) {
    source.addEventListener(kind, (event) => {
      const data = JSON.parse(event.data);
      on(kind, data);
      if (kind === "state" && ["succeeded", "failed", "cancelled"].includes(data.state)) source.close();
    });
  }
  return () => source.close();
}
