// SPDX-License-Identifier: Apache-2.0
// Elements from data. Text is always set as text, so nothing of a user's can become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

export const el = (name, attributes, ...children) =>
  fill(document.createElement(name), attributes, children);
export const svg = (name, attributes, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);

// Columns: [title, row => cell, "number"?]. Wide tables scroll inside, by keyboard too.
export function table(caption, columns, rows) {
  const head = columns.map(([title, , kind]) => el("th", { scope: "col", class: kind }, title));
  const body = rows.map((row) =>
    el("tr", {}, columns.map(([, cell, kind]) => el("td", { class: kind }, cell(row)))));
  const none = el("tr", {}, el("td", { colspan: columns.length }, "None yet."));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, head)),
      el("tbody", {}, rows.length ? body : none)));
}

// A listing page by page: a table that grows with a button.
export function paged(fetchPage, draw) {
  const holder = el("div");
  const rows = [];
  async function more(cursor) {
    const page = await fetchPage(cursor);
    rows.push(...page.items);
    const next = page.next_cursor &&
      el("button", { type: "button", onclick: () => more(page.next_cursor) }, "More");
    holder.replaceChildren(draw(rows), ...(next ? [next] : []));
  }
  return more(null).then(() => holder);
}

export const cards = (facts) =>
  el("ul", { class: "cards" }, facts.filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => el("li", {}, el("strong", {}, value), el("span", {}, name))));

export const link = (to, text) => el("a", { href: `#/${to}` }, text);
export const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`);
export const bytes = (n) => (n === null || n === undefined ? "–" : n.toLocaleString("en"));
export const when = (time) => (time ? time.replace("T", " ").slice(0, 16) : "–");
export const short = (hex) => (hex ? hex.slice(0, 12) : "–");
