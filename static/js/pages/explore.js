// Reads the page's data, makes the store, mounts the controls and the chosen view, and keeps the
// picture up to date. The only file with side effects.

import {address, camel} from "../lib/api.js";
import {mountForm, mountOptions, mountTabs, mountTheme} from "../lib/controls.js";
import {figure} from "../lib/figure.js";
import {shownHeads} from "../lib/heads.js";
import {mountHelp} from "../lib/help.js";
import {_} from "../lib/language.js";
import {
  INPUTS, fetchAnatomy, fetchMetrics, fetchParts, fit, follow, inputsOf, partsOf, pick, remember
} from "../lib/picture.js";
import {pictureTitle, placeName} from "../lib/reading.js";
import {fileName, pngBlob, saveAddress, saveBlob, svgBlob} from "../lib/save.js";
import {createStore} from "../lib/store.js";
import {copyLink, gridProvenance, provenance, showMessages, showPicture, waysOut} from "../lib/summary.js";
import * as url from "../lib/url.js";
import * as anatomy from "../views/anatomy.js";
import * as grid from "../views/grid.js";
import * as lines from "../views/lines.js";
import * as matrix from "../views/matrix.js";
import * as table from "../views/table.js";
import * as tokens from "../views/tokens.js";

const EVERY_VIEW = [lines, matrix, tokens, anatomy, table];
const TYPING_PAUSE = 250;
const FRAME = ["overview", "metrics", "record", "shown", "anatomy", "layer", "head", "heads", "query",
  "side", "threshold", "top", "segments", "low", "high", "scale", "metric", "least", "several",
  "reduce"];

const page = camel(JSON.parse(document.getElementById("page").textContent));
const isOffline = "offline" in page; // a file that stands alone: there is no server to ask
const VIEWS = EVERY_VIEW.filter((view) => !isOffline || view !== anatomy);
const panel = document.getElementById("view");
const picture = document.getElementById("picture");
const dark = matchMedia("(prefers-color-scheme: dark)");

if (page.run) remember("run", inputsOf(page, page.models), page.run);
const first = fromAddress(isOffline && !url.hasQuery() ? url.parse(page.offline) : url.current());
const given = page.problem ? pick(page, INPUTS) : null;
const store = createStore({
  ...first.state,
  ignored: first.ignored,
  draft: url.draft() ?? given, // inputs that have no picture yet
  drawn: null, // what the picture on screen was asked for with
  run: page.run,
  overview: null,
  metrics: null,
  record: null,
  shown: [],
  anatomy: null,
  several: false, // a click on a head adds it to those shown
  problem: page.problem?.detail ?? null,
  notice: "",
  busy: false
});

/** What a file that stands alone can show: heads as they are, no anatomy. */
function alone({view, layer, head}) {
  return {view: view === "anatomy" ? "lines" : view, reduce: "none", quantity: "attn", heads: "",
    layer: layer ?? page.layer, head: head ?? page.head};
}

/** What the address asks for, and what of it cannot be: that falls back, and is named. */
function fromAddress({state: asked, ignored}) {
  const {text, textPair, target} = asked.text === null ? page : asked;
  const model = asked.model ?? page.model;
  const wanted = {...asked, model, text, textPair: textPair || null, target: target || null};
  const state = {...fit(wanted, page.models, page), ...(isOffline ? alone(wanted) : {})};
  const fell = (key) => ![null, ""].includes(asked[key]) && asked[key] !== state[key];
  const fitted = ["kind", "layer", "head", "heads", "quantity", "reduce", "merge", "special",
    "metric", "view"];
  const fallen = fitted.filter(fell);
  return {state, ignored: [...ignored, ...fallen.map((key) => `${key}=${asked[key]}`)]};
}

// Getting what is wanted. The newest wish wins; the picture stays until the new one is complete.

let pending = new AbortController();
let timer = 0;

/** @param {Object} wanted  @param {(state: Object) => void} done  tells the address */
async function load(wanted, done, {before = store.get().record, kept = {}} = {}) {
  clearTimeout(timer);
  pending.abort();
  pending = new AbortController();
  const {signal} = pending;
  const parts = partsOf(wanted, page.models);
  const {run} = store.get();
  store.set({busy: true});
  try {
    const options = {signal, onRetry: (notice) => store.set({notice})};
    const show = {shown: shownHeads(wanted), metric: wanted.metric};
    const found = await fetchParts(parts, show, options);
    const tokens = wanted.side === "query" ? "qTokens" : "kTokens";
    const query = follow(wanted.query, before?.[tokens], found.record[tokens], found.run === run);
    const apart = await fetchAnatomy({...wanted, query}, parts, found.record, options);
    signal.throwIfAborted();
    const calm = {drawn: parts, draft: null, problem: null, notice: "", busy: false, ...kept};
    const lost = !before && query !== wanted.query ? [`query=${wanted.query}`] : [];
    const ignored = [...store.get().ignored, ...lost];
    store.set({...wanted, ...found, ...calm, anatomy: apart, query, ignored});
    done(store.get());
    const metrics = await fetchMetrics(parts, {signal});
    if (!signal.aborted) store.set({metrics});
  } catch (error) {
    if (signal.aborted) return;
    store.set({problem: error.message, notice: "", busy: false});
    url.keepDraft(store.get().draft);
  }
}

let burst = null; // what the last address entry was: typing goes on in the same one

const addressed = (state) => ({...state, ...inputsOf(state, page.models)});

/** Tell the address; a step that goes on with the last one takes its place. */
function write(state, name = null) {
  if (name !== null && name === burst) url.replace(addressed(state));
  else url.push(addressed(state));
  burst = name;
}

/** Every wish arrives here. */
function emit(patch, {typing = false} = {}) {
  const state = store.get();
  const keys = Object.keys(patch);
  if (keys.some((key) => INPUTS.includes(key))) return retype(patch, typing);
  store.set({...agreed(patch), ignored: []});
  const name = typing ? keys.join() : null;
  const refused = state.problem && state.draft; // not asked for again, and not forgotten
  const draft = refused ? {} : state.draft;
  const wanted = fit({...store.get(), ...draft}, page.models);
  if (!state.busy && !asksForMore(wanted)) return write(store.get(), name);
  const kept = refused ? pick(state, ["draft", "problem"]) : {};
  load(wanted, (settled) => write(settled, name), {kept});
}

/** What is chosen last counts: words, or a mean of heads, take the place of scores. */
function agreed(patch) {
  const {view, quantity} = store.get();
  const clashes = ["merge", "reduce"].some((key) => ![undefined, "none"].includes(patch[key]))
    || patch.special === "renormalise";
  const leaves = patch.view && view === "anatomy";
  return quantity === "scores" && (clashes || leaves) ? {...patch, quantity: "attn"} : patch;
}

/** Whether the server has something to say to a wish; Anatomy is of one query. */
function asksForMore(wanted) {
  const parts = partsOf(wanted, page.models);
  return wanted.view === "anatomy" || JSON.stringify(parts) !== JSON.stringify(store.get().drawn);
}

function retype(patch, typing) {
  const state = store.get();
  const draft = {...pick(state, INPUTS), ...state.draft, ...patch};
  const same = INPUTS.every((key) => draft[key] === (state.draft ?? state)[key]);
  if (same && !typing && (state.busy || !state.draft)) {
    burst = null;
    return;
  }
  store.set({draft, ignored: []});
  const wanted = () => fit({...store.get(), ...draft}, page.models);
  const go = () => load(wanted(), (settled) => write(settled, typing ? "typing" : null));
  clearTimeout(timer);
  if (typing) timer = setTimeout(go, TYPING_PAUSE);
  else go();
}

// Drawing what there is.

const themeOf = ({theme}) => (theme === "auto" ? (dark.matches ? "dark" : "light") : theme);
const updateForm = isOffline ? () => {} : mountForm(page, emit);
const updateOptions = mountOptions(page, emit);
const updateTabs = mountTabs(VIEWS, panel, page, emit);
const updateTheme = mountTheme(emit);
let mounted = null; // {grid, view, id}
let described = {};

function render(state) {
  const theme = themeOf(state);
  document.documentElement.dataset.theme = theme;
  picture.ariaBusy = state.busy;
  updateForm({...state, ...state.draft}, state.run?.targetDecoded ? state.run.target : null);
  updateTheme(theme);
  showMessages(state);
  if (!state.record) return;
  updateOptions(state);
  updateTabs(state);
  describe(state, theme);
  draw(state, theme);
}

function describe(state, theme) {
  const now = {...pick(state, ["record", "shown", "low", "high", "scale", "view"]), theme};
  if (Object.keys(now).every((key) => now[key] === described[key])) return;
  described = now;
  const model = page.models.find(({name}) => name === state.model);
  showPicture(state, theme, model, 
    waysOut({links: links(state), actions: actions(), linked: linkedHead(state)}));
  document.title = `${state.text.slice(0, 60)} · Attention Atlas`;
}

/** The numbers on screen in each format. */
function links({drawn}) {
  if (isOffline) return [];
  const link = (format) => [format, address("attention", {...drawn.record, format})];
  return ["json", "csv", "npz", "safetensors"].map(link);
}

/** The numbers are of one head, the first where several are drawn. */
const linkedHead = ({shown, layer, head}) =>
  (shown.length > 1 && !isOffline ? _("{name} alone:", {name: placeName(layer, head)}) : "");

function actions() {
  const copy = () => copyLink(url.href());
  const pictures = [["SVG", () => save("svg")], ["PNG", () => save("png")],
    [_("All heads as SVG"), () => save("svg", "grid")]];
  const page = () => saveAddress(url.standalone());
  return isOffline ? pictures : [[_("Copy link"), copy], ...pictures, [_("HTML"), page]];
}

/** The picture on screen as a file. */
async function save(ending, view = store.get().view) {
  const state = store.get();
  const [title, source] = view === "grid" ? [_("All heads"), gridProvenance(state)]
    : [pictureTitle(state), provenance(state)];
  const sentence = [state.run.text, state.run.textPair, state.run.target].filter(Boolean).join(" · ");
  const words = {title: `${title} · ${state.model}`, sentence, provenance: source};
  const drawn = figure(view, frameOf(state, themeOf(state)), words);
  const blob = ending === "svg" ? svgBlob(drawn) : await pngBlob(drawn);
  const place = view === "grid" ? "heads"
    : state.shown.map(({layer, head}) => `L${layer}H${head}`).join("-");
  const name = fileName([state.model, state.kind, place, view], ending);
  saveBlob(blob, name);
  return name;
}

const frameOf = (state, theme) => Object.freeze({...pick(state, FRAME), theme});

function draw(state, theme) {
  picture.hidden = false;
  for (const plain of document.querySelectorAll(".plain")) plain.remove();
  if (mounted?.id !== state.view) {
    mounted?.view.destroy();
    const view = VIEWS.find(({id}) => id === state.view).mount(panel, emit);
    const heads = mounted?.grid ?? grid.mount(document.getElementById("heads"), emit);
    mounted = {grid: heads, view, id: state.view};
  }
  const frame = frameOf(state, theme);
  mounted.grid.update(frame);
  mounted.view.update(frame)?.catch((error) => store.set({problem: error.message}));
}

store.subscribe(render);
mountHelp({
  focusText: () => document.querySelector("form.ask textarea")?.focus(),
  fullScreen: () => (document.fullscreenElement ? document.exitFullscreen()
    : picture.requestFullscreen?.())
});
if (!isOffline) url.linkLanguage(document.getElementById("language"));
dark.addEventListener("change", () => render(store.get()));
url.onBack((asked) => {
  const {state, ignored} = fromAddress(asked);
  burst = null;
  store.set({draft: pick(state, INPUTS), problem: null, ignored});
  load({...store.get(), ...state}, () => {}, {before: null}); // the lock is of that text's tokens
});
if (!page.problem || url.draft()) {
  // A bare address becomes a link to just this picture; one with nonsense stays to be looked at.
  const complete = (state) => state.ignored.length || url.replace(addressed(state));
  load(fit({...store.get(), ...store.get().draft}, page.models), complete);
}
