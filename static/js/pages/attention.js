// Attention step by step: scores, scale, heads, the block around them, with numbers that move.

import {address, anatomy, blocks, cost, gradients, headParts, run, scaling} from "../lib/api.js";
import {diagram} from "../lib/diagram.js";
import {fillHeads} from "../lib/context.js";
import {modelIn, pageData} from "../lib/data.js";
import {byId, h} from "../lib/dom.js";
import {gelu, relu} from "../lib/formulas.js";
import {mountSoftmax, mountVectors} from "../lib/hand.js";
import {_} from "../lib/language.js";
import {showCurves} from "../lib/numbers.js";
import {stateTicks} from "../lib/reading.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {sortable} from "../lib/tables.js";
import {label, wholeWords} from "../lib/token.js";
import * as url from "../lib/url.js";
import {frame} from "../lib/view.js";
import * as anatomyView from "../views/anatomy.js";
import {mountPage} from "./engine.js";

const STOPS = new Set(
  "a an the at of on in to and or is are was it he she they his her".split(" "));
const data = pageData();
const form = document.querySelector(".sums");

const modelOf = (name) => modelIn(data.models, name);

/** Whether a model's layers are ours to take apart; of any other its q, k and v are available. */
const isOwn = (name) => modelOf(name).source === "bundled";

/** Layers and heads of what is taken apart: a model's first kind of attention. */
const shapeOf = (name) => modelOf(name).shapes[modelOf(name).kinds[0]];

/** A wish with a layer and a head that are there. */
function fit(wanted) {
  const [nLayer, nHead] = shapeOf(wanted.model);
  return {...wanted, layer: Math.min(wanted.layer, nLayer - 1),
    head: Math.min(wanted.head, nHead - 1)};
}

/** Another model has other tokens: the query stays in the same word, which has the same number. */
const retype = (wanted, before) => ({...wanted, follow: wanted.model === before.model
  || !before.found
  ? null : before.found.tokens[before.word].word});

async function answer({model, text, layer, head, word: wanted, follow, dK, depth}, options) {
  const spec = {model, text};
  const own = isOwn(model);
  const [widths, parts, block, deep, read] = await Promise.all([scaling({dK}, options),
    own ? headParts({...spec, layer}, options) : null, own ? blocks(spec, options) : null,
    gradients({depth}, options), own ? null : run(spec, options)]);
  const tokens = parts?.tokens ?? read.sequences.source;
  const same = follow === null ? -1 : tokens.findIndex(({word: number}) => number === follow);
  const word = same >= 0 ? same : Math.min(wanted, tokens.length - 1);
  const apart = await anatomy({...spec, layer, head, query: word}, options);
  return {word, follow: null, found: {widths, parts, block, deep, apart, tokens}};
}

// Scores: two vectors, by hand; what they say stands in the address once the hand lets go.

function moved(patch, isDone) {
  page.patch(patch);
  if (isDone) page.commit();
  drawHand(page.get());
}

function mountHand() {
  const draws = [mountVectors(byId("vectors"), byId("likeness"), moved),
    mountSoftmax(byId("softmax-controls"), byId("softmax"), moved)];
  return (state) => {
    for (const draw of draws) draw(state);
  };
}

// A text's own numbers.

const view = anatomyView.mount(byId("anatomy"), ({query}) =>
  query !== undefined && page.want({word: query}));

/** The anatomy without stop words: their rows left out, the rest as it is. */
function withoutStops(found) {
  const words = wholeWords(found.kTokens);
  const kept = words.map((word, i) => i).filter((i) => !STOPS.has(words[i].toLowerCase()));
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
  view.update(frame({anatomy: shown, layer, head, theme}));
  const [all, kept] = [found.apart, shown].map(({attn: {data}}) => data.reduce((a, b) => a + b, 0));
  byId("left-out").textContent = stops === "hidden"
    ? _("{share} of this query's attention goes to the {n} keys left out.",
      {share: `${(100 * (1 - kept / all)).toFixed(
        1)} %`, n: found.apart.kTokens.length - shown.kTokens.length})
    : "";
  const {dModel, dHead, nKvHead} = modelOf(model);
  const [, nHead] = shapeOf(model);
  const T = found.tokens.length;
  byId("qkv-shapes").textContent = _("x {T} × {D}, times W_Q, W_K, W_V of this head, each {D} × {d}: q, k, v {T} × {d}. q kᵀ / √{d}: scores {T} × {T}, softmax: attention; times v: z {T} × {d}.",
    {T, D: dModel, d: dHead});
  const rows = [["x", `1 × ${T} × ${dModel}`, `N × T × ${dModel}`],
    ...(nKvHead < nHead ? [["W_Q", nHead], ["W_K, W_V", nKvHead]] : [["W_Q, W_K, W_V", nHead]])
      .map(([name, n]) => [name, `${dModel} × ${n} · ${dHead}`, `${dModel} × ${n} · ${dHead}`]),
    ["q, k, v", `${nHead} × ${T} × ${dHead}`, `N × ${nHead} × T × ${dHead}`],
    [_("scores, attention"), `${nHead} × ${T} × ${T}`, `N × ${nHead} × T × T`],
    [_("z, a head's output"), `${nHead} × ${T} × ${dHead}`, `N × ${nHead} × T × ${dHead}`],
    [_("concat, then W_O"), `1 × ${T} × ${dModel}`, `N × T × ${dModel}`]];
  byId("shapes").replaceChildren(sortable({caption: _("Shapes: this text, and a batch of N"),
    columns: [[_("what")], [_("this text")], [_("a batch")]], rows}));
}

/** What a plot is of, and where its numbers come from: the model's, or random vectors. */
function wordsOf({found, model, layer, head, text}, part, title, source = null) {
  // none of a text that is refused
  const {sha256 = "", version = ""} = found?.apart.provenance ?? {};
  const weights = _("weights {sha}", {sha: sha256.slice(0, 8)});
  const own = [model, weights, text.length > 60 ? `${text.slice(0, 59)}…` : text];
  const place = part === "" ? [_("Layer {layer} · Head {head}", {layer, head})] : [];
  return {title, provenance: [...(source ? [source] : own), ...place,
    `Attention Atlas ${version}`].join(" · "),
    file: ["arithmetic", ...(source ? [] : [model]), part]};
}

function drawScaling(state) {
  const {widths, nKey, nSample, seed} = state.found.widths;
  const x = widths.map(({dK}) => dK);
  const line = (name, column, y, chosen = false) => ({name, column, x, y, chosen});
  const plain = {x: "d", log: true, dashes: true, sheet: "d_k"};
  const source = _("{n} random queries of {m} keys, seed {seed}", {n: nSample, m: nKey, seed});
  showCurves(byId("variance-plot"), {lines: [line(_("measured"), "variance",
    widths.map(({variance}) => variance), true),
    line("d", "d", x)], y: _("variance of q·k"), ...plain},
      wordsOf(state, "variance", _("variance of q·k"), source));
  const of = (what, how) => widths.map((width) => width[what][how]);
  showCurves(byId("gradient-plot"), {lines: [line(_("entropy, scaled"), "entropy_scaled",
    of("entropy", "scaled"), true),
    line(_("entropy, plain"), "entropy_plain", of("entropy", "plain")),
    line(_("gradient, scaled"), "gradient_scaled", of("gradient", "scaled")),
    line(_("gradient, plain"), "gradient_plain", of("gradient", "plain"))],
      y: _("nats; size of the Jacobian"), ...plain},
  wordsOf(state, "gradient", _("entropy and gradient"), source));
  byId("scaling").replaceChildren(sortable({caption: _(
    "Random vectors, variance 1 in each dimension"),
    columns: [["d", 0], [_("variance of q·k"), 2], [_("entropy, plain"), 3],
      [_("entropy, scaled"), 3],
      [_("gradient, plain"), 4], [_("gradient, scaled"), 4]],
    rows: widths.map(({dK, variance, entropy, gradient}) =>
      [dK, variance, entropy.plain, entropy.scaled, gradient.plain, gradient.scaled])}));
}

function drawHeads({tokens, norms, output, error, regrouped}) {
  byId("regrouped").replaceChildren(sortable({
    caption: _("Fewer or more heads at the same d_model: this layer's q and k, cut otherwise"),
    columns: [[_("heads"), 0], [_("d of each"), 0], [_("attention weights"), 0],
      [_("entropy"), 3], [_("heads apart, nats"), 3]],
    rows: regrouped.map(({nHead, d, nNumber, entropy, apart}) =>
      [nHead, d, nNumber, entropy, apart])
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

const line = (name, column, y, chosen = false) =>
  ({name, column, x: y.map((none, i) => i), y, chosen});

/** What each layer of one of our models does to the residual stream. */
function drawBlock(state) {
  const {layers} = state.found.block;
  const of = (key) => layers.map((layer) => layer[key]);
  showCurves(byId("block-plot"), {lines: [
    line(_("residual stream into the layer"), "residual", of("residual"), true),
    line(_("attention adds"), "attention", of("attention")),
    line(_("feed-forward adds"), "feed_forward", of("feedForward"))],
  x: _("layer"), y: _("mean length"), dashes: true, sheet: "layer",
    ticks: layers.map((none, i) => `L${i}`)},
  wordsOf(state, "block", _("lengths by layer")));
  byId("norms").replaceChildren(sortable({
    caption: _("Lengths, and the spread that each norm makes 1: of a token over its dimensions, of a dimension over the tokens"),
    columns: [[_("Layer")], [_("residual stream into the layer"), 2], [_("attention adds"), 2],
      [_("feed-forward adds"), 2], [_("token spread"), 3], [_("after layer norm"), 3],
      [_("dimension spread"), 3], [_("after batch norm"), 3]],
    rows: layers.map((layer, i) => [`${i}`, layer.residual, layer.attention, layer.feedForward,
      ...layer.tokenStd, ...layer.dimensionStd])
  }));
}

/** What holds for any model: activations, and a random deep stack. */
function drawDeep(state) {
  const {stacks, depth, width, seed} = state.found.deep;
  const x = Array.from({length: 81}, (none, i) => (i - 40) / 10);
  showCurves(byId("activation-plot"), {sheet: "x",
    lines: [{name: "GELU", x, y: x.map(gelu), chosen: true},
    {name: "ReLU", x, y: x.map(relu), chosen: false}], x: "x", y: "f(x)", zero: false,
      dashes: true},
  wordsOf(state, "activation", _("ReLU and GELU"), "ReLU, GELU (tanh)"));
  const names = {plain: _("plain"), norm: _("norm"), residual: _("residual"),
    residualNorm: _("residual and norm")};
  showCurves(byId("depth-plot"), {lines: Object.entries(names).map(([key, name]) =>
    line(name, key.replace("N", "_n"), stacks[key], key === "residualNorm")),
  x: _("the input, then after each layer"), y: _("gradient's length"), logY: true, dashes: true,
  sheet: "state", ticks: stateTicks(depth + 1, _("input"))},
  wordsOf(state, "depth", _("The gradient through a deep stack"),
    _("a random stack of {depth} layers, width {width}, seed {seed}", {depth, width, seed})));
}

let measured = null; // what it costs; here, as it has no place in the address

async function measure() {
  const button = byId("measure");
  button.disabled = true;
  try {
    measured = await cost({}, {signal: new AbortController().signal});
    page.patch({problem: null});
    drawCost(measured);
  } catch (error) {
    page.patch({problem: error.message});
  }
  button.disabled = false;
}

function drawCost({sizes, exponents, loop, nLoop, threads, nHead, d}) {
  const x = sizes.map(({n}) => n);
  const source = _("attention of {H} heads of {d}, {threads} thread(s)", {H: nHead, d, threads});
  const line = (name, key, scale, chosen) => ({name: `${name} ~ T^${exponents[key].toFixed(2)}`,
    column: key.startsWith("fused") ? "fused" : "naive", x,
    y: sizes.map((size) => size[key] * scale), chosen});
  const both = (key, scale) => [line(_("naive"), key, scale, true),
    line(_("fused"), `fused${key[0].toUpperCase()}${key.slice(1)}`, scale, false)];
  const plain = {x: _("tokens"), log: true, logY: true, dashes: true, sheet: "tokens"};
  showCurves(byId("cost-plot"), {lines: both("seconds", 1000), y: _("milliseconds"), ...plain},
    wordsOf(page.get(), "time", _("time by tokens"), source));
  showCurves(byId("memory-plot"), {lines: both("bytes", 1e-6), y: _("peak MB"), ...plain},
    wordsOf(page.get(), "memory", _("memory by tokens"), source));
  const values = {n: nLoop, loop: (1000 * loop.loop).toFixed(1),
    product: (1000 * loop.product).toFixed(3)};
  byId("cost-table").replaceChildren(sortable({
    caption: _("One layer on the server, {threads} thread(s); the same weights serve every T", {threads}),
    columns: [[_("tokens"), 0], [_("attention weights"), 0], [_("milliseconds"), 2],
      [_("peak MB"), 2],
      [_("milliseconds, fused"), 2], [_("peak MB, fused"), 2]],
    rows: sizes.map((size) => [size.n, size.nNumber, 1000 * size.seconds, size.bytes / 1e6,
      1000 * size.fusedSeconds, size.fusedBytes / 1e6])
  }), h("p", {class: "note"},
    _("{n} × {n} scores: {loop} ms in a loop, {product} ms as one product.", values)));
}

function draw(state, theme, isLocal) {
  drawHand(state);
  drawWords(state, theme);
  if (isLocal) return;
  fillHeads(form, shapeOf(state.model));
  const own = isOwn(state.model);
  for (const part of form.querySelectorAll("[data-own]")) part.hidden = !own;
  byId("elsewhere").hidden = own;
  drawScaling(state);
  drawDeep(state);
  if (own) {
    drawHeads(state.found.parts);
    drawBlock(state);
    drawMap(state);
  }
  if (measured) drawCost(measured);
  drawFoot(state);
}

/** The model drawn; each part leads to its numbers for this text. */
function drawMap({model, text, layer, head}) {
  const to = (path, more = {}) => {
    const place = "kind" in more ? {layer, head} : {};
    return url.pageOf(path, {model, ...(path === "masks" ? {texts: text} : {text}), ...place,
      ...more});
  };
  byId("diagram").replaceChildren(...diagram(modelOf(model), to));
}

function drawFoot(state) {
  const {model, text, layer, head, word, dK, depth} = state;
  const spec = {model, text};
  const of = (path, asked, format = {}) => address(path, {...asked, ...format});
  const place = {...spec, layer, head, query: word};
  const links = [["json", of("anatomy", place)], ["npz", of("anatomy", place, {format: "npz"})],
    ["safetensors", of("anatomy", place, {format: "safetensors"})],
    ["scaling", of("arithmetic/scaling", {dK})], ["gradients", of("arithmetic/gradients", {depth})],
    ...(isOwn(model) ? [["heads", of("arithmetic/heads", {...spec, layer})],
      ["blocks", of("arithmetic/blocks", spec)]] : [])];
  byId("foot").replaceChildren(h("span", {}, wordsOf(state, "", "").provenance),
    waysOut({links, actions: [[_("Copy link"), () => copyLink(url.href())]]}));
}

byId("measure").addEventListener("click", measure);
const page = mountPage({step: ({word, found}, by) => ({
  word: Math.max(0, Math.min(found.tokens.length - 1, word + by))}),
  data, fields: url.ATTENTION, form, busy: form,
  more: {follow: null}, // the word that the query stays in
  local: ["stops", "x", "y", "scores", "temperature"], fit, retype, answer, draw,
  texts: ({model, found: {tokens}}) => [{model, sequences: {source: tokens}}],
  context: ({word, found: {tokens}}) => ({
    token: tokens[word] ? _("Token {token}", {token: label(tokens[word])}) : ""})});
const drawHand = mountHand();
drawHand(page.get());
