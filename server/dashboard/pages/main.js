// SPDX-License-Identifier: Apache-2.0
// Which view is shown: the part of the address behind #/. A view returns an element, and may return
// [element, stop] where something goes on in the background.

import * as api from "./api.js";
import { el } from "./dom.js";
import { model, models } from "./models.js";
import { update, updates } from "./updates.js";
import { device, devices } from "./devices.js";
import { rollout, rollouts } from "./rollouts.js";
import { tests } from "./tests.js";

const content = document.getElementById("content");
const sections = document.getElementById("sections");
const status = document.getElementById("status");
const who = document.getElementById("who");
const VIEWS = {
  models: (id) => (id ? model(id) : models()),
  updates: (id) => (id ? update(id) : updates()),
  devices: (id) => (id ? device(id) : devices()),
  rollouts: (id) => (id ? rollout(id, show) : rollouts()),
  tests: () => tests(),
};
let stop = () => {};
let turn = 0;

function complain(problem) {
  const issues = problem.issues || [];
  return el("div", { role: "alert" }, el("p", { class: "error" }, problem.message),
    el("ul", {}, issues.map((i) => el("li", {}, `${i.where}: ${i.what}; expected ${i.expected}`))));
}

function logInView() {
  const name = el("input", { name: "name", autocomplete: "username", required: true });
  const password = el("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const answer = el("div");
  const submit = async (event) => {
    event.preventDefault();
    try {
      await api.logIn(name.value, password.value);
      await show();
    } catch (problem) {
      answer.replaceChildren(complain(problem));
    }
  };
  return el("section", {}, el("h1", {}, "Log in"),
    el("form", { onsubmit: submit }, el("label", {}, "Name", name), el("label", {}, "Password", password),
      el("button", { type: "submit" }, "Log in")), answer,
    el("p", { class: "note" }, "People are made with `hadapt users create`, or by a key with access:write."));
}

async function leave() {
  await api.logOut();
  await show();
}

async function session() {
  try {
    return await api.whoAmI();
  } catch (problem) {
    if (problem.status === 401) return null;
    throw problem;
  }
}

async function build() {
  const person = await session();
  sections.hidden = !person;
  who.replaceChildren(...(person ? [person.name, " ", el("button", { type: "button", onclick: leave }, "Log out")] : []));
  if (!person) return [logInView(), () => {}];
  const [name, id] = (location.hash.slice(2) || "models").split("/");
  for (const entry of sections.children) {
    if (entry.hash === `#/${name}`) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  const view = VIEWS[name] || VIEWS.models;
  const made = await view(id);
  return Array.isArray(made) ? made : [made, () => {}];
}

export async function show() {
  const mine = ++turn;
  stop();
  stop = () => {};
  status.textContent = "Loading.";
  let made;
  try {
    made = await build();
  } catch (problem) {
    made = [complain(problem), () => {}];
  }
  if (mine !== turn) return made[1]();
  stop = made[1];
  content.replaceChildren(made[0]);
  const title = content.querySelector("h1");
  document.title = title ? `${title.textContent} – Hadapt` : "Hadapt";
  status.textContent = "";
}

window.addEventListener("hashchange", () => show().then(() => content.focus()));
show();
