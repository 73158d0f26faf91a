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
  const select = h("select", {onchange: () => emit({query: Number(select.value), side: "query"})});
  const steps = h("p", {class: "anatomy-steps"});
  const own = {q: strip(), z: strip()};
  const top = h("div", {class: "anatomy-top"},
    h("label", {class: "choice"}, `${_("Query")} `, select),
    h("span", {class: "anatomy-own"}, "q ", own.q),
    h("span", {class: "anatomy-own"}, "z ", own.z), steps);
  const columns = {k: strip(), products: strip(), v: strip()};
  const headings = {};
  const body = h("tbody");
  const head = h("tr", {}, ...["key", "k", "products", "dots", "scores", "attn", "v"].map((name) => {
    headings[name] = h("th", {scope: "col"});
    return headings[name];
  }));
  const table = h("table", {class: "numbers"}, h("caption", {class: "sr-only"}, title),
    h("thead", {}, head), body);
  const scroll = h("div", {class: "anatomy-scroll", tabindex: "0", role: "group",
    "aria-label": _("One query token, step by step"), onkeydown: step, onpointermove: point,
    onpointerleave: () => read(null)}, table);
  const said = h("p", {class: "anatomy-said", role: "status"});
  const el = root.appendChild(h("div", {class: "anatomy"}, top, scroll, said));
  let drawn = null; // the frame on screen
  let cell = null; // {k, d} under the keyboard or the pointer

  function update(frame) {
    const {anatomy, theme} = frame;
    if (!anatomy || (drawn?.anatomy === anatomy && drawn.theme === theme)) return;
    const isNew = drawn?.anatomy.kTokens !== anatomy.kTokens;
    drawn = frame;
    if (isNew) cell = null;
    choices(anatomy);
    rows(anatomy);
    paint(anatomy, theme);
    read(cell);
  }

  function choices({qTokens, query}) {
    const names = qTokens.map((token, i) => `${i}  ${label(token)}`);
    const listed = Array.from(select.options, ({textContent}) => textContent);
    if (names.join("\n") !== listed.join("\n")) {
      select.replaceChildren(...names.map((name, value) => h("option", {value}, name)));
    }
    select.value = query;
  }

  function rows({kTokens, dots, scores, attn, mask, score, scale, q, bias, softcap, rotated}) {
    const isDot = score === "dot_product";
    const n = q.data.length;
    const factor = scale.toFixed(3);
    const names = {
      key: _("key"), k: "k", products: isDot ? "q ∘ k" : "v ∘ tanh(q + k)",
      dots: isDot ? "q · k" : _("sum"), scores: isDot ? scoreName({factor, bias, softcap}) : _("score"),
      attn: _("softmax"), v: "v"
    };
    for (const [name, text] of Object.entries(names)) headings[name].textContent = text;
    const usual = Math.abs(scale - n ** -0.5) < 1e-6;
    headings.scores.title = isDot && usual ? `1 / √${n} = ${factor}` : "";
    const dotSteps = usual
      ? _("d = {n}: the products of q and k, summed, times 1/√{n} = {factor}, softmax; z is the sum of the values v by these weights.", {n, factor})
      : _("d = {n}: the products of q and k, summed, times {factor}, this model's own scale, softmax; z is the sum of the values v by these weights.", {n, factor});
    const more = [
      rotated && _("q and k are shown after rotation: that is how they carry their positions."),
      bias && _("A bias for how far apart two tokens are is added to each score."),
      softcap && _("Scores are kept within ±{softcap} by a tanh.", {softcap})
    ];
    steps.textContent = isDot ? [dotSteps, ...more.filter(Boolean)].join(" ")
      : _("d = {n}: v · tanh(q + k), summed, softmax; z is the sum of the encoder's states by these weights.", {n});
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

  /** The strips: each number a cell of colour, on one scale for q, k and v, and one for products. */
  function paint({q, k, products, v, z}, theme) {
    const n = k.shape[0];
    const most = (...tensors) => Math.max(...tensors.map(({data}) =>
      data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-9)));
    const [vectors, product, values] = [most(q, k), most(products), most(v, z)];
    const flat = ({data}) => ({data, shape: [1, data.length]});
    paintStrip(own.q, flat(q), vectors, ROW - 8, theme);
    paintStrip(own.z, flat(z), values, ROW - 8, theme);
    paintStrip(columns.k, k, vectors, ROW * n, theme);
    paintStrip(columns.products, products, product, ROW * n, theme);
    paintStrip(columns.v, v, values, ROW * n, theme);
  }

  /** What is under the pointer or the keyboard: a key, and in a strip a dimension. */
  function read(found) {
    cell = found;
    for (const [k, row] of [...body.children].entries()) row.classList.toggle("active", k === cell?.k);
    const sentence = cell ? describe(drawn.anatomy, cell) : HINT;
    if (said.textContent !== sentence) said.textContent = sentence;
    said.classList.toggle("idle", !cell);
  }

  function point(event) {
    if (!drawn) return;
    const row = event.target.closest("tbody tr");
    const canvas = event.target.closest("canvas");
    if (!row && !canvas) return;
    if (!canvas) return read({k: row.sectionRowIndex, d: null});
    const {left, top: start, width, height} = canvas.getBoundingClientRect();
    const {k: {shape: [n]}, v} = drawn.anatomy;
    const [across, down] = [(event.clientX - left) / width, (event.clientY - start) / height];
    const d = canvas === columns.v ? v.shape[1] : drawn.anatomy.q.data.length;
    return read({k: clamp(Math.floor(down * n), n), d: clamp(Math.floor(across * d), d)});
  }

  function step(event) {
    if (!(event.key in STEPS) || !drawn) return;
    event.preventDefault();
    const {kTokens, q} = drawn.anatomy;
    const [down, across] = cell ? STEPS[event.key] : [0, 0];
    const k = clamp((cell?.k ?? 0) + down, kTokens.length);
    const d = cell?.d === null || !cell ? (across ? 0 : null) : clamp(cell.d + across, q.data.length);
    read({k, d});
    body.children[k].scrollIntoView({block: "nearest"});
  }

  return {update, destroy: () => el.remove()};
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
  const names = {token, dot: minus(dots.data[key].toFixed(3)), attn: attn.data[key].toFixed(3), most};
  return _("{token}: {dot} before the scale, attention {attn}; most from dimensions {most}", names);
}

const minus = (text) => text.replace("-", "−");
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
