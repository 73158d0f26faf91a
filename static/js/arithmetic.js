// The Arithmetic page: attention's steps, one by one, with numbers that move.

import {anatomy, blocks, cost, gradients, headParts, scaling} from "./api.js";
import {ask, pageData} from "./asking.js";
import {h} from "./dom.js";
import {centred, cosine, dot, gelu, pearson, relu, softmax} from "./formulas.js";
import {_} from "./language.js";
import {curves} from "./plot.js";
import {copyLink, waysOut} from "./summary.js";
import {sortable} from "./tables.js";
import {label} from "./token.js";
import * as url from "./url.js";
import * as anatomyView from "./views/anatomy.js";

const STOPS = new Set("a an the at of on in to and or is are was it he she they his her".split(" "));
const START = {x: [1, 2, -1, 0.5], y: [2, 1, 0, 1]};
const byId = (id) => document.getElementById(id);
const page = pageData();
const form = document.querySelector(".sums");

/** A wish with a layer and a head that are there. */
function fit(wanted) {
  const {nLayer, nHead} = page.models.find(({name}) => name === wanted.model);
  return {...wanted, layer: Math.min(wanted.layer, nLayer - 1), head: Math.min(wanted.head, nHead - 1)};
}

async function answer({model, text, layer, head, word: asked, dK, depth}, options) {
  const spec = {model, text};
  const [widths, parts, block, deep] = await Promise.all([scaling({dK}, options),
    headParts({...spec, layer}, options), blocks(spec, options), gradients({depth}, options)]);
  const word = Math.min(asked, parts.tokens.length - 1);
  const apart = await anatomy({...spec, layer, head, query: word}, options);
  return {word, found: {widths, parts, block, deep, apart}};
}

// Scores: two vectors, by hand.

function vector(name, values, change) {
  const sliders = values.map((value, i) => h("input", {type: "range", min: -3, max: 3, step: 0.1,
    value, "aria-label": _("{name}, dimension {i}", {name, i}),
    oninput: (event) => change(i, event.target.valueAsNumber)}));
  return h("div", {class: "sums-vector"}, name, ...sliders);
}

const hand = {x: [...START.x], y: [...START.y], scores: [2, 1, 0, -1], temperature: 1};

function mountHand() {
  const change = (name) => (i, value) => {
    hand[name][i] = value;
    drawHand();
  };
  byId("vectors").replaceChildren(vector("x", hand.x, change("x")), vector("y", hand.y, change("y")));
  const warm = h("input", {type: "range", min: 0.1, max: 5, step: 0.1, value: 1,
    "aria-label": _("temperature"), oninput: () => {
      hand.temperature = warm.valueAsNumber;
      drawHand();
    }});
  byId("softmax-controls").replaceChildren(vector("s", hand.scores, change("scores")),
    h("label", {class: "choice"}, `${_("temperature")} `, warm));
  drawHand();
}

function drawHand() {
  const {x, y, scores, temperature} = hand;
  const rows = [[_("dot product"), dot(x, y)], [_("dot product / √d"), dot(x, y) / Math.sqrt(x.length)],
    [_("cosine"), cosine(x, y)], [_("Pearson's r"), pearson(x, y)],
    [_("cosine of the centred vectors"), cosine(centred(x), centred(y))]];
  byId("likeness").replaceChildren(sortable({caption: _("x and y of {d} dimensions", {d: x.length}),
    columns: [[_("measure")], [_("value"), 4]], rows}));
  const shares = softmax(scores, temperature);
  byId("softmax").replaceChildren(sortable({
    caption: _("softmax of s at temperature {t}", {t: temperature.toFixed(1)}),
    columns: [[_("key")], [_("score"), 1], [_("attention"), 4]],
    rows: scores.map((score, i) => [`${i}`, score, shares[i]])
  }));
}

// A text's own numbers.

const view = anatomyView.mount(byId("anatomy"), ({query}) =>
  query !== undefined && sums.want({word: query}));

/** The anatomy without stop words: their rows left out, the rest as it is. */
function withoutStops(found) {
  const kept = found.kTokens.map((token, i) => i)
    .filter((i) => !STOPS.has(label(found.kTokens[i]).toLowerCase()));
  const rows = ({data, shape: [n, ...rest]}) => {
    const size = data.length / n;
    const parts = kept.flatMap((i) => Array.from(data.subarray(i * size, (i + 1) * size)));
    return {data: data.constructor.from(parts), shape: [kept.length, ...rest]};
  };
  const pick = Object.fromEntries(["k", "products", "dots", "scores", "mask", "attn", "v"]
    .map((name) => [name, rows(found[name])]));
  return {...found, ...pick, kTokens: kept.map((i) => found.kTokens[i])};
}

function drawWords({found, model, layer, head, stops}, theme) {
  const shown = stops === "hidden" ? withoutStops(found.apart) : found.apart;
  view.update({anatomy: shown, layer, head, theme});
  const {nHead, dModel, dHead} = page.models.find(({name}) => name === model);
  const T = found.parts.tokens.length;
  const rows = [["x", `1 × ${T} × ${dModel}`, `N × T × ${dModel}`],
    ["q, k, v", `${nHead} × ${T} × ${dHead}`, `N × ${nHead} × T × ${dHead}`],
    [_("scores, attention"), `${nHead} × ${T} × ${T}`, `N × ${nHead} × T × T`],
    [_("z, a head's output"), `${nHead} × ${T} × ${dHead}`, `N × ${nHead} × T × ${dHead}`],
    [_("concat, then W_O"), `1 × ${T} × ${dModel}`, `N × T × ${dModel}`]];
  byId("shapes").replaceChildren(sortable({caption: _("Shapes: this text, and a batch of N"),
    columns: [[_("what")], [_("this text")], [_("a batch")]], rows}));
}

function drawScaling({widths}) {
  const x = widths.map(({dK}) => dK);
  const line = (name, y, chosen = false) => ({name, x, y, chosen});
  const plain = {x: "d", log: true, dashes: true};
  curves(byId("variance-plot"), {lines: [line(_("measured"), widths.map(({variance}) => variance), true),
    line("d", x)], y: _("variance of q·k"), ...plain});
  const of = (what, how) => widths.map((width) => width[what][how]);
  curves(byId("gradient-plot"), {lines: [line(_("entropy, scaled"), of("entropy", "scaled"), true),
    line(_("entropy, plain"), of("entropy", "plain")),
    line(_("gradient, scaled"), of("gradient", "scaled")),
    line(_("gradient, plain"), of("gradient", "plain"))], y: _("nats; size of the Jacobian"), ...plain});
  byId("scaling").replaceChildren(sortable({caption: _("Random vectors, variance 1 in each dimension"),
    columns: [["d", 0], [_("variance of q·k"), 2], [_("entropy, plain"), 3], [_("entropy, scaled"), 3],
      [_("gradient, plain"), 4], [_("gradient, scaled"), 4]],
    rows: widths.map(({dK, variance, entropy, gradient}) =>
      [dK, variance, entropy.plain, entropy.scaled, gradient.plain, gradient.scaled])}));
}

function drawHeads({tokens, norms, output, error, regrouped}) {
  byId("regrouped").replaceChildren(sortable({
    caption: _("Fewer or more heads at the same d_model: this layer's q and k, cut otherwise"),
    columns: [[_("heads"), 0], [_("d of each"), 0], [_("attention weights"), 0],
      [_("entropy"), 3], [_("heads apart, nats"), 3]],
    rows: regrouped.map(({nHead, d, nNumber, entropy, apart}) => [nHead, d, nNumber, entropy, apart])
  }));
  const rows = norms.map((row, i) => [`${_("Head")} ${i}`, ...row]);
  byId("heads-table").replaceChildren(sortable({
    caption: _("Length of what each head adds, token by token"),
    columns: [[_("Head")], ...tokens.map((token) => [label(token), 2])],
    rows: [...rows, [_("all together"), ...output]]
  }));
  byId("heads-note").textContent =
    _("The parts and the bias sum to W_O of the concatenation; largest error {error}.",
      {error: error.toExponential(1)});
}

function drawBlock({layers}, {stacks}) {
  const line = (name, y, chosen = false) => ({name, x: y.map((none, i) => i), y, chosen});
  const of = (key) => layers.map((layer) => layer[key]);
  curves(byId("block-plot"), {lines: [line(_("residual stream"), of("residual"), true),
    line(_("attention adds"), of("attention")), line(_("feed-forward adds"), of("feedForward"))],
  x: _("layer"), y: _("mean length"), dashes: true});
  const x = Array.from({length: 81}, (none, i) => (i - 40) / 10);
  curves(byId("activation-plot"), {lines: [{name: "GELU", x, y: x.map(gelu), chosen: true},
    {name: "ReLU", x, y: x.map(relu), chosen: false}], x: "x", y: "f(x)", zero: false, dashes: true});
  byId("norms").replaceChildren(sortable({
    caption: _("Lengths, and the spread that each norm makes 1: of a token over its dimensions, of a dimension over the tokens"),
    columns: [[_("Layer")], [_("residual stream"), 2], [_("attention adds"), 2],
      [_("feed-forward adds"), 2], [_("token spread"), 3], [_("after layer norm"), 3],
      [_("dimension spread"), 3], [_("after batch norm"), 3]],
    rows: layers.map((layer, i) => [`${i}`, layer.residual, layer.attention, layer.feedForward,
      ...layer.tokenStd, ...layer.dimensionStd])
  }));
  const names = {plain: _("plain"), norm: _("norm"), residual: _("residual"),
    residualNorm: _("residual and norm")};
  const log = (values) => values.map((value) => Math.log10(Math.max(value, 1e-30)));
  curves(byId("depth-plot"), {lines: Object.entries(names).map(([key, name]) =>
    line(name, log(stacks[key]), key === "residualNorm")),
  x: _("layer"), y: _("log10 of the gradient's length"), zero: false, dashes: true});
}

let measured = null; // what it costs; here, as it has no place in the address

async function measure() {
  const button = byId("measure");
  button.disabled = true;
  try {
    measured = await cost({}, {signal: new AbortController().signal});
    sums.patch({problem: null});
    drawCost(measured);
  } catch (error) {
    sums.patch({problem: error.message});
  }
  button.disabled = false;
}

function drawCost({sizes, exponent, loop, nLoop, threads}) {
  const x = sizes.map(({n}) => n);
  const y = sizes.map(({seconds}) => 1000 * seconds);
  curves(byId("cost-plot"), {lines: [{name: _("time ~ T^{p}", {p: exponent.toFixed(2)}), x, y,
    chosen: true}], x: _("tokens"), y: _("milliseconds"), log: true});
  const values = {n: nLoop, loop: (1000 * loop.loop).toFixed(1), product: (1000 * loop.product).toFixed(3)};
  byId("cost-table").replaceChildren(sortable({
    caption: _("One layer on the server, {threads} thread(s); the same weights serve every T", {threads}),
    columns: [[_("tokens"), 0], [_("milliseconds"), 2], [_("attention weights"), 0], [_("MB"), 2]],
    rows: sizes.map(({n, seconds, nNumbers}) => [n, 1000 * seconds, nNumbers, (4 * nNumbers) / 1e6])
  }), h("p", {class: "note"},
    _("{n} × {n} scores: {loop} ms in a loop, {product} ms as one product.", values)));
}

function draw(state, theme) {
  const {found} = state;
  const {nLayer, nHead} = page.models.find(({name}) => name === state.model);
  form.elements.layer.max = nLayer - 1;
  form.elements.head.max = nHead - 1;
  drawWords(state, theme);
  drawScaling(found.widths);
  drawHeads(found.parts);
  drawBlock(found.block, found.deep);
  if (measured) drawCost(measured);
  drawFoot(state);
}

function drawFoot({model, found}) {
  const copy = () => copyLink(url.href());
  const {sha256, version} = found.apart.provenance;
  const weights = _("weights {sha}", {sha: sha256.slice(0, 8)});
  byId("foot").replaceChildren(h("span", {}, `${model} · ${weights} · Attention Atlas ${version}`),
    waysOut({links: [], actions: [[_("Copy link"), copy]]}));
}

mountHand();
byId("measure").addEventListener("click", measure);
const sums = ask({page, fields: url.ARITHMETIC, form, busy: form,
  local: ["stops"], fit, answer, draw});
