// The Masks page: several texts in one batch, and what masks do to one head.

import {address, masks} from "../lib/api.js";
import {fillHeads} from "../lib/context.js";
import {modelIn, pageData} from "../lib/data.js";
import {byId, fillSelect, h} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {showMap} from "../lib/numbers.js";
import {KIND_NAMES} from "../lib/reading.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {at} from "../lib/tensor.js";
import {tokenNode} from "../lib/token.js";
import * as url from "../lib/url.js";
import {mountPage} from "./engine.js";

const data = pageData();
const form = document.querySelector(".batch");
const given = {...data, texts: data.texts.join("\n"), off: data.off.join(),
  fill: data.fill === null ? "" : `${data.fill}`};

/** A wish with a kind, a layer, a head and a text that are there. */
function fit(state) {
  const {kinds, shapes} = modelIn(data.models, state.model) ?? data.models[0];
  const kind = kinds.includes(state.kind) ? state.kind : kinds[0];
  const [nLayer, nHead] = shapes[kind];
  const within = (i, n) => Math.max(0, Math.min(Number(i) || 0, n - 1));
  return {...state, kind,
    layer: within(state.layer, nLayer), head: within(state.head, nHead),
    row: within(state.row, linesOf(state.texts).length)};
}

const linesOf = (texts) => texts.split("\n").filter((line) => line.trim());

function specOf({model, texts, kind, layer, head, off, fill, precision}) {
  return {model, texts: JSON.stringify(linesOf(texts)), kind, layer, head, off: off || null,
    fill: fill === "" ? null : Number(fill), precision};
}

// Drawing.

const OWN_MASKS = {padding: _("Padding mask"), causal: _("Causal mask")};

/** The tokens of an axis, with the padding that fills it up. */
function filled(tokens, n, pad) {
  const filler = {raw: pad, text: pad, special: true, unknown: false};
  return [...tokens, ...Array.from({length: n - tokens.length}, () => filler)];
}

const rowsOf = ({data, shape: [n, m]}, change = (value) => value) => Array.from({length: n},
  (none, i) => Array.from({length: m}, (nothing, k) => change(data[i * m + k])));

/** What a part is of, and where its numbers come from. */
function wordsOf(state, part, title) {
  const {found: {provenance: {sha256, version}}, model, kind, layer, head, texts, row, off, fill,
    precision} = state;
  const changed = [off && _("without: {masks}", {masks: off}), fill
    && `−∞ → ${fill} (${precision})`];
  const sources = [model, _("weights {sha}", {sha: sha256.slice(0, 8)}),
    _("{kind} attention", {kind: KIND_NAMES[kind]}),
    _("Layer {layer} · Head {head}", {layer, head}), ...changed.filter(Boolean),
      `Attention Atlas ${version}`];
  return {title: `${title} · ${linesOf(texts)[row]}`, provenance: sources.join(" · "),
    file: ["masks", model, kind, `L${layer}H${head}`, part, row]};
}

function drawPlots(state, theme) {
  const {found: {combined, scores, masked, attn, padding, causal, pad, ...tokens}, row,
    kind} = state;
  const isOff = (name) => state.off.split(",").includes(name);
  for (const [name, title] of Object.entries(OWN_MASKS)) {
    byId(`${name}-title`).textContent =
      isOff(name) ? _("{mask}, switched off", {mask: title}) : title;
  }
  const [, Tq, Tk] = scores.shape;
  const queries = filled(tokens.qTokens[row], Tq, pad);
  const keys = filled(tokens.kTokens[row], Tk, pad);
  const allowed = (value) => (value ? 1 : null);
  const show = (part, z, options) => showMap(byId(`${part}-plot`), {z, qLabels: queries,
    kLabels: keys, theme, locked: null, ...options},
      wordsOf(state, part, byId(`${part}-title`).textContent));
  const share = {name: _("attention"), range: {low: 0, high: 1, scale: "linear"},
    sheet: {value: "attn"}};
  const mask = {name: _("allowed"), range: {scale: "flag"}, sheet: {value: "allowed"}};
  const real = isOff("padding") ? new Uint8Array(Tk).fill(1) : at(padding, row).data;
  show("padding", rowsOf({data: real, shape: [1, Tk]}, allowed), {...mask, qLabels: [_("all")]});
  byId("causal-plot").parentElement.hidden = !causal?.shape;
  if (causal?.shape) show("causal", rowsOf(causal, allowed), mask);
  byId("combined-title").textContent = kind === "cross" ? _("Cross-attention mask")
    : _("Both together");
  show("combined", rowsOf(at(combined, row), allowed), mask);
  const {data} = at(scores, row);
  const range = {low: Math.min(...data), high: Math.max(...data), scale: "linear", power: 1};
  const score = {name: _("score"), range, sheet: {value: "scores"}};
  show("scores", rowsOf(at(scores, row)), score);
  show("masked", rowsOf(at(masked, row), (value) => (value === -Infinity ? null : value)), score);
  show("attn", rowsOf(at(attn, row), (value) => (value === 0 ? null : value)), share);
}

function drawTables({found, row, kind}) {
  const {ids, padding, pad, kTokens, qTokens, rowSums} = found;
  const T = ids.shape[1];
  const lines = kTokens.map((tokens, b) => h("tr", {}, ...filled(tokens, T, pad).map((token, i) => {
    const isPad = !padding.data[b * T + i];
    return h("td", {class: isPad ? "pad" : ""}, tokenNode(token), h("br"),
      `${ids.data[b * T + i]}`);
  })));
  byId("ids-table").replaceChildren(h("table", {class: "numbers"},
    h("caption", {}, _("Ids; {pad} fills up", {pad})), h("tbody", {}, ...lines)));
  const sums = at(rowSums, row).data;
  const queries = filled(qTokens[row], sums.length, pad);
  byId("sums-table").replaceChildren(h("table", {class: "numbers"}, h("tbody", {},
    ...queries.map((token, q) => h("tr", {}, h("th", {scope: "row"}, tokenNode(token)),
      h("td", {class: "n"}, sums[q].toFixed(3)))))));
  byId("sums").textContent = `${_("Rows sum to")} (${KIND_NAMES[kind]})`;
}

/** When a number in place of −∞ leaks, with the server's numbers for this head. */
function fillsOf({fill, dtype, reach, nKey, blind, by, leak, lowest, added}) {
  const number = (value) => (value === null ? "−∞" : `${value}`.replace("-", "−"));
  const parts = [
    _("In {dtype} the softmax gives exactly 0 to what is more than {reach} below its row's largest score.",
      {dtype, reach: reach.toFixed(1)}),
    by === null ? _("No masked key of this head outweighs it, whatever its scores are multiplied by in {dtype}.", {dtype})
      : _("This head's scores times {by}, with {fill} added where masked: {leak} leaks.",
        {by: `${by}`, fill: number(fill), leak: leak.toFixed(3)}),
    _("A row that may look nowhere gives each of its {n} keys {blind}; with −∞ it is 0 / 0, NaN, unless it is made 0 as here.",
      {n: nKey, blind: blind.toFixed(3)}),
    _("Two masks added, {lowest} and {fill}, are {sum} in {dtype}.",
      {lowest: number(dtype === "float16" ? lowest : Number(lowest.toPrecision(3))),
        fill: number(fill),
        sum: number(added === null ? null : Number(added.toPrecision(3))), dtype})];
  return parts.join(" ");
}

function drawNumbers({found, row, kind, off}) {
  const {leak, losses, padAttention, fills} = found;
  const strong = (name, value) => h("span", {}, `${name} `, h("b", {}, value));
  const parts = [strong(_("Max weight on masked positions:"), leak.toPrecision(2)),
    strong(_("To padding, on average:"), padAttention[row].toFixed(3))];
  if ("on" in losses) {
    parts.push(strong(_("Loss of the next word, causal mask on:"), losses.on.toFixed(2)),
      strong(_("off, a number without meaning, as each word sees its answer:"), losses.off.toFixed(2)));
  }
  if (kind === "decoder" && off === "padding") {
    parts.push(h("span", {}, _("Padding comes after every word: the causal mask hides it all the same.")));
  }
  byId("leaks").replaceChildren(...parts);
  byId("fills").textContent = fillsOf(fills);
}

function drawFoot(state) {
  const copy = () => copyLink(url.href());
  const link = (format) => [format, address("masks", {...specOf(state), format})];
  byId("foot").replaceChildren(h("span", {}, wordsOf(state, "", "").provenance),
    waysOut({links: ["json", "npz", "safetensors"].map(link), actions: [[_("Copy link"), copy]]}));
}

/** The choices that a model and the texts leave. */
function drawChoices({model, texts, kind}) {
  const {kinds, shapes} = modelIn(data.models, model);
  const {elements} = form;
  fillSelect(elements.kind, kinds.map((kind) => [kind, KIND_NAMES[kind]]));
  fillSelect(elements.row, linesOf(texts).map((line, i) => [i, line.slice(0, 40)]));
  fillHeads(form, shapes[kind]);
}

/** A decoder alone has a causal mask to switch off; a precision matters to a number alone. */
function drawMasks({kind, fill}) {
  const {off, precision} = form.elements;
  for (const option of off.options) {
    const isThere = kind === "decoder" || !option.value.includes("causal");
    option.hidden = !isThere;
    option.disabled = !isThere;
  }
  precision.disabled = fill === "";
}

/** The masks that this kind of attention has. */
const withMasks = (wanted) => (wanted.kind === "decoder" ? wanted
  : {...wanted, off: wanted.off.split(",").filter((mask) => mask === "padding").join()});

function draw(state, theme) {
  drawChoices(state);
  drawMasks(state);
  drawPlots(state, theme);
  drawTables(state);
  drawNumbers(state);
  drawFoot(state);
}

mountPage({data, fields: url.MASKS, form, busy: byId("batch"), given,
  plain: {row: 0, off: "", fill: "", precision: "float32"},
  step: ({row, texts}, by) => ({
    row: Math.max(0, Math.min(linesOf(texts).length - 1, row + by))}),
  fit: (wanted) => withMasks(fit(wanted)),
  texts: ({model, found: {kTokens}}) => kTokens.map((source) => ({model, sequences: {source}})),
  answer: async (wanted, options) => ({found: await masks(specOf(wanted), options)}), draw});

byId("add-text").hidden = false;
byId("add-text").addEventListener("click", () => {
  const field = form.elements.texts;
  field.value = [...linesOf(field.value), ""].join("\n");
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
});
