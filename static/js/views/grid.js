// Every layer × every head as a small picture, all on one canvas; the one under hand enlarged.

import {HUES, paint, palette} from "../lib/color.js";
import {fitCanvas, h, onResize, roving, zoomOf} from "../lib/dom.js";
import {choose, shownHeads, toggle} from "../lib/heads.js";
import {_} from "../lib/language.js";
import {METRIC_NAMES, ROLE_NAMES, definitionOf, metricText, metricsOf, placeName, roleText,
  rolesOf, valuesOf} from "../lib/reading.js";
import {sortable} from "../lib/tables.js";
import {headOf} from "../lib/tensor.js";
import {strokeEnds} from "../lib/training.js";

export const id = "grid";
export const title = _("All heads");

const EDGE = {x: 26, y: 24}; // room for the headings
const BRACKET = 18; // room for the groups that share keys and values
const GAP = 6;
const CAPTION = 30; // under each picture, when the heads are sorted
const PREVIEW = 176;

/** @type {import("../lib/view.js").Mount} */
export function mount(root, emit) {
  const view = {
    ...build(),
    emit,
    frame: null,
    plan: null, // where each head is, in CSS pixels
    at: 0, // which of the plan's heads is under the cursor
    tabled: null // the metrics that the table shows
  };
  listen(view);
  root.append(view.el);
  const stopResize = onResize(view.el, () => view.frame && draw(view));
  return {
    update: (frame) => update(view, frame),
    destroy() {
      stopResize();
      view.el.remove();
    }
  };
}

/** The fixed DOM. */
function build() {
  const canvas = h("canvas", {"aria-hidden": "true"});
  const frames = h("div", {class: "grid-frames", "aria-hidden": "true"});
  const badges = h("div", {class: "grid-frames", "aria-hidden": "true"});
  const cell = h("div", {id: "grid-cell", role: "gridcell", class: "grid-cursor"});
  const row = h("div", {role: "row"}, cell);
  const picture = h("canvas", {"aria-hidden": "true"});
  const caption = h("p", {"aria-live": "polite"});
  const preview = h("div", {class: "grid-preview", hidden: true}, picture, caption);
  const headings = {layer: toolbar("layer"), head: toolbar("head")};
  const groups = h("div", {class: "grid-groups", "aria-hidden": "true"});
  const grid = h("div", {role: "grid", tabindex: "0", "aria-activedescendant": cell.id},
    canvas, frames, badges, row);
  const note = h("p", {class: "note", role: "status"});
  const twin = h("details", {class: "grid-twin"}, h("summary", {}, _("The heads as a table")));
  const el = h("div", {class: "grid"}, groups, headings.layer, headings.head, grid, preview, note,
    twin);
  return {el, groups, headings, grid, canvas, frames, badges, row, cell, preview, picture, caption,
    note,
    twin};
}

function listen(view) {
  const {grid, twin} = view;
  grid.addEventListener("keydown", (event) => step(view, event));
  grid.addEventListener("focus", () => show(view, here(view)));
  grid.addEventListener("blur", () => hide(view));
  grid.addEventListener("pointermove", (event) => point(view, event));
  grid.addEventListener("pointerleave", () => hide(view));
  grid.addEventListener("click", (event) => {
    const i = under(view, event);
    if (i >= 0) take(view, i, event);
  });
  twin.addEventListener("toggle", () => tabulate(view));
}

function update(view, next) {
  const drawn = ["overview", "theme", "metric", "least", "metrics"];
  const isStale = drawn.some((key) => next[key] !== view.frame?.[key]);
  view.frame = next;
  if (isStale) draw(view);
  else mark(view);
  if (view.preview.hidden) name(view, here(view));
  else show(view, view.at);
  tabulate(view);
}

/** The grid's numbers as text: a row for each head. */
function tabulate(view) {
  const {twin, frame: {metrics}} = view;
  if (!twin.open || !metrics || view.tabled === metrics) return;
  view.tabled = metrics;
  const names = Object.keys(metrics.metrics);
  const rows = metrics.layers.flatMap((layer, l) => metrics.heads.map((head, k) =>
    [placeName(layer, head), ...names.map((metric) => metrics.metrics[metric][l][k])]));
  const columns = names.map((metric) => [METRIC_NAMES[metric], 3]);
  const table = sortable({caption: _("Every head by every metric"),
    columns: [[_("Head")], ...columns], rows});
  twin.replaceChildren(twin.firstChild, h("div", {class: "grid-table", tabindex: "0",
    role: "group", "aria-label": _("Every head by every metric")}, table));
}

/** The chosen head's place in the plan. */
const here = ({plan, frame: {layer, head}}) => Math.max(0, plan.cells.findIndex(isAt(layer, head)));

// Drawing.

function draw(view) {
  const {el, grid, note, frame: {overview, metrics, metric, least}} = view;
  const ranked = ranking(overview, valuesOf(metrics, metric), least);
  const plan = layout(overview, ranked, el.clientWidth, metric !== "");
  view.plan = plan;
  drawPictures(view);
  const {layers: {length: L}, heads: {length: H}} = overview;
  placeHeadings(view);
  placeGroups(view);
  grid.setAttribute("aria-label",
    _("All heads: {L} layers by {H} heads. Arrow keys, then Enter.", {L, H}));
  grid.setAttribute("aria-rowcount", Math.ceil(plan.cells.length / plan.columns));
  grid.setAttribute("aria-colcount", plan.columns);
  note.textContent = explain(view);
  mark(view);
  placeBadges(view);
}

/** The short name of each head that has one, on its picture. */
function placeBadges({badges, plan, frame: {metrics}}) {
  badges.replaceChildren(...plan.cells.flatMap(({layer, head, x, y}) => {
    const [role] = rolesOf(metrics, layer, head);
    if (!role) return [];
    const el = h("span", {class: "grid-badge", "data-role": role.role}, ROLE_NAMES[role.role][1]);
    el.style.transform = `translate(${x}px, ${y}px)`;
    return [el];
  }));
  for (const el of badges.children) el.classList.toggle("dot", el.offsetWidth > plan.cellWidth);
}

function drawPictures({canvas, plan, frame: {overview, metrics, metric, theme}}) {
  const ratio = fitCanvas(canvas, plan.width, plan.height);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const shades = palette(theme);
  const size = [plan.cellWidth, plan.cellHeight].map((length) => Math.round(length * ratio));
  const image = context.createImageData(...size);
  const color = getComputedStyle(canvas).getPropertyValue("--alert");
  const [width, height] = size;
  for (const {layer, head, ...place} of plan.cells) {
    const [x, y] = [place.x, place.y].map((length) => Math.round(length * ratio));
    paint(image, headOf(overview, layer, head), shades);
    context.putImageData(image, x, y);
    strokeEnds(context, overview, {x, y, width, height}, color);
  }
  context.setLineDash([]);
  if (valuesOf(metrics, metric)) captions(context, ratio, plan, metric);
}

function explain({plan, frame: {metric, overview}}) {
  const all = overview.layers.length * overview.heads.length;
  const [n, name] = [plan.cells.length, METRIC_NAMES[metric]];
  return metric
    ? _("Sorted by {name}, most first; {n} of {all} heads.", {name, n, all})
    : _("Rows are layers, columns heads; inside a head, rows are queries, columns keys.");
}

/** A heading for each layer and each head: a button that shows all of its heads. */
function placeHeadings(view) {
  const {headings, plan, frame: {metric, overview}} = view;
  for (const [axis, indices] of [["layer", overview.layers], ["head", overview.heads]]) {
    const list = headings[axis];
    list.hidden = metric !== "";
    while (list.children.length > indices.length) list.lastChild.remove();
    for (const [i, index] of indices.entries()) {
      const button = list.children[i] ?? list.appendChild(heading(view, axis, index));
      const text = headingText(overview, axis, index);
      if (button.title !== text) {
        button.title = text;
        button.setAttribute("aria-label", text);
      }
      const {x, y} = plan.cells[axis === "layer" ? i * plan.columns : i] ?? plan.cells[0];
      const place = axis === "layer" ? [0, y, EDGE.x, plan.cellHeight]
        : [x, plan.top - EDGE.y, plan.cellWidth, EDGE.y];
      setBox(button, ...place);
    }
    if (!list.querySelector("[tabindex='0']") && list.firstChild) list.firstChild.tabIndex = 0;
  }
}

const heading = (view, axis, index) => h("button", {type: "button", tabindex: "-1",
  onclick: () => chooseAll(view, axis, index)}, `${index}`);

function headingText(overview, axis, index) {
  const values = {index, group: groupOf(overview, index)};
  const ofHead = isGrouped(overview)
    ? _("head {index} of all layers, keys and values of group {group}", values)
    : _("head {index} of all layers", values);
  return axis === "layer" ? _("all heads of layer {index}", values) : ofHead;
}

/** Every head of a layer, or of an index in all layers; the chosen one stays first. */
function chooseAll({emit, frame: {overview: {layers, heads}, layer, head}}, axis, index) {
  const first = axis === "layer" ? [index, head] : [layer, index];
  const every = axis === "layer" ? heads.map((k) => [index, k]) : layers.map((l) => [l, index]);
  const others = every.filter(([l, k]) => l !== first[0] || k !== first[1]);
  emit({...choose([first, ...others]), view: "lines", reduce: "none"});
}

/** A bracket over the heads that share their keys and values. */
function placeGroups({groups, plan, frame: {metric, overview}}) {
  const {heads, nKvHead} = overview;
  groups.hidden = metric !== "" || !isGrouped(overview);
  const size = heads.length / nKvHead;
  const n = groups.hidden ? 0 : nKvHead;
  groups.replaceChildren(...Array.from({length: n}, (none, group) => {
    const [first, last] = [plan.cells[group * size], plan.cells[(group + 1) * size - 1]];
    const el = h("span", {}, _("kv {group}", {group}));
    setBox(el, first.x, 0, last.x + plan.cellWidth - first.x, BRACKET - 2);
    return el;
  }));
}

/** A frame around each head that is shown, in its colour where there are several. */
function mark({frames, plan, frame}) {
  const shown = shownHeads(frame).filter(([l, k]) => plan.cells.some(isAt(l, k)));
  while (frames.children.length > shown.length) frames.lastChild.remove();
  for (const [i, [layer, head]] of shown.entries()) {
    const box = frames.children[i] ?? frames.appendChild(h("div", {class: "grid-chosen"}));
    const {x, y} = plan.cells.find(isAt(layer, head));
    setBox(box, x, y, plan.cellWidth, plan.cellHeight);
    const color = frame.shown.length > 1 ? HUES[frame.theme][i] : "";
    if (box.style.outlineColor !== color) box.style.outlineColor = color;
  }
}

// The head under the cursor.

/** What a screen reader finds in the grid: the head under the cursor. */
function name(view, i) {
  const {row, cell, plan, frame} = view;
  view.at = Math.min(i, plan.cells.length - 1);
  cell.hidden = view.at < 0;
  if (view.at < 0) return;
  const {layer, head, x, y} = plan.cells[view.at];
  const isShown = shownHeads(frame).some(([l, k]) => l === layer && k === head);
  row.setAttribute("aria-rowindex", Math.floor(view.at / plan.columns) + 1);
  cell.setAttribute("aria-colindex", (view.at % plan.columns) + 1);
  cell.setAttribute("aria-selected", isShown);
  const values = {layer, head};
  cell.setAttribute("aria-label", isShown ? _("layer {layer}, head {head}, chosen", values)
    : _("layer {layer}, head {head}", values));
  view.caption.replaceChildren(...captionOf(frame, layer, head));
  setBox(cell, x, y, plan.cellWidth, plan.cellHeight);
}

/** A head's name, the group it shares keys and values with, and its numbers. */
function captionOf({metrics, overview}, layer, head) {
  const numbers = (metrics ? metricsOf(metrics, layer, head) : [])
    .map(([metric, text]) => h("span", definitionOf(metrics, metric),
      `${METRIC_NAMES[metric]} `, h("b", {}, text)));
  const roles = rolesOf(metrics, layer, head).map((role) => {
    const {text, title} = roleText(role, metrics.roleDefinitions);
    return h("span", {class: "badge"}, `${text} (${title})`);
  });
  const group = groupOf(overview, head);
  const shares = isGrouped(overview)
    ? [h("span", {}, _("keys and values of group {group}", {group}))] : [];
  return [h("strong", {}, placeName(layer, head)), ...roles, ...shares, ...numbers];
}

function show(view, i) {
  name(view, i);
  if (view.at < 0) return;
  const {preview, cell, picture, grid, plan, frame: {overview, theme}} = view;
  const {layer, head} = plan.cells[view.at];
  preview.hidden = false;
  cell.classList.add("shown");
  const [, , n, m] = overview.attn.shape;
  const scale = PREVIEW / Math.max(n, m);
  fitCanvas(picture, Math.round(m * scale), Math.round(n * scale));
  const context = picture.getContext("2d");
  const image = context.createImageData(picture.width, picture.height);
  paint(image, headOf(overview, layer, head), palette(theme));
  context.putImageData(image, 0, 0);
  placeBeside(preview, plan.cells[view.at], plan, grid.offsetTop);
}

function hide(view) {
  const {grid, preview, cell} = view;
  if (grid.matches(":focus-visible")) return;
  preview.hidden = true;
  cell.classList.remove("shown");
  name(view, here(view));
}

/** The head at a pointer's place; -1 between heads. */
function under({grid, plan}, {clientX, clientY}) {
  const {left, top} = grid.getBoundingClientRect();
  const zoom = zoomOf(grid);
  return plan.find((clientX - left) / zoom, (clientY - top) / zoom);
}

function point(view, event) {
  const i = under(view, event);
  if (i < 0) hide(view);
  else if (view.preview.hidden || i !== view.at) show(view, i);
}

/** With Ctrl, Shift or the button "several", beside the others; else alone. */
function take({emit, plan, frame}, i, {ctrlKey, metaKey, shiftKey}) {
  const {layer, head} = plan.cells[i];
  const isBeside = frame.several || ctrlKey || metaKey || shiftKey;
  if (isBeside) emit({...toggle(frame, [layer, head]), view: "lines", reduce: "none"});
  else emit({layer, head, heads: "", reduce: "none"});
}

function step(view, event) {
  const {at, plan: {cells: {length: n}, columns}} = view;
  const moves = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns};
  if (event.key === "Enter" || event.key === " ") take(view, at, event);
  else if (event.key in moves) {
    const to = at + moves[event.key];
    const sameRow = Math.floor(to / columns) === Math.floor(at / columns);
    const across = event.key === "ArrowLeft" || event.key === "ArrowRight";
    show(view, to >= 0 && to < n && (sameRow || !across) ? to : at);
  } else return;
  event.preventDefault();
}

const isAt = (layer, head) => (cell) => cell.layer === layer && cell.head === head;

/** Whether several query heads share the keys and values of one group. */
const isGrouped = ({heads, nKvHead}) => nKvHead < heads.length && heads.length % nKvHead === 0;
const groupOf = ({heads, nKvHead}, head) => Math.floor(head / (heads.length / nKvHead));

/** One stop of the Tab key; arrows move inside. */
function toolbar(axis) {
  const name = axis === "layer" ? _("Layers") : _("Heads");
  return h("div", {class: `grid-headings ${axis}`, role: "toolbar", "aria-label": name,
    onkeydown: roving});
}

function setBox(el, x, y, width, height) {
  el.style.transform = `translate(${x}px, ${y}px)`;
  el.style.width = `${width}px`;
  el.style.height = `${height}px`;
}

/** The heads in the order in which they are drawn: [[layer, head, value], …]. */
function ranking({layers, heads}, values, least) {
  const every = layers.flatMap((layer, l) => heads.map((head, k) => [layer, head, values?.[l][k]]));
  if (!values) return every;
  return every.filter(([, , value]) => value >= least).sort((a, b) => b[2] - a[2]);
}

/** Where each head is, in CSS pixels; a head keeps the shape of its text where that is sane. */
function layout({heads, nKvHead, attn: {shape: [, , n, m]}}, ranked, width, sorted) {
  const columns = heads.length;
  const cellWidth = Math.max(8, Math.floor((width - EDGE.x - 2) / columns) - GAP);
  const cellHeight = Math.round(cellWidth * Math.min(1.5, Math.max(0.5, n / m)));
  const [dx, dy] = [cellWidth + GAP, cellHeight + GAP + (sorted ? CAPTION : 0)];
  const bracket = isGrouped({heads, nKvHead}) ? BRACKET : 0;
  const [left, top] = sorted ? [2, 2] : [EDGE.x, EDGE.y + bracket];
  const cells = ranked.map(([layer, head, value], i) => ({
    layer, head, value, x: left + (i % columns) * dx, y: top + Math.floor(i / columns) * dy
  }));
  return {
    width, height: top + Math.max(1, Math.ceil(cells.length / columns)) * dy, cells, columns, top,
    cellWidth, cellHeight,
    find(x, y) {
      const [r, c] = [Math.floor((y - top) / dy), Math.floor((x - left) / dx)];
      const i = r * columns + c;
      return r >= 0 && c >= 0 && c < columns && i < cells.length ? i : -1;
    }
  };
}

/** Under each picture its layer and head, and its value. */
function captions(context, ratio, {cells, cellWidth, cellHeight}, metric) {
  const style = getComputedStyle(context.canvas);
  context.font = `${10.5 * ratio}px ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const {layer, head, value, x, y} of cells) {
    const [middle, top] = [(x + cellWidth / 2) * ratio, (y + cellHeight + 3) * ratio];
    context.fillText(placeName(layer, head), middle, top);
    context.fillText(metricText(metric, value), middle, top + 12 * ratio);
  }
}

/** Next to the head, inside the grid's width: over it, or under it where there is no room. */
function placeBeside(preview, {x, y}, {width, cellHeight}, offset) {
  const left = Math.max(0, Math.min(x, width - preview.offsetWidth));
  const above = y + offset - preview.offsetHeight - 8;
  const top = above >= 0 ? above : y + offset + cellHeight + 8;
  preview.style.transform = `translate(${left}px, ${top}px)`;
}
