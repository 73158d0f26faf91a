// The Translate page: a translation token by token, and what each of its tokens looked at.

import {bestPlace, drawDrove, drawReadings, readingRecords} from "../lib/aligned.js";
import {address, anatomy, attention, translate} from "../lib/api.js";
import {fillHeads} from "../lib/context.js";
import {modelIn, pageData, pick as keep} from "../lib/data.js";
import {byId, fillSelect, h} from "../lib/dom.js";
import {figure} from "../lib/figure.js";
import {_} from "../lib/language.js";
import {fillLanguages, languagesIn, ownLanguages} from "../lib/languages.js";
import {saveSheet, showMap} from "../lib/numbers.js";
import {fileName, pngBlob, saveBlob, svgBlob} from "../lib/save.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {sortable} from "../lib/tables.js";
import {headOf} from "../lib/tensor.js";
import {label} from "../lib/token.js";
import {beamTree} from "../lib/tree.js";
import * as url from "../lib/url.js";
import {frame} from "../lib/view.js";
import * as anatomyView from "../views/anatomy.js";
import * as lines from "../views/lines.js";
import * as matrix from "../views/matrix.js";
import {candidatesTable, drawTokens, mostOf, placeOf, replaceContent, rowOf, rowsOf,
  within} from "../lib/decoding.js";
import {mountPage} from "./engine.js";

const data = pageData();
const form = document.querySelector(".work");
const modelOf = (name) => modelIn(data.models, name) ?? data.models[0];
const given = {...data,
  sourceLang: null, targetLang: null, head: `${data.head ?? "mean"}`,
  modelB: data.modelB || "none", view: "matrix"};

/** A wish with languages, a layer, a head and another model that are there. */
function fit(wanted) {
  const [nLayer, nHead] = modelOf(wanted.model).shapes.cross;
  const layer = Math.max(0, Math.min(Number(wanted.layer) || 0, nLayer - 1));
  const head = wanted.head === "mean" || Number(wanted.head) < nHead ? wanted.head : "mean";
  const others = data.models.map(({name}) => name).filter((name) => name !== wanted.model);
  const modelB = [...others, "none"].includes(wanted.modelB) ? wanted.modelB : others[0] ?? "none";
  return {...wanted, ...languagesIn(modelOf(wanted.model), wanted), layer, head, modelB};
}

/**
 * With another model come its languages and the head that its card names; another text begins at
 * its first token.
 */
function retype(wanted, before) {
  const placed = wanted.model === before.model ? {} : bestPlace(modelOf(wanted.model));
  return {...wanted, ...placed, ...ownLanguages(wanted, before),
    ...(wanted.text === before.text ? {} : {step: 0})};
}

const specOf = ({model, text, sourceLang, targetLang, numBeams, lengthPenalty, reference}) => ({
  model, text, sourceLang, targetLang, numBeams, lengthPenalty, reference: reference || null});

const decoded = new Map(); // model -> what it decoded last; another head asks for no more

/** A translation that was asked for just so before, or a new one, whose events are of `rows`. */
async function translated(spec, options, rows = {}) {
  const key = JSON.stringify(spec);
  const last = decoded.get(spec.model);
  if (last?.key === key) return last.translation;
  const {sourceLang, targetLang} = spec;
  const found = await translate({...spec, ...rows}, options);
  const translation = {...found, sourceLang, targetLang};
  decoded.set(spec.model, {key, translation});
  return translation;
}

/** A run with just these tokens of the target: its text might be cut into others. */
const spokenBy = ({model, text, sourceLang, targetLang, tokens}) =>
  ({model, text, sourceLang, targetLang, targetIds: tokens.map(({id}) => id).join()});

/** The layer and head of a kind: an encoder may have fewer than the decoder. */
function placeIn({model, layer, head}, kind) {
  const [nLayer, nHead] = modelOf(model).shapes[kind];
  return placeOf(Math.min(layer, nLayer - 1), head !== "mean" && Number(head) >= nHead ? "mean"
    : head);
}

async function answer(wanted, options) {
  const rows = wanted.head === "mean" ? {} : {head: Number(wanted.head)};
  const translation = await translated(specOf(wanted), {...options, onEvent: live(wanted)}, rows);
  const own = spokenBy(translation);
  const {kinds} = modelOf(wanted.model);
  const look = (of, kind) => attention({...of, kind, ...placeIn(wanted, kind)}, options);
  const [found, readings, forced, beside] = await Promise.all([
    Promise.all(kinds.map((kind) => look(own, kind))),
    readingRecords(modelOf(wanted.model), {...own, kind: "cross"}, options),
    wanted.reference ? look({...keep(wanted, ["model", "text", "sourceLang", "targetLang"]),
      target: wanted.reference}, "cross") : null,
    wanted.modelB === "none" ? null : other(wanted, options)
  ]);
  const records = Object.fromEntries(kinds.map((kind, i) => [kind, found[i]]));
  return {found: {translation, records, readings, forced, beside, joint: joint(records)},
    ...within("step", wanted.step, translation.steps.length)};
}

/** The other model's translation of the same sentence, and its cross-attention. */
async function other({modelB, text, numBeams, lengthPenalty, ...wanted}, options) {
  const languages = languagesIn(modelOf(modelB), wanted);
  const spec = {model: modelB, text, ...languages, numBeams, lengthPenalty};
  const translation = await translated(spec, {...options, onEvent: () => {}});
  const {layer, head} = bestPlace(modelOf(modelB));
  const cross = await attention({...spokenBy(translation), kind: "cross", ...placeOf(layer, head)},
    options);
  return {translation, cross};
}

/** What comes while it is being decoded: the tokens so far, the source lit by the newest's row. */
function live({layer}) {
  let source = [];
  const said = [];
  const theme = () => document.documentElement.dataset.theme;
  return (name, event) => {
    if (name === "start") ({source} = event);
    const plain = {special: false, unknown: false, raw: ""};
    if (event.token) said.push(event.token);
    const target = event.beams ? [{...plain, text: event.text}] : said;
    drawTokens(byId("source"), {tokens: source, theme: theme(), values: event.attn?.[layer]});
    drawTokens(byId("target"), {tokens: target, theme: theme(), current: target.length - 1});
  };
}

/** Encoder, decoder and cross-attention as one head between all tokens of both texts. */
function joint({encoder, decoder, cross}) {
  const [T, S] = headOf(cross).attn.shape;
  const N = S + T;
  const attn = new Float32Array(N * N);
  const mask = new Uint8Array(N * N);
  const place = (record, top, left) => {
    if (!record) return;
    const {attn: own, mask: allowed} = headOf(record);
    const [n, m] = own.shape;
    for (let q = 0; q < n; q++) {
      for (let k = 0; k < m; k++) {
        attn[(top + q) * N + left + k] = own.data[q * m + k];
        mask[(top + q) * N + left + k] = allowed.data[q * m + k];
      }
    }
  };
  place(encoder, 0, 0);
  place(cross, S, 0);
  place(decoder, S, S);
  const tokens = [...cross.kTokens, ...cross.qTokens];
  return Object.freeze({...cross, kind: "joint", layers: [cross.layers.at(-1)],
    heads: [cross.heads[0]],
    attn: {data: attn, shape: [1, 1, N, N]}, mask: {data: mask, shape: [1, 1, N, N]},
    qTokens: tokens, kTokens: tokens, nSource: S});
}

// Drawing.

const VIEWS = {matrix, lines};
let mounted = null; // {view, id}

function frameOf({found, layer}, step, theme) {
  const {joint: record} = found;
  return frame({record, layer, head: record.heads[0], query: record.nSource + step, theme});
}

function drawJoint(state, step, theme) {
  if (mounted?.id !== state.view) {
    mounted?.view.destroy();
    mounted = {id: state.view, view: VIEWS[state.view].mount(byId("joint-view"), pick)};
  }
  mounted.view.update(frameOf(state, step, theme));
}

/** A row of the target is a step. */
function pick({query}) {
  const {found} = page.get();
  if (query === undefined || query === null) return;
  const step = query - found.joint.nSource;
  if (step >= 0) page.want({step: Math.min(step, found.translation.steps.length - 1)});
}

function drawSteps({translation, records}, step, theme) {
  const {cross} = records;
  const row = rowOf(headOf(cross).attn, step);
  drawTokens(byId("source"), {tokens: cross.kTokens, theme, values: row});
  drawTokens(byId("target"), {tokens: translation.tokens, theme, current: step,
    pick: (i) => page.want({step: i}), titles: translation.steps.map(({probability, entropy}) =>
      _("probability {p}, entropy {e} nats", {p: probability.toFixed(3), e: entropy.toFixed(2)}))});
  const {token, probability, rank, entropy} = translation.steps[step];
  const values = {token: label(token), p: probability.toFixed(3), rank: rank + 1,
    e: entropy.toFixed(2),
    most: mostOf(cross.kTokens, row)};
  byId("step-said").textContent =
    _("{token}: probability {p}, rank {rank}, entropy {e} nats. Its query looks most at {most}", values);
  replaceContent(byId("candidates"), candidatesTable(translation.steps[step],
    {caption: _("Top candidates")}));
}

const TREE_COLUMNS = ["step", "token", "after", "log_probability", "total"];

/** The beam as a tree, and as tables. */
function drawTree({translation}) {
  const {tree, numBeams} = translation;
  byId("beam-section").hidden = numBeams < 2;
  if (numBeams < 2) return;
  byId("tree").replaceChildren(beamTree(translation, (text) => {
    byId("node-said").textContent = text;
  }));
  drawHypotheses(translation, new Map(tree.map((node) => [node.id, node])));
}

/** The hypotheses as a table, and how each grew as another. */
function drawHypotheses(translation, byNode) {
  const {model, tree, hypotheses} = translation;
  const nodes = {columns: [[_("Step"), 0], [_("token")], [_("after")], [_("log-probability"), 3],
    [_("so far"), 3]],
  rows: tree.map((node) => [node.step, node.token, byNode.has(node.parent)
    ? byNode.get(node.parent).token : "", node.logProbability, node.total])};
  const words = {provenance: provenanceOf(translation), file: ["translate", model, "beam"]};
  byId("hypotheses").replaceChildren(sortable({caption: _("Hypotheses, the best first"),
    columns: [[_("Hypothesis")], [_("score"), 3], [_("log-probability"), 2]],
    rows: hypotheses.map(({text, score, logProbability}) => [text, score, logProbability])}),
  h("details", {class: "work-more"}, h("summary", {}, _("The numbers")),
    sortable({caption: _("Every hypothesis as it grew by a token"), ...nodes})),
  waysOut({links: [], actions: [["CSV", () => saveSheet({...nodes, columns: TREE_COLUMNS},
    words)]]}));
}

const SHARES = {name: _("attention"), range: {low: 0, high: 1, scale: "linear"}, locked: null,
  sheet: {value: "attn"}};

/** One head's cross-attention, or the mean of all. */
function drawCross(id, record, {model, translation, title, part}, theme, locked = null) {
  const layer = `L${record.layers.at(-1)}`;
  const head = record.reduce === "none" ? `H${record.heads[0]}` : null;
  const place = `${layer} ${head ?? _("mean of all")}`;
  showMap(byId(id), {...SHARES, z: rowsOf(headOf(record)), qLabels: record.qTokens,
    kLabels: record.kTokens, theme, locked}, {title: `${title} · ${place}`,
    provenance: provenanceOf(translation),
    file: ["translate", model, part, `${layer}${head ?? "mean"}`]});
}

const provenanceOf = ({model, provenance: {sha256, version}}) =>
  `${model} · ${_("weights {sha}", {sha: sha256.slice(0, 8)})} · Attention Atlas ${version}`;

function drawReference({translation, records, forced}, theme) {
  const {reference, model} = translation;
  byId("forced-pair").hidden = !reference;
  byId("reference-table").hidden = !reference;
  if (!reference) return;
  const rows = reference.steps.map(({token, probability, rank, candidates: [first]}) => [token,
    probability, rank + 1, rank === 0 ? "" : label({...first, raw: first.token}), rank === 0 ? ""
      : first.probability]);
  byId("reference-table").replaceChildren(sortable({
    caption: _("Log-probability of the reference {log}; where the model would have gone another way, its own choice",
      {log: reference.logProbability.toFixed(2)}),
    columns: [[_("token")], [_("probability"), 4], [_("number"), 0], [_("the model's own choice")],
      [_("probability"), 4]],
    rows
  }));
  const of = (title, part) => ({model, translation, title, part});
  drawCross("free-plot", records.cross, of(_("Running free"), "free"), theme);
  drawCross("forced-plot", forced, of(_("Reading the reference"), "reference"), theme);
}

function drawBeside({translation, records, beside}, step, theme) {
  const both = [translation, ...(beside ? [beside.translation] : [])];
  const card = (name, metric) => modelOf(name).metrics[metric]?.value ?? "";
  const rows = both.map(({model, target, logProbability, steps}) => [model, target, logProbability,
    logProbability / steps.length, card(model, "bleu"), card(model, "decodingSpeed")]);
  byId("beside-table").replaceChildren(sortable({
    caption: _("BLEU and speed are of the models' cards: test sentences, and tokens a second, greedily, one at a time"),
    columns: [[_("Model")], [_("Translation")], [_("log-probability"), 2], [_("per token"), 2],
      ["BLEU", 1],
      [_("tokens/s"), 0]],
    rows
  }));
  const name = ({model}, {layers, heads, reduce}) => `${model} · L${layers.at(-1)} `
    + (reduce === "none" ? `H${heads[0]}` : _("mean of all"));
  byId("own-title").textContent = name(translation, records.cross);
  const of = (one) => ({model: one.model, translation: one, title: one.target, part: "cross"});
  drawCross("own-plot", records.cross, of(translation), theme, {side: "query", index: step});
  byId("other-side").hidden = !beside;
  if (!beside) return;
  byId("other-title").textContent = name(beside.translation, beside.cross);
  drawCross("other-plot", beside.cross, of(beside.translation), theme);
}

const apart = anatomyView.mount(byId("anatomy"), ({query}) =>
  query !== undefined && page.want({step: Math.min(query,
    page.get().found.translation.steps.length - 1)}));
let taken = {key: "", stop: new AbortController()};

/** The step's query in the chosen head, or in the first where the mean of all is shown. */
async function drawApart({layer, head, found}, step, theme) {
  const place = {kind: "cross", layer, head: head === "mean" ? 0 : Number(head)};
  const spec = {...spokenBy(found.translation), ...place, query: step};
  byId("apart-place").textContent = head === "mean"
    ? _("Layer {layer} · Head 0, one of those whose mean is shown above", {layer})
    : _("Layer {layer} · Head {head}", {layer, head});
  const key = JSON.stringify([spec, theme]);
  if (taken.key === key) return;
  taken.stop.abort();
  const request = {key, stop: new AbortController()};
  taken = request;
  byId("anatomy").ariaBusy = true;
  try {
    const parts = await anatomy(spec, {signal: request.stop.signal});
    if (taken === request) apart.update(frame({anatomy: parts, ...place, theme}));
  } catch (error) {
    if (error.name !== "AbortError") page.patch({problem: error.message});
  }
  if (taken === request) byId("anatomy").ariaBusy = null;
}

function drawFoot(state, step, theme) {
  const {found: {translation}, layer, head} = state;
  const which = head === "mean" ? _("mean of all") : `H${head}`;
  const line = `${provenanceOf(translation)} · L${layer} ${which}`;
  const words = {title: _("Encoder, decoder and cross-attention as one"),
    sentence: `${state.text} · ${translation.target}`, provenance: line};
  const save = async (ending) => {
    const drawn = figure(state.view, frameOf(state, step, theme), words);
    const name = fileName([state.model, "joint",
      `L${layer}`, head === "mean" ? head : `H${head}`, state.view], ending);
    saveBlob(ending === "svg" ? svgBlob(drawn) : await pngBlob(drawn), name);
    return name;
  };
  const spec = specOf(state);
  byId("foot").replaceChildren(h("span", {}, line), waysOut({
    links: [["json", address("translate", spec)],
      [_("Explore"), url.pageOf("explore", {model: state.model, text: state.text,
        source_lang: state.sourceLang ?? undefined, target_lang: state.targetLang ?? undefined,
        ...(state.numBeams > 1 ? {target: translation.target} : {})})]],
    actions: [[_("Copy link"), () => copyLink(url.href())], ["SVG", () => save("svg")],
      ["PNG", () => save("png")]]
  }));
}

function draw(state, theme) {
  const {found} = state;
  const last = found.translation.steps.length - 1;
  const step = Math.min(state.step, last);
  form.elements.step.max = last;
  fillHeads(form, modelOf(state.model).shapes.cross);
  fillSelect(form.elements.model_b, [...data.models.map(({name}) => [name, name])
    .filter(([name]) => name !== state.model), ["none", _("none")]]);
  form.elements.model_b.value = state.modelB;
  drawSteps(found, step, theme);
  drawJoint(state, step, theme);
  drawReadings(byId("readings"), state, modelOf(state.model), (place) => page.want(place));
  drawDrove(byId("drove-table"), found);
  drawTree(found);
  drawReference(found, theme);
  drawBeside(found, step, theme);
  drawApart(state, step, theme);
  drawFoot(state, step, theme);
}

const page = mountPage({step: ({step, found}, by) => ({
  step: Math.max(0, Math.min(found.translation.steps.length - 1, Number(step) + by))}),
  data, fields: url.TRANSLATE, form, busy: byId("work"), given,
  local: ["step", "view"],
  isLive: true, fit, retype, answer, draw,
  texts: ({model, found: {records: {cross}}}) =>
    [{model, sequences: {source: cross.kTokens, target: cross.qTokens}}],
  controls: (wanted) => fillLanguages(form, modelOf(wanted.model), wanted),
  plain: {reference: "", step: 0, sourceLang: null, targetLang: null, numBeams: 1,
    lengthPenalty: 1}});

