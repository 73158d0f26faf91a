// The Explore page: every head of a text as a picture, and one of them in a view.

import {address} from "../lib/api.js";
import {mountOptions, mountTabs} from "../lib/controls.js";
import {modelIn, pageData, pick} from "../lib/data.js";
import {byId} from "../lib/dom.js";
import {fetchAnatomy, fetchMetrics, fetchParts, remember} from "../lib/fetched.js";
import {shownHeads} from "../lib/heads.js";
import {mountInputs} from "../lib/inputs.js";
import {followHonesty, forgetHonesty} from "../lib/honesty.js";
import {_} from "../lib/language.js";
import {ownLanguages} from "../lib/languages.js";
import {fit, follow, inputsOf, partsOf} from "../lib/picture.js";
import {placeName, sidesOf} from "../lib/reading.js";
import {saveAddress} from "../lib/save.js";
import {savePicture} from "../lib/saved.js";
import {mountSnapshots} from "../lib/snapshots.js";
import {copyLink, showPicture, waysOut} from "../lib/summary.js";
import {themeOf} from "../lib/theme.js";
import {label} from "../lib/token.js";
import * as url from "../lib/url.js";
import {frame} from "../lib/view.js";
import * as anatomy from "../views/anatomy.js";
import * as grid from "../views/grid.js";
import * as lines from "../views/lines.js";
import * as matrix from "../views/matrix.js";
import * as table from "../views/table.js";
import * as tokens from "../views/tokens.js";
import {mountPage} from "./engine.js";

const EVERY_VIEW = [lines, matrix, tokens, anatomy, table];
const FRAME = ["overview", "metrics", "record", "shown", "anatomy", "layer", "head", "heads",
  "query", "queries",
  "side", "threshold", "top", "segments", "low", "high", "scale", "metric", "least", "several",
  "reduce"];

const data = pageData();
const isOffline = "offline" in data; // a file that stands alone: there is no server to ask
const VIEWS = EVERY_VIEW.filter((view) => !isOffline || view !== anatomy);
const form = isOffline ? null : document.querySelector("form.ask");
const panel = byId("view");
const picture = byId("picture");

if (data.run) remember("run", inputsOf(data, data.models), data.run);

// What is asked for, and the answer.

/** A wish with what its model has. */
function fitted(wanted) {
  const {textPair, target} = wanted; // "" is none
  const given = {...wanted, textPair: textPair || null, target: target || null};
  const state = fit(given, data.models, data);
  return isOffline ? {...state, ...alone(wanted)} : state;
}

/** What a file that stands alone can show: heads as they are, no anatomy. */
function alone({view, layer, head}) {
  return {view: view === "anatomy" ? "lines" : view, reduce: "none", quantity: "attn", heads: "",
    layer: layer ?? data.layer, head: head ?? data.head};
}

/** A model that is not open yet is not asked for; another one comes with its own languages. */
function retype(wanted, before) {
  const {model} = modelIn(data.models, wanted.model) ? wanted : before;
  return {...wanted, model, ...ownLanguages({model}, before)};
}

/** What is chosen last counts: words, or a mean of heads, take the place of scores. */
function agreed(patch) {
  const {view, quantity} = page.get();
  const clashes = ["merge", "reduce"].some((key) => ![undefined, "none"].includes(patch[key]))
    || patch.special === "renormalise";
  const leaves = patch.view && view === "anatomy";
  return quantity === "scores" && (clashes || leaves) ? {...patch, quantity: "attn"} : patch;
}

const emit = (patch, how) => page.want(agreed(patch), how);

/** The parts of a picture; the anatomy is of one query. */
const asks = (wanted) => ({...partsOf(wanted, data.models),
  anatomy: wanted.view === "anatomy" ? [wanted.query, wanted.side] : null});

async function answer(wanted, options, before) {
  if (!isOffline) forgetHonesty();
  const parts = partsOf(wanted, data.models);
  const show = {shown: shownHeads(wanted), metric: wanted.metric};
  const found = await fetchParts(parts, show, options);
  const axis = wanted.side === "query" ? "qTokens" : "kTokens";
  const query = follow(wanted.query, before?.record[axis], found.record[axis],
    found.run === before?.run);
  const queries = !before || found.run === before.run ? wanted.queries : ""; // of another text
  const apart = await fetchAnatomy({...wanted, query}, parts, found.record, options);
  const later = async ({signal}) => ({metrics: await fetchMetrics(parts, {signal})});
  return {query, queries, found: {...found, parts, anatomy: apart}, later};
}

// Drawing.

const updateInputs = form ? mountInputs(form, data, () => page.retyped()) : () => {};
const updateSnapshots = form ? mountSnapshots(byId("snapshots"), data.models, chooseModel)
  : () => {};
const updateOptions = mountOptions(data, (patch, how) => emit(patch, how));
const updateTabs = mountTabs(VIEWS, panel, data, (patch) => emit(patch));
let mounted = null; // {grid, view, id}
let described = {};

/** As in the picker, which opens what is not open yet. */
function chooseModel(name) {
  form.elements.model.value = name;
  form.elements.model.dispatchEvent(new Event("change", {bubbles: true}));
}

/** The controls beside the form: as wanted, for the tokens on screen. */
function controls(wanted, {found: {run, record, shown}}) {
  updateInputs(wanted, run.targetDecoded ? run.target : null);
  updateSnapshots(wanted.model);
  updateOptions({...wanted, record, shown});
  updateTabs(wanted);
}

function draw(state, theme) {
  const drawn = {...state, ...state.found};
  describe(drawn, theme);
  picture.hidden = false;
  if (mounted?.id !== drawn.view) {
    mounted?.view.destroy();
    const view = VIEWS.find(({id}) => id === drawn.view).mount(panel, emit);
    const heads = mounted?.grid ?? grid.mount(byId("heads"), emit);
    mounted = {grid: heads, view, id: drawn.view};
  }
  const next = frameOf(drawn, theme);
  mounted.grid.update(next);
  mounted.view.update(next)?.catch((error) => page.patch({problem: error.message}));
  if (!isOffline) followHonesty(drawn, modelIn(data.models, drawn.model));
}

const stepped = (i, by, n) => Math.max(0, Math.min(n - 1, (i ?? -1) + by));
const tokenText = (token) => (token ? _("Token {token}", {token: label(token)}) : "");
const frameOf = (drawn, theme) => frame({...pick(drawn, FRAME), theme});

function describe(drawn, theme) {
  const keys = ["record", "shown", "metrics", "low", "high", "scale", "view"];
  const now = {...pick(drawn, keys), theme};
  if (Object.keys(now).every((key) => now[key] === described[key])) return;
  described = now;
  showPicture(drawn, theme, modelIn(data.models, drawn.model),
    waysOut({links: links(drawn), actions: actions(), linked: linkedHead(drawn)}));
  document.title = `${drawn.text.slice(0, 60)} · Attention Atlas`;
}

/** The numbers on screen in each format; with an adapter, the comparison with its base. */
function links({parts, model, text}) {
  if (isOffline) return [];
  const base = modelIn(data.models, model)?.base ?? null;
  const both = {model: base, model_b: model, text, text_b: text};
  const compare = base === null ? []
    : [[_("Compare it with {base}", {base}), url.pageOf("compare", both)]];
  const link = (format) => [format, address("attention", {...parts.record, format})];
  return [...["json", "csv", "npz", "safetensors"].map(link), ...compare];
}

/** The numbers are of one head, the first where several are drawn. */
const linkedHead = ({shown, layer, head}) =>
  (shown.length > 1 && !isOffline ? _("{name} alone:", {name: placeName(layer, head)}) : "");

function actions() {
  const copy = () => copyLink(url.href());
  const pictures = [["SVG", () => save("svg")], ["PNG", () => save("png")],
    [_("All heads as SVG"), () => save("svg", "grid")]];
  const whole = () => saveAddress(url.standalone());
  return isOffline ? pictures : [[_("Copy link"), copy], ...pictures, [_("HTML"), whole]];
}

/** The picture on screen as a file. */
function save(ending, view = page.get().view) {
  const state = page.get();
  const drawn = {...state, ...state.found};
  return savePicture(drawn, frameOf(drawn, themeOf(state)), view, ending);
}

const page = mountPage({data, fields: url.EXPLORE, form, busy: picture, late: byId("heads"),
  given: {...data, textPair: null, target: null, sourceLang: null, targetLang: null, query: null},
  first: isOffline && !url.hasQuery() ? url.parse(data.offline) : url.current(),
  context: ({query, side, found: {record}}) => ({
    token: query === null ? "" : tokenText(sidesOf(record, side)[0][query])}),
  step: ({query, side, found: {record}}, by) => ({side,
    query: stepped(query, by, sidesOf(record, side)[0].length)}),
  texts: ({model, found: {run: {sequences}}}) => [{model, sequences}],
  more: {several: false}, // a click on a head adds it to those shown
  fit: fitted, retype, asks, answer, controls, draw,
  addressed: (state) => ({...state, ...inputsOf(state, data.models)}),
  plain: {textPair: null, target: null, sourceLang: null, targetLang: null, heads: "",
    reduce: "none", quantity: "attn", query: null, side: "query"},
  help: {
    focusText: () => form?.elements.text.focus(),
    fullScreen: () => (document.fullscreenElement ? document.exitFullscreen()
      : picture.requestFullscreen?.())
  }});
