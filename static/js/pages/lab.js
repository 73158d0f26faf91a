// The Lab: heads replaced one by one, and several at once, and what becomes of the prediction.

import {address, effects as effectsOf, lens as lensOf, sweep as swept,
  writes as writesOf} from "../lib/api.js";
import {attribute, showAttributions} from "../lib/attributions.js";
import {mountBlanks} from "../lib/blanks.js";
import {cellOf, chosen, largest, markedOf, nameIn, placeAt, rowsOf, tokensOf,
  widthOf} from "../lib/cells.js";
import {modelIn, pageData, pick} from "../lib/data.js";
import {replaceContent} from "../lib/decoding.js";
import {byId, h} from "../lib/dom.js";
import {attentionOf, drawEdges, edgeEffectsOf, showChoices} from "../lib/edges.js";
import {effectText, nameOfEffect, totalOf, verdictOf} from "../lib/effects.js";
import {edgesOf, headOf, insideOf, metricsOf, pathsOf, stackOf,
  sweepOf} from "../lib/experiment.js";
import {PAIRED, editsOf, howOfEdits, placeOf, placesIn, toggled} from "../lib/interventions.js";
import {fillLanguages, languagesIn, ownLanguages} from "../lib/languages.js";
import {_} from "../lib/language.js";
import {showMap} from "../lib/numbers.js";
import {drawAblations, drawCandidates, drawEdits, drawMetric,
  drawPartners} from "../lib/outcome.js";
import {drawLens, drawParts, drawWrites} from "../lib/parts.js";
import {mountPaths, showPaths} from "../lib/paths.js";
import {onPick} from "../lib/plot.js";
import {KIND_NAMES, placeName} from "../lib/reading.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {sortable} from "../lib/tables.js";
import * as url from "../lib/url.js";
import {mountPage} from "./engine.js";

const N_RANKED = 8;
const data = pageData();
const form = document.querySelector(".lab-ask");
const modelOf = (name) => modelIn(data.models, name) ?? data.models[0];
const shapeOf = ({model, kind}) => modelOf(model).shapes[kind];
const given = {...data};
const FRESH = {layer: null, head: null, query: null};

/** A wish with a kind, an experiment, a metric and places that are there. */
function fit(wanted) {
  const model = modelOf(wanted.model);
  const kind = model.kinds.includes(wanted.kind) ? wanted.kind : model.kinds[0];
  const usual = wanted.textB ? "denoise" : "zero";
  const isSound = wanted.how && (wanted.textB || !PAIRED.includes(wanted.how));
  const has = ({kind: name, layer, head}) => model.shapes[name]
    && layer < model.shapes[name][0] && (head === null || head < model.shapes[name][1]);
  const {layer, head} = wanted;
  const isPlace = layer === null || has({kind, layer, head});
  const metrics = metricsOf(model);
  const metric = metrics.includes(wanted.metric) ? wanted.metric : metrics[0];
  const beside = metric === "cosine" ? wanted.beside || wanted.textB : wanted.beside;
  return {...wanted, kind, metric, beside, how: isSound ? wanted.how : usual,
    ...languagesIn(model, wanted),
    edits: editsOf(placesIn(wanted.edits).filter(has)), ...(isPlace ? {} : FRESH)};
}

/** In other texts other heads matter, and tokens have other places; another model has others. */
function retype(wanted, before) {
  const isOther = (...keys) => keys.some((key) => (wanted[key] ?? "") !== (before[key] ?? ""));
  const isModel = isOther("model");
  const isText = isOther("text", "textB", "target") || isModel;
  const heads = placesIn(wanted.edits).filter(({query, act}) => query === null && act !== "block");
  return {...wanted, ...ownLanguages(wanted, before),
    ...(isText || isOther("kind", "how", "over") ? FRESH : {}),
    ...(isText ? {edits: editsOf(heads)} : {}),
    ...(isText && wanted.position === before.position ? {position: ""} : {}),
    ...(isModel ? {answer: "", other: "", edits: ""} : {})};
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
  const shape = shapeOf(wanted);
  const partial = {...wanted, effect: [], mlps: [], tokens: [], joint: null, isPartial: true};
  const onEvent = (name, {layer, effect, mlp}) => {
    if (name === "layer") {
      partial.effect[layer] = effect;
      partial.mlps[layer] = mlp;
    }
    drawProgress(partial.effect.length, shape[0]);
    if (partial.effect.length) drawMap({...wanted, found: {sweep: partial, shape}}, themeNow());
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
  const spec = sweepOf(wanted, modelOf(wanted.model), data.references);
  const sweep = await measured(wanted, spec, options);
  const shape = shapeOf(wanted);
  const place = chosen({...wanted, found: {sweep, shape}});
  const effects = await effectsOf(stackFor(wanted, place), options);
  return {found: {sweep, shape, effects, spec, edges: null, writes: null},
    later: (more) => inside(wanted, place, more)};
}

const stackFor = (wanted, place) =>
  stackOf(wanted, place, modelOf(wanted.model), data.references);
const insideFor = (wanted, place) => insideOf(wanted, modelOf(wanted.model), place);

/** The chosen head's map, what it writes, every part, every layer's reading; or why not. */
async function inside(wanted, place, options) {
  const orProblem = (asked) => asked.catch((error) => {
    options.signal.throwIfAborted();
    return {problem: error.message};
  });
  const isDifference = wanted.metric === "logit_difference";
  const [edges, writes, lens] = await Promise.all([
    place.head === null ? null : orProblem(edgesFor(wanted, place, options)),
    isDifference ? orProblem(writesOf(insideFor(wanted, place), options)) : null,
    isDifference ? orProblem(lensOf(insideFor(wanted), options)) : null]);
  return {edges, writes, lens};
}

/** The chosen head's attention, or what each of its edges does. */
async function edgesFor(wanted, place, options) {
  const model = modelOf(wanted.model);
  const shown = await attentionOf(headOf(wanted, model, place), options);
  return wanted.map === "effect"
    ? edgeEffectsOf(edgesOf(wanted, model, place), shown, options) : shown;
}

/** What the attributions of the chosen head are asked for with; null where there are none. */
function attributionsOf(state) {
  const place = chosen(state);
  if (place.head === null || "target" in state.found.effects.sequences) return null;
  const {kind, ...spec} = insideFor(state, place);
  return kind === "cross" ? null : spec;
}

// Drawing.

function drawMap(state, theme) {
  const {how, over, metric, found: {sweep, shape: [nLayer]}} = state;
  const rows = rowsOf(state);
  const [width, n] = [widthOf(state), Math.max(...rows.map((row) => row?.length ?? 0))];
  const empty = Array.from({length: n}, () => null);
  const z = Array.from({length: nLayer}, (none, layer) => rows[layer] ?? empty);
  const ofHeads = sweep.effect.flat().map((value) => Math.abs(value ?? 0));
  const most = Math.max(1e-9, ...ofHeads); // MLPs beyond it have the colour of its end
  const tokens = tokensOf(state);
  const named = (i) => (over === "heads" || !tokens[i] ? `${i}` : tokens[i]);
  const columns = Array.from({length: n}, (none, i) => (i < width ? named(i) : _("MLP")));
  const title = byId("map-title").textContent;
  const drawn = showMap(byId("effects-plot"), {z, name: nameOfEffect(how, metric), theme,
    locked: null, axes: [_("layer"), over === "heads" ? _("head") : _("token")],
    qLabels: z.map((none, i) => `${i}`), kLabels: columns, missing: _("not measured"),
    range: {low: -most, high: most, scale: "signed"}, chosen: cellOf(state),
    marked: markedOf(state), sheet: {axes: ["layer", over === "heads" ? "head" : "position"],
      value: "effect", areNames: over === "heads"}},
  wordsOf(state, title));
  drawn.then(listen, () => {});
}

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

/** An edge that is clicked is blocked, or the only one of its query; or is so no more. */
function editEdge(q, k) {
  const state = page.get();
  const {kind, layer, head} = chosen(state);
  const {act} = state;
  const place = placeOf({kind, layer, head, act, query: q, key: act === "even" ? null : k});
  page.want({layer, head, query: null, edits: toggled(state.edits, place)});
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
  const {how, over, kind, metric, found: {sweep, shape}} = state;
  const [value, layer, column] = largest(sweep.effect)[0] ?? [];
  const place = nameIn(state, placeAt(state, layer, column));
  byId("verdict").textContent = verdictOf({how, place, value, metric});
  byId("total").textContent = sweep.isPartial || over !== "heads" ? ""
    : totalOf({...sweep, how, kind: KIND_NAMES[kind], metric});
  byId("progress").textContent = sweep.isPartial
    ? _("Stopped: {n} of {all} layers were measured.", {n: sweep.effect.length,
      all: shape[0]}) : "";
}

/** The largest effects, each a button that makes it an edit. */
function drawRanked(state) {
  const {metric, found: {sweep: {estimate, estimateMlps, agreement = null}}} = state;
  const cells = largest(rowsOf(state)).slice(0, N_RANKED);
  const name = (layer, i) => nameIn(state, placeAt(state, layer, i));
  const byName = new Map(cells.map(([, layer, i]) => [name(layer, i), [layer, i]]));
  const guess = (layer, i) => estimate[layer][i] ?? estimateMlps[layer];
  const rows = cells.map(([value, layer, i]) => [name(layer, i), value,
    ...(estimate ? [guess(layer, i)] : [])]);
  replaceContent(byId("ranked"), sortable({caption: _("Largest effects; a click makes one an edit"),
    columns: [[_("place")], [nameOfEffect(state.how, metric), 3],
      ...(estimate ? [[_("by the gradient"), 3]] : [])],
    rows, pick: ([place]) => edit(...byName.get(place))}));
  byId("agreement").textContent = agreement === null ? ""
    : _("One gradient estimates all effects at once; the ranks of its estimates agree with the measured ones to {rho} (Spearman, 1 is the same order).",
      {rho: agreement.toFixed(2)});
}

function drawHead(state, theme) {
  const {found: {effects, edges}} = state;
  const place = chosen(state);
  const isHead = place.head !== null;
  byId("context-place").textContent = isHead ? placeName(place.layer, place.head) : "";
  byId("head").hidden = !isHead;
  byId("edges-part").hidden = !isHead || !edges || Boolean(edges.problem);
  if (!isHead) return;
  byId("head-title").textContent = _("Layer {layer} · Head {head}", place);
  drawAblations(effects, theme);
  if (!byId("edges-part").hidden) drawHeadMap(state, place, theme);
}

/** The chosen head's map; the edges that are edits are framed. */
function drawHeadMap(state, place, theme) {
  const isHere = ({kind, layer, head, act, key}) => key !== null && act !== "replace"
    && [kind, layer, head].join() === [place.kind, place.layer, place.head].join();
  drawEdges(state.found.edges, place, {theme, name: nameOfEffect("zero", state.metric),
    marked: placesIn(state.edits).filter(isHere).map(({query, key}) => [query, key]),
    words: wordsOf(state, byId("edges-title").textContent), pick: editEdge});
  showChoices(state);
}

function drawFoot(state) {
  const {spec, spec: {clean}} = state.found;
  byId("foot").replaceChildren(h("span", {}, wordsOf(state, "").provenance),
    waysOut({links: [["json", address("lab/sweep", spec)],
      [_("JSON of the edits"), address("lab/effects", stackFor(state, chosen(state)))],
      ...(state.metric === "logit_difference" ? [
        [_("JSON of the parts"), address("lab/writes", insideFor(state, chosen(state)))],
        [_("JSON of the layers"), address("lab/lens", insideFor(state))]] : []),
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
  for (const option of form.elements.metric.options) {
    option.hidden = option.disabled = !metricsOf(model).includes(option.value);
  }
  for (const field of form.querySelectorAll("[data-metrics]")) {
    field.hidden = !field.dataset.metrics.split(" ").includes(wanted.metric);
  }
  form.elements.reference.placeholder = (data.references[wanted.model] ?? []).join("\n");
  fillLanguages(form, model, wanted);
}

/** What a head writes, the parts, and the layers: those of a difference of logits. */
function drawInside(state, theme) {
  const {metric, found: {writes, lens}} = state;
  const isDifference = metric === "logit_difference";
  for (const id of ["writes-part", "parts", "lens-part"]) {
    if (!isDifference) byId(id).hidden = true;
  }
  if (!isDifference || !writes) return;
  byId("lens-part").hidden = false;
  const words = (id) => wordsOf(state, byId(id).textContent);
  drawWrites(writes, theme, words("writes-title"));
  drawParts(writes, theme, words("parts-title"));
  drawLens(lens, theme, words("lens-title"));
}

function drawPathsOf(state, theme) {
  const spec = pathsOf(state, modelOf(state.model), chosen(state));
  showPaths(state, spec, {theme, hasHead: chosen(state).head !== null, patch: page.patch,
    words: wordsOf(state, byId("paths-title").textContent),
    address: spec && address("lab/paths", spec)});
}

function draw(state, theme) {
  const {found: {effects}} = state;
  byId("lab").hidden = false;
  drawVerdict(state);
  drawMap(state, theme);
  drawRanked(state);
  drawMetric(effects, form, theme);
  const places = placesIn(state.edits);
  drawEdits(effects, {how: howOfEdits(state.how), metric: state.metric,
    words: wordsOf(state, _("Edits")), names: places.map((place) => nameIn(state, place)),
    remove: (i) => page.want({edits: editsOf(places.filter((none, j) => j !== i))})});
  drawCandidates(effects);
  drawPartners(effects);
  drawHead(state, theme);
  drawInside(state, theme);
  showAttributions(state.attributed, attributionsOf(state), theme,
    wordsOf(state, byId("attributions-title").textContent));
  drawPathsOf(state, theme);
  drawFoot(state);
  document.title = `${effectText(largest(state.found.sweep.effect)[0]?.[0] ?? 0, state.how,
    state.metric)} · ${_("Lab")} · Attention Atlas`;
}

const page = mountPage({data, fields: url.LAB, form, busy: byId("lab"), late: byId("inside"), given,
  more: {attributed: null, pathsMeasured: null},
  fit, retype,
  isLive: true, answer, draw,
  asks: (wanted) => ({...sweepOf(wanted, modelOf(wanted.model), data.references),
    ...pick(wanted, ["textB", "edits", "layer", "head", "query", "map"])}),
  local: ["act", "paths", "into"],
  controls: drawControls,
  context: (state) => {
    const {kind, layer, head} = chosen(state);
    return head === null ? {kind, layer: "", head: ""} : {kind, layer: `${layer}`, head: `${head}`};
  },
  texts: ({model, found: {effects}}) => [effects.sequences, effects.corruptedSequences]
    .filter(Boolean).map((sequences) => ({model, sequences})),
  plain: {target: "", sourceLang: null, targetLang: null, over: "heads", kind: null, how: null,
    position: "", answer: "", other: "", reference: "", edits: "", metric: "logit_difference",
    beside: "", map: "attention", act: "block", paths: "", into: "", ...FRESH}});

byId("attribute").addEventListener("click", () => {
  const state = page.get();
  attribute(attributionsOf(state), state.found.effects.sequences.source,
    (attributed) => page.patch({attributed})).catch(({message}) => page.patch({problem: message}));
});
mountPaths(page.want);
byId("stop").addEventListener("click", () => stop());
byId("clear-edits").addEventListener("click", () => page.want({edits: ""}));
for (const radio of document.querySelectorAll("#edges-part input[name=act]")) {
  radio.addEventListener("change", () => page.want({act: radio.value}));
}
byId("edges-map").addEventListener("change", ({target}) => page.want({map: target.value}));
for (const button of document.querySelectorAll("#edges-part [data-by]")) {
  button.addEventListener("click", () => {
    const {kind, layer, head} = chosen(page.get());
    const place = placeOf({kind, layer, head, act: "scale", by: Number(button.dataset.by)});
    page.want({layer, head, edits: toggled(page.get().edits, place)});
  });
}
mountBlanks(form, byId("blanks"), (name) => modelOf(name).mask);
