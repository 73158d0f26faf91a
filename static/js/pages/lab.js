// The Lab: heads replaced one by one, and several at once, and what becomes of the prediction.

import {address, effects as effectsOf, lens as lensOf, sweep as swept,
  writes as writesOf} from "../lib/api.js";
import {attribute, showAttributions} from "../lib/attributions.js";
import {drawAblations, drawCandidates, drawEdits, drawMetric,
  drawPartners} from "../lib/outcome.js";
import {modelIn, pageData, pick} from "../lib/data.js";
import {replaceContent} from "../lib/decoding.js";
import {byId, h} from "../lib/dom.js";
import {PAIRED, editsOf, effectText, howOfEdits, isShare, nameOf, placesIn, toggled,
  totalOf, verdictOf} from "../lib/interventions.js";
import {fillLanguages, languagesIn, ownLanguages} from "../lib/languages.js";
import {_} from "../lib/language.js";
import {showMap} from "../lib/numbers.js";
import {drawLens, drawParts, drawWrites} from "../lib/parts.js";
import {onPick} from "../lib/plot.js";
import {KIND_NAMES, placeName} from "../lib/reading.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {sortable} from "../lib/tables.js";
import {label} from "../lib/token.js";
import * as url from "../lib/url.js";
import {mountBlanks} from "../lib/blanks.js";
import {mountPage} from "./engine.js";

const N_RANKED = 8;
const data = pageData();
const form = document.querySelector(".lab-ask");
const modelOf = (name) => modelIn(data.models, name) ?? data.models[0];
const given = {...data};
const FRESH = {layer: null, head: null, query: null};

/** A wish with a kind, an experiment and places that are there. */
function fit(wanted) {
  const model = modelOf(wanted.model);
  const kind = model.kinds.includes(wanted.kind) ? wanted.kind : model.kinds[0];
  const usual = wanted.textB ? "denoise" : "zero";
  const isSound = wanted.how && (wanted.textB || !PAIRED.includes(wanted.how));
  const has = ({kind: name, layer, head}) => model.shapes[name]
    && layer < model.shapes[name][0] && (head === null || head < model.shapes[name][1]);
  const {layer, head} = wanted;
  const isPlace = layer === null || has({kind, layer, head});
  return {...wanted, kind, how: isSound ? wanted.how : usual, ...languagesIn(model, wanted),
    edits: editsOf(placesIn(wanted.edits).filter(has)), ...(isPlace ? {} : FRESH)};
}

/** In other texts other heads matter, and tokens have other places; another model has others. */
function retype(wanted, before) {
  const isOther = (...keys) => keys.some((key) => (wanted[key] ?? "") !== (before[key] ?? ""));
  const isModel = isOther("model");
  const isText = isOther("text", "textB", "target") || isModel;
  const heads = placesIn(wanted.edits).filter(({query}) => query === null);
  return {...wanted, ...ownLanguages(wanted, before),
    ...(isText || isOther("kind", "how", "over") ? FRESH : {}),
    ...(isText ? {edits: editsOf(heads)} : {}),
    ...(isText && wanted.position === before.position ? {position: ""} : {}),
    ...(isModel ? {answer: "", other: "", edits: ""} : {})};
}

const linesOf = (texts) => texts.split("\n").filter((line) => line.trim());
const tokenOf = (text) => (/^\d+$/.test(text) ? Number(text) : text);

/** What both resources are asked for. */
function pairOf({model, text, textB, target, sourceLang, targetLang, position, answer, other}) {
  const isTranslator = modelOf(model).tasks.includes("translate");
  const clean = {model, text, target: isTranslator && target ? target : null, sourceLang,
    targetLang};
  const metric = {position: position === "" ? null : Number(position),
    answer: answer ? tokenOf(answer) : null, other: other ? tokenOf(other) : null};
  return {clean, corrupted: textB ? {...clean, text: textB} : null, metric};
}

/** The texts of a mean: one's own, or the page's. */
function referenceOf({reference, model}) {
  const own = linesOf(reference);
  return JSON.stringify(own.length ? own : data.references[model] ?? []);
}

/** A sweep that takes nothing from the second text does without it, whatever its length. */
function sweepOf(wanted) {
  const {how, over, kind} = wanted;
  const pair = pairOf(wanted);
  return {...pair, corrupted: PAIRED.includes(how) ? pair.corrupted : null, how, over, kind,
    reference: how === "mean" ? referenceOf(wanted) : null};
}

function stackOf(wanted, {layer, head}) {
  const how = howOfEdits(wanted.how);
  const interventions = placesIn(wanted.edits).map((place) => ({how, ...place}));
  const ablations = head === null ? [] : [{kind: wanted.kind, layer, head}];
  return {...pairOf(wanted), interventions: JSON.stringify(interventions),
    ablations: JSON.stringify(ablations), reference: referenceOf(wanted)};
}

// Asking.

let stop = () => {}; // go on with what has come so far
const MOST_KEPT = 6;
const kept = new Map(); // sweeps that were asked for, by their request

/** A sweep, its layers drawn as they come; stopped, it is what has come. */
async function measured(wanted, spec, options) {
  const key = JSON.stringify(spec);
  if (kept.has(key)) return kept.get(key);
  const halt = new AbortController();
  const signal = AbortSignal.any([options.signal, halt.signal]);
  const model = modelOf(wanted.model);
  const partial = {...wanted, metric: null, effect: [], tokens: [], joint: null, isPartial: true};
  const onEvent = (name, event) => {
    if (name === "start") partial.metric = event.metric;
    if (name === "layer") partial.effect[event.layer] = event.effect;
    drawProgress(partial.effect.length, model.shapes[wanted.kind][0]);
    if (partial.effect.length) drawMap({...wanted, found: {sweep: partial}}, themeNow());
  };
  stop = () => halt.abort();
  byId("stop").hidden = false;
  try {
    const result = await swept(spec, {...options, signal, onEvent});
    kept.set(key, result);
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
    return result;
  } catch (error) {
    if (!halt.signal.aborted || !partial.effect.length) throw error;
    return partial;
  } finally {
    if (!options.signal.aborted) {
      byId("stop").hidden = true;
      byId("progress").textContent = "";
    }
  }
}

const themeNow = () => document.documentElement.dataset.theme;

function drawProgress(n, all) {
  byId("progress").textContent = _("{n} of {all} layers", {n, all});
}

async function answer(wanted, options) {
  const spec = sweepOf(wanted);
  const sweep = await measured(wanted, spec, options);
  const place = chosen({...wanted, found: {sweep}});
  const effects = await effectsOf(stackOf(wanted, place), options);
  return {found: {sweep, effects, spec, writes: null},
    later: (more) => written(wanted, place, more)};
}

/** What the chosen head writes, every part, every layer's reading; or why that is not known. */
async function written(wanted, place, options) {
  const orProblem = (asked) => asked.catch((error) => {
    options.signal.throwIfAborted();
    return {problem: error.message};
  });
  const [writes, lens] = await Promise.all([
    orProblem(writesOf(insideOf(wanted, place), options)),
    orProblem(lensOf(insideOf(wanted), options))]);
  return {writes, lens};
}

/** What the parts of the clean run are asked for with, and those of one head. */
function insideOf(wanted, {layer = null, head = null} = {}) {
  const {clean, metric} = pairOf(wanted);
  return {clean, metric, ...(head === null ? {} : {kind: wanted.kind, layer, head})};
}

/** What the attributions of the chosen head are asked for with; null where there are none. */
function attributionsOf(state) {
  const place = chosen(state);
  if (place.head === null || "target" in state.found.effects.sequences) return null;
  const {kind, ...spec} = insideOf(state, place);
  return kind === "cross" ? null : spec;
}

// Drawing.

/** Layer and column of the largest effect of those that have come. */
function largest(effect) {
  const cells = effect.flatMap((row, layer) => (row ?? []).map((value, i) => [value, layer, i]));
  return cells.sort(([a], [b]) => Math.abs(b) - Math.abs(a));
}

/** The cell that is looked at: the chosen one, else the one of the largest effect. */
function cellOf({layer, head, query, over, found: {sweep: {effect}}}) {
  const column = over === "heads" ? head : query;
  if (layer !== null && column !== null && column < (effect[layer]?.length ?? 0)) {
    return [layer, column];
  }
  const [, ...cell] = largest(effect)[0] ?? [0, 0, 0];
  return cell;
}

/** The place that is looked at. @returns {import("../lib/interventions.js").Place} */
function chosen(state) {
  return placeAt(state, ...cellOf(state));
}

const placeAt = ({over, kind}, layer, column) => ({kind, layer,
  head: over === "heads" ? column : null, query: over === "heads" ? null : column});

const tokensOf = ({kind, found: {sweep, effects}}) => {
  const {source = [], target} = effects?.sequences ?? {};
  if (sweep.tokens.length) return sweep.tokens;
  return kind === "encoder" ? source : target ?? source;
};

function drawMap(state, theme) {
  const {how, over, kind, edits, found: {sweep}} = state;
  const [nLayer, nHead] = modelOf(state.model).shapes[kind];
  const width = over === "heads" ? nHead : Math.max(...sweep.effect.map((row) => row?.length ?? 0));
  const empty = Array.from({length: width}, () => null);
  const z = Array.from({length: nLayer}, (none, layer) => sweep.effect[layer] ?? empty);
  const most = Math.max(1e-9, ...z.flat().map((value) => Math.abs(value ?? 0)));
  const tokens = tokensOf(state);
  const columns = Array.from({length: width}, (none, i) =>
    (over === "heads" || !tokens[i] ? `${i}` : label(tokens[i])));
  const marked = placesIn(edits).filter((place) => place.kind === kind
    && (place.head === null) === (over === "positions"))
    .map(({layer, head, query}) => [layer, head ?? query]);
  const title = byId("map-title").textContent;
  const drawn = showMap(byId("effects-plot"), {z, name: nameOfEffect(how), theme, locked: null,
    axes: [_("layer"), over === "heads" ? _("head") : _("token")],
    qLabels: z.map((none, i) => `${i}`), kLabels: columns, missing: _("not measured"),
    range: {low: -most, high: most, scale: "signed"}, chosen: cellOf(state), marked,
    sheet: {axes: ["layer", over === "heads" ? "head" : "position"], value: "effect"}},
  wordsOf(state, title));
  drawn.then(listen, () => {});
}

const nameOfEffect = (how) => (isShare(how) ? _("share of the difference")
  : _("change of the difference"));

let listens = false;
function listen() {
  if (listens) return;
  listens = true;
  onPick(byId("effects-plot"), edit);
}

/** A cell that is clicked is looked at, and becomes an edit, or is one no more. */
function edit(layer, column) {
  const state = page.get();
  const place = placeAt(state, layer, column);
  page.want({layer, head: place.head, query: place.query, edits: toggled(state.edits, place)});
}

/** What a part is of, and where its numbers come from. */
function wordsOf(state, title) {
  const {model, kind, how, over, text, textB, found: {effects, sweep}} = state;
  const {sha256 = "", version = ""} = (effects ?? sweep).provenance ?? {};
  const sources = [model, _("weights {sha}", {sha: sha256.slice(0, 8)}),
    _("{kind} attention", {kind: KIND_NAMES[kind]}), HOWS[how], `Attention Atlas ${version}`];
  return {title: `${title} · ${[text, textB].filter(Boolean).join(" | ")}`,
    provenance: sources.join(" · "), file: ["lab", model, kind, how, over]};
}

const HOWS = Object.fromEntries(Array.from(form.elements.how.options,
  ({value, textContent}) => [value, textContent]));

function drawVerdict(state) {
  const {how, over, kind, found: {sweep}} = state;
  const [value, layer, column] = largest(sweep.effect)[0] ?? [];
  const place = nameOf(placeAt(state, layer, column), tokensOf(state));
  byId("verdict").textContent = verdictOf({how, place, value});
  byId("total").textContent = sweep.isPartial || over === "positions" ? ""
    : totalOf({...sweep, how, kind: KIND_NAMES[kind]});
  byId("progress").textContent = sweep.isPartial
    ? _("Stopped: {n} of {all} layers were measured.", {n: sweep.effect.length,
      all: modelOf(state.model).shapes[kind][0]}) : "";
}

/** The largest effects, each a button that makes it an edit. */
function drawRanked(state) {
  const {found: {sweep}} = state;
  const tokens = tokensOf(state);
  const cells = largest(sweep.effect).slice(0, N_RANKED);
  const name = (layer, i) => nameOf(placeAt(state, layer, i), tokens);
  const byName = new Map(cells.map(([, layer, i]) => [name(layer, i), [layer, i]]));
  const rows = cells.map(([value, layer, i]) => [name(layer, i), value,
    ...(sweep.estimate ? [sweep.estimate[layer][i]] : [])]);
  replaceContent(byId("ranked"), sortable({caption: _("Largest effects; a click makes one an edit"),
    columns: [[_("place")], [nameOfEffect(state.how), 3],
      ...(sweep.estimate ? [[_("by the gradient"), 3]] : [])],
    rows, pick: ([place]) => edit(...byName.get(place))}));
  const agreement = sweep.agreement ?? null;
  byId("agreement").textContent = agreement === null ? ""
    : _("One gradient estimates all effects at once; the ranks of its estimates agree with the measured ones to {rho} (Spearman, 1 is the same order).",
      {rho: agreement.toFixed(2)});
}

function drawHead(state, theme) {
  const {found: {effects}} = state;
  const place = chosen(state);
  const isHead = place.head !== null;
  byId("context-place").textContent = isHead ? placeName(place.layer, place.head) : "";
  byId("head").hidden = !isHead;
  if (!isHead) return;
  byId("head-title").textContent = _("Layer {layer} · Head {head}", place);
  drawAblations(effects, theme);
}

function drawFoot(state) {
  const {spec, spec: {clean}} = state.found;
  byId("foot").replaceChildren(h("span", {}, wordsOf(state, "").provenance),
    waysOut({links: [["json", address("lab/sweep", spec)],
      [_("JSON of the edits"), address("lab/effects", stackOf(state, chosen(state)))],
      [_("JSON of the parts"), address("lab/writes", insideOf(state, chosen(state)))],
      [_("JSON of the layers"), address("lab/lens", insideOf(state))],
      [_("Explore"), url.pageOf("explore", {model: clean.model, text: clean.text,
        kind: state.kind, ...placeParts(chosen(state))})]],
    actions: [[_("Copy link"), () => copyLink(url.href())]]}));
}

const placeParts = ({layer, head}) => (head === null ? {} : {layer, head});

function drawControls(wanted) {
  const model = modelOf(wanted.model);
  const isTranslator = model.tasks.includes("translate");
  byId("target-field").hidden = !isTranslator;
  byId("reference-field").hidden = wanted.how !== "mean";
  form.elements.kind.closest("label").hidden = model.kinds.length < 2;
  for (const option of form.elements.kind.options) {
    option.hidden = option.disabled = !model.kinds.includes(option.value);
  }
  for (const option of form.elements.how.options) {
    option.disabled = PAIRED.includes(option.value) && !wanted.textB;
  }
  form.elements.reference.placeholder = (data.references[wanted.model] ?? []).join("\n");
  fillLanguages(form, model, wanted);
}

function draw(state, theme) {
  const {found: {effects}} = state;
  byId("lab").hidden = false;
  drawVerdict(state);
  drawMap(state, theme);
  drawRanked(state);
  drawMetric(effects, form, theme);
  const places = placesIn(state.edits);
  drawEdits(effects, {how: howOfEdits(state.how),
    names: places.map((place) => nameOf(place, tokensOf(state))),
    remove: (i) => page.want({edits: editsOf(places.filter((none, j) => j !== i))})});
  drawCandidates(effects);
  drawPartners(effects);
  drawHead(state, theme);
  if (state.found.writes) {
    drawWrites(state.found.writes, theme);
    drawParts(state.found.writes, theme);
    drawLens(state.found.lens, theme);
  }
  showAttributions(state.attributed, attributionsOf(state), theme);
  drawFoot(state);
  document.title = `${effectText(largest(state.found.sweep.effect)[0]?.[0] ?? 0, state.how)} · ${
    _("Lab")} · Attention Atlas`;
}

const page = mountPage({data, fields: url.LAB, form, busy: byId("lab"), late: byId("inside"), given,
  more: {attributed: null},
  fit, retype,
  isLive: true, answer, draw,
  asks: (wanted) => ({...sweepOf(wanted),
    ...pick(wanted, ["textB", "edits", "layer", "head", "query"])}),
  controls: drawControls,
  context: (state) => {
    const {kind, layer, head} = chosen(state);
    return head === null ? {kind, layer: "", head: ""} : {kind, layer: `${layer}`, head: `${head}`};
  },
  texts: ({model, found: {effects}}) => [effects.sequences, effects.corruptedSequences]
    .filter(Boolean).map((sequences) => ({model, sequences})),
  plain: {target: "", sourceLang: null, targetLang: null, over: "heads", kind: null, how: null,
    position: "", answer: "", other: "", reference: "", edits: "", ...FRESH}});

byId("attribute").addEventListener("click", () => {
  const state = page.get();
  attribute(attributionsOf(state), state.found.effects.sequences.source,
    (attributed) => page.patch({attributed})).catch(({message}) => page.patch({problem: message}));
});
byId("stop").addEventListener("click", () => stop());
byId("clear-edits").addEventListener("click", () => page.want({edits: ""}));
mountBlanks(form, byId("blanks"), (name) => modelOf(name).mask);
