// SPDX-License-Identifier: Apache-2.0
// Small charts as SVG; each says in words what it shows, and no series is told by colour alone.

import { el, svg, bytes, percent } from "./dom.js";

const WIDTH = 640, HEIGHT = 260, LEFT = 58, RIGHT = 12, TOP = 12, BOTTOM = 30;

// The end of a scale of shares: the smallest of 1, 0.5, 0.2, 0.1, 0.05, .. that holds the largest.
function ceiling(largest) {
  const ends = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
  return ends.findLast((end) => end >= largest) ?? 1;
}

// Series: {name, points: [[x, y]]} with y in [0, 1]; `close` draws small shares large.
export function curves(title, unit, series, close = false) {
  const all = series.flatMap((one) => one.points);
  const last = Math.max(1, ...all.map(([x]) => x));
  const px = (x) => LEFT + (x / last) * (WIDTH - LEFT - RIGHT);
  const top = close ? ceiling(Math.max(0, ...all.map(([, y]) => y))) : 1;
  const py = (y) => HEIGHT - BOTTOM - (y / top) * (HEIGHT - TOP - BOTTOM);
  const lines = [0, 0.25, 0.5, 0.75, 1].map((part) => part * top).map((level) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: py(level), y2: py(level) }),
    svg("text", { x: LEFT - 6, y: py(level) + 4, "text-anchor": "end" }, percent(level)),
  ]);
  const drawn = series.map((one, index) => svg("g", { class: `s${index % 3}` },
    svg("polyline", { class: "curve", points: one.points.map(([x, y]) => `${px(x)},${py(y)}`).join(" ") }),
    one.points.map(([x, y]) => svg("circle", { cx: px(x), cy: py(y), r: 3 },
      svg("title", {}, `${one.name}, ${unit} ${x}: ${percent(y)}`)))));
  const words = series.map((one) => {
    const end = one.points[one.points.length - 1];
    return end ? `${one.name} ends at ${percent(end[1])}` : `${one.name} has no points yet`;
  }).join("; ");
  return el("figure", {},
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${words}` },
      lines, drawn,
      svg("text", { x: LEFT, y: HEIGHT - 8 }, `${unit} 0`),
      svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 8, "text-anchor": "end" }, `${unit} ${last}`)),
    el("figcaption", { class: "note" }, title, ". ", words, "."));
}

// How much of a memory is used.
export function gauge(name, used, available) {
  const share = available ? Math.min(1, used / available) : 0;
  const over = used > available;
  return svg("svg", { viewBox: "0 0 640 44", role: "img",
    "aria-label": `${name}: ${bytes(used)} of ${bytes(available)} bytes` },
  svg("text", { x: 0, y: 14 }, `${name}: ${bytes(used)} of ${bytes(available)} bytes, ${percent(used / available)}`),
  svg("rect", { class: over ? "s1" : "s0", x: 0, y: 22, width: 640 * share, height: 16 }),
  svg("rect", { class: "outline", x: 0.5, y: 22.5, width: 639, height: 15 }));
}

// What a whole is made of: parts are [name, size], side by side, each in words in its title.
export function shares(title, whole, parts) {
  let at = 0;
  const drawn = parts.map(([name, size], index) => {
    const width = whole ? (640 * size) / whole : 0;
    const bar = svg("rect", { class: `part s${index % 3}`, x: at, y: 2, width, height: 16 },
      svg("title", {}, `${name}: ${bytes(size)} bytes`));
    at += width;
    return bar;
  });
  const words = parts.map(([name, size]) => `${name} ${bytes(size)}`).join(", ");
  return svg("svg", { viewBox: "0 0 640 20", role: "img", "aria-label": `${title} by use: ${words}` }, drawn);
}

// Rows are true classes, columns predicted ones.
export function confusion(caption, names, counts) {
  const cell = (row, column, n) => el("td", {
    class: `number ${row === column ? "right" : n ? "wrong" : ""}`,
    title: `${names[row]} taken for ${names[column]}: ${n}`,
  }, n);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", {}, caption),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "true \\ predicted"),
        (counts[0] || []).map((_, i) => el("th", { scope: "col", class: "number" }, names[i] ?? i)))),
      el("tbody", {}, counts.map((row, r) => el("tr", {},
        el("th", { scope: "row" }, names[r] ?? r), row.map((n, c) => cell(r, c, n)))))));
}
