// One head and one query token taken apart: q and k, their products, the dot product, its scale and
// softmax, the values and the head's output.

import {signedColor} from "../lib/color.js";
import {fitCanvas, h} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {at} from "../lib/tensor.js";
import {label, tokenNode} from "../lib/token.js";

export const id = "anatomy";
export const title = _("Anatomy");

const HINT = _("Point at a cell, or move with the arrow keys, to read its numbers.");
const ROW = 24; // CSS pixels, like the table's rows
const WIDEST = 132; // of a strip
const STEPS = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
const MOST = 4; // dimensions named

/** @type {import("../lib/view.js").Mount} */
export function mount(root, emit) {
  const view = {...build(), drawn: null, // the frame on screen
    cell: null}; // {k, d} under the keyboard or the pointer
  const {el, select, scroll} = view;
  select.addEventListener("change", () => emit({query: Number(select.value), side: "query"}));
  scroll.addEventListener("keydown", (event) => step(view, event));
  scroll.addEventListener("pointermove", (event) => point(view, event));
  scroll.addEventListener("pointerleave", () => read(view, null));
  root.append(el);
  return {update: (frame) => update(view, frame), destroy: () => el.remove()};
}

const COLUMNS = ["key", "k", "products", "dots", "scores", "attn", "v"];

/** The fixed DOM. */
function build() {
  const select = h("select");
  const steps = h("p", {class: "anatomy-steps"});
  const own = {q: strip(), z: strip()};
  const top = h("div", {class: "anatomy-top"},
    h("label", {class: "choice"}, `${_("Query")} `, select),
    h("span", {class: "anatomy-own"}, "q ", own.q),
    h("span", {class: "anatomy-own"}, "z ", own.z), steps);
  const columns = {k: strip(), products: strip(), v: strip()};
  const headings = Object.fromEntries(COLUMNS.map((name) => [name, h("th", {scope: "col"})]));
  const body = h("tbody");
  const table = h("table", {class: "numbers"}, h("caption", {class: "sr-only"}, title),
    h("thead", {}, h("tr", {}, ...Object.values(headings))), body);
  const scroll = h("div", {class: "anatomy-scroll", tabindex: "0", role: "group",
    "aria-label": _("One query token, step by step")}, table);
  const said = h("p", {class: "anatomy-said", role: "status"});
  const el = h("div", {class: "anatomy"}, top, scroll, said);
  return {el, select, steps, own, columns, headings, body, scroll, said};
}

function update(view, frame) {
  const {anatomy, theme} = frame;
  if (!anatomy || (view.drawn?.anatomy === anatomy && view.drawn.theme === theme)) return;
  const isNew = view.drawn?.anatomy.kTokens !== anatomy.kTokens;
  view.drawn = frame;
  if (isNew) view.cell = null;
  choices(view, anatomy);
  rows(view, anatomy);
  paint(view, anatomy, theme);
  read(view, view.cell);
}

function choices(view, {qTokens, query}) {
  const names = qTokens.map((token, i) => `${i}  ${label(token)}`);
  const listed = Array.from(view.select.options, ({textContent}) => textContent);
  if (names.join("\n") !== listed.join("\n")) {
    view.select.replaceChildren(...names.map((name, value) => h("option", {value}, name)));
  }
  view.select.value = query;
}

function rows(view, anatomy) {
  const {body, columns} = view;
  const {kTokens, dots, scores, attn, mask} = anatomy;
  nameColumns(view, anatomy);
  view.steps.textContent = stepsText(anatomy);
  while (body.children.length > kTokens.length) body.lastChild.remove();
  for (const [k, token] of kTokens.entries()) {
    const row = body.children[k] ?? body.appendChild(newRow(k === 0 ? columns : null));
    const [first, dot, scaled, share] = row.querySelectorAll("th, .n");
    first.replaceChildren(tokenNode(token));
    dot.textContent = minus(dots.data[k].toFixed(2));
    scaled.textContent = mask.data[k] ? minus(scores.data[k].toFixed(2)) : "−∞";
    share.textContent = mask.data[k] ? attn.data[k].toFixed(3) : _("masked");
    share.style.setProperty("--attn", mask.data[k] ? attn.data[k] : 0);
    row.classList.toggle("masked", !mask.data[k]);
  }
  for (const cell of body.querySelectorAll("[rowspan]")) cell.rowSpan = kTokens.length;
}

const isDot = ({score}) => score === "dot_product";
const isUsual = ({scale, q}) => Math.abs(scale - q.data.length ** -0.5) < 1e-6; // 1/√d

function nameColumns({headings}, anatomy) {
  const {scale, bias, softcap, q: {data: {length: n}}} = anatomy;
  const factor = scale.toFixed(3);
  const names = isDot(anatomy)
    ? {products: "q ∘ k", dots: "q · k", scores: scoreName({factor, bias, softcap})}
    : {products: "v ∘ tanh(q + k)", dots: _("sum"), scores: _("score")};
  const all = {key: _("key"), k: "k", ...names, attn: _("softmax"), v: "v"};
  for (const [name, text] of Object.entries(all)) headings[name].textContent = text;
  headings.scores.title = isDot(anatomy) && isUsual(anatomy) ? `1 / √${n} = ${factor}` : "";
}

/** What is done to q, k and v, in words. */
function stepsText(anatomy) {
  const {scale, bias, softcap, rotated, q: {data: {length: n}}} = anatomy;
  if (!isDot(anatomy)) {
    return _("d = {n}: v · tanh(q + k), summed, softmax; z is the sum of the encoder's states by these weights.", {n});
  }
  const factor = scale.toFixed(3);
  const steps = isUsual(anatomy)
    ? _("d = {n}: the products of q and k, summed, times 1/√{n} = {factor}, softmax; z is the sum of the values v by these weights.", {n, factor})
    : _("d = {n}: the products of q and k, summed, times {factor}, this model's own scale, softmax; z is the sum of the values v by these weights.", {n, factor});
  const more = [
    rotated && _("q and k are shown after rotation: that is how they carry their positions."),
    bias && _("A bias for how far apart two tokens are is added to each score."),
    softcap && _("Scores are kept within ±{softcap} by a tanh.", {softcap})
  ];
  return [steps, ...more.filter(Boolean)].join(" ");
}

/** The strips: each number a cell of colour, on one scale for q, k and v, and one for products. */
function paint(view, {q, k, products, v, z}, theme) {
  const n = k.shape[0];
  const most = (...tensors) => Math.max(...tensors.map(({data}) =>
    data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-9)));
  const [vectors, product, values] = [most(q, k), most(products), most(v, z)];
  const flat = ({data}) => ({data, shape: [1, data.length]});
  paintStrip(view.own.q, flat(q), vectors, ROW - 8, theme);
  paintStrip(view.own.z, flat(z), values, ROW - 8, theme);
  paintStrip(view.columns.k, k, vectors, ROW * n, theme);
  paintStrip(view.columns.products, products, product, ROW * n, theme);
  paintStrip(view.columns.v, v, values, ROW * n, theme);
}

/** What is under the pointer or the keyboard: a key, and in a strip a dimension. */
function read(view, found) {
  view.cell = found;
  for (const [k, row] of [...view.body.children].entries()) row.classList.toggle("active",
    k === view.cell?.k);
  const sentence = view.cell ? describe(view.drawn.anatomy, view.cell) : HINT;
  if (view.said.textContent !== sentence) view.said.textContent = sentence;
  view.said.classList.toggle("idle", !view.cell);
}

function point(view, event) {
  if (!view.drawn) return;
  const row = event.target.closest("tbody tr");
  const canvas = event.target.closest("canvas");
  if (!row && !canvas) return;
  if (!canvas) return read(view, {k: row.sectionRowIndex, d: null});
  const {left, top: start, width, height} = canvas.getBoundingClientRect();
  const {k: {shape: [n]}, v} = view.drawn.anatomy;
  const [across, down] = [(event.clientX - left) / width, (event.clientY - start) / height];
  const d = canvas === view.columns.v ? v.shape[1] : view.drawn.anatomy.q.data.length;
  return read(view, {k: clamp(Math.floor(down * n), n), d: clamp(Math.floor(across * d), d)});
}

function step(view, event) {
  if (!(event.key in STEPS) || !view.drawn) return;
  event.preventDefault();
  const {kTokens, q} = view.drawn.anatomy;
  const [down, across] = view.cell ? STEPS[event.key] : [0, 0];
  const k = clamp((view.cell?.k ?? 0) + down, kTokens.length);
  const d = view.cell?.d === null || !view.cell ? (across ? 0 : null)
    : clamp(view.cell.d + across, q.data.length);
  read(view, {k, d});
  view.body.children[k].scrollIntoView({block: "nearest"});
}

/** What becomes of a dot product on its way to a score. */
function scoreName({factor, bias, softcap}) {
  const scaled = softcap ? _("× {factor}, capped", {factor}) : `× ${factor}`;
  return bias ? _("{scaled} + bias", {scaled}) : scaled;
}

const clamp = (i, n) => Math.min(n - 1, Math.max(0, i));
const strip = () => h("canvas", {"aria-hidden": "true"});

/** The strips of all rows are one canvas each, in cells that the first row holds for all. */
function newRow(strips) {
  const number = () => h("td", {class: "n"});
  const column = (name) => (strips
    ? [h("td", {rowspan: 1, class: `anatomy-strip ${name}`}, strips[name])] : []);
  return h("tr", {}, h("th", {scope: "row"}), ...column("k"), ...column("products"), number(),
    number(), h("td", {class: "n anatomy-attn"}), ...column("v"));
}

function paintStrip(canvas, {data, shape: [n, d]}, most, height, theme) {
  const cell = Math.max(1, Math.floor(WIDEST / d));
  const width = Math.min(WIDEST, cell * d);
  fitCanvas(canvas, width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(d, n);
  for (const [i, value] of data.entries()) {
    image.data.set([...signedColor(value / most, theme), 255], 4 * i);
  }
  const small = new OffscreenCanvas(d, n);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = d > width;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function describe({q, k, products, dots, kTokens, v, attn, mask, score}, {k: key, d}) {
  const token = label(kTokens[key]);
  if (!mask.data[key]) return _("{token} is masked: the query may not look there", {token});
  if (d !== null && d < products.shape[1]) {
    const there = (tensor) => minus(at(tensor, key).data[d].toFixed(3));
    const names = {token, d, q: minus(q.data[d].toFixed(3)), k: there(k), product: there(products),
      v: d < v.shape[1] ? there(v) : ""};
    return score === "dot_product"
      ? _("{token}, dimension {d}:  q {q} × k {k} = {product}  ·  v {v}", names)
      : _("{token}, dimension {d}:  q {q}, k {k}: {product}  ·  v {v}", names);
  }
  const terms = Array.from(at(products, key).data, (value, i) => ({value, i}));
  terms.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const most = terms.slice(0, MOST).map(({value, i}) => `${i} (${signed(value)})`).join(", ");
  const names = {token, dot: minus(dots.data[key].toFixed(3)), attn: attn.data[key].toFixed(3),
    most};
  return _("{token}: {dot} before the scale, attention {attn}; most from dimensions {most}", names);
}

const minus = (text) => text.replace("-", "−");
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
