// Reads the page's data, makes the store, mounts the controls and the chosen view, and keeps the
// picture up to date. The only file with side effects.

import {address, camel} from "./api.js";
import {mountForm, mountOptions, mountTabs, mountTheme} from "./controls.js";
import {INPUTS, fetchParts, fit, follow, inputsOf, partsOf, pick} from "./picture.js";
import {createStore} from "./store.js";
import {showMessages, showPicture, waysOut} from "./summary.js";
import * as url from "./url.js";
import * as grid from "./views/grid.js";
import * as lines from "./views/lines.js";
import * as matrix from "./views/matrix.js";
import * as table from "./views/table.js";

const VIEWS = [lines, matrix, table];
const FETCHED = ["kind", "layer", "head", "special", "merge"]; // a change of these needs the server
const TYPING_PAUSE = 250;

const page = camel(JSON.parse(document.getElementById("page").textContent));
const panel = document.getElementById("view");
const dark = matchMedia("(prefers-color-scheme: dark)");

const first = fromAddress(url.current());
const given = page.problem ? pick(page, INPUTS) : null;
const store = createStore({
  ...first.state,
  ignored: first.ignored,
  draft: url.draft() ?? given, // inputs that have no picture yet
  drawn: page.run ? {run: inputsOf(page, page.models)} : {}, // what each part on screen is of
  run: page.run,
  overview: null,
  record: null,
  problem: page.problem?.detail ?? null,
  notice: "",
  busy: false
});

/** What the address asks for, and what of it cannot be: that falls back, and is named. */
function fromAddress({state: asked, ignored}) {
  const {text, textPair, target} = asked.text === null ? page : asked;
  const model = asked.model ?? page.model;
  const wanted = {...asked, model, text, textPair: textPair || null, target: target || null};
  const state = fit(wanted, page.models, page);
  const fell = (key) => asked[key] !== null && asked[key] !== state[key];
  const fallen = ["kind", "layer", "head"].filter(fell);
  return {state, ignored: [...ignored, ...fallen.map((key) => `${key}=${asked[key]}`)]};
}

// Getting what is wanted. The newest wish wins; the picture stays until the new one is complete.

let pending = new AbortController();
let timer = 0;

/** @param {Object} wanted  @param {(state: Object) => void} done  tells the address */
async function load(wanted, done) {
  clearTimeout(timer);
  pending.abort();
  pending = new AbortController();
  const {signal} = pending;
  const parts = partsOf(wanted, page.models);
  const {drawn, record: before, run} = store.get();
  store.set({busy: true});
  try {
    const onRetry = (notice) => store.set({notice});
    const found = await fetchParts(parts, drawn, {signal, onRetry});
    signal.throwIfAborted();
    const tokens = wanted.side === "query" ? "qTokens" : "kTokens";
    const after = (found.record ?? before)[tokens];
    const query = follow(wanted.query, before?.[tokens], after, (found.run ?? run) === run);
    const calm = {drawn: parts, draft: null, problem: null, notice: "", busy: false};
    const lost = !before && query !== wanted.query ? [`query=${wanted.query}`] : [];
    const ignored = [...store.get().ignored, ...lost];
    store.set({...wanted, ...found, ...calm, query, ignored});
    done(store.get());
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
  store.set({...patch, ignored: []});
  const name = typing ? keys.join() : null;
  if (!keys.some((key) => FETCHED.includes(key))) return write(store.get(), name);
  const draft = state.problem ? {} : state.draft; // a refused text is not asked for again
  load(fit({...store.get(), ...draft}, page.models), (settled) => write(settled, name));
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
const updateForm = mountForm(page, emit);
const updateOptions = mountOptions(page, emit);
const updateTabs = mountTabs(VIEWS, panel, emit);
const updateTheme = mountTheme(emit);
let mounted = null; // {grid, view, id}
let described = {};

function render(state) {
  const theme = themeOf(state);
  document.documentElement.dataset.theme = theme;
  document.getElementById("picture").ariaBusy = state.busy;
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
  if (described.record === state.record && described.theme === theme) return;
  described = {record: state.record, theme};
  const link = (format) => [format, address("attention", {...state.drawn.record, format})];
  const copy = () => navigator.clipboard?.writeText(url.href()).then(() => true, () => false);
  showPicture(state, theme, waysOut(["json", "csv", "npz", "safetensors"].map(link), copy));
  document.title = `${state.text.slice(0, 60)} · Attention Atlas`;
}

function draw(state, theme) {
  document.getElementById("picture").hidden = false;
  for (const plain of document.querySelectorAll(".plain")) plain.remove();
  if (mounted?.id !== state.view) {
    mounted?.view.destroy();
    const view = VIEWS.find(({id}) => id === state.view).mount(panel, emit);
    const heads = mounted?.grid ?? grid.mount(document.getElementById("heads"), emit);
    mounted = {grid: heads, view, id: state.view};
  }
  const frame = Object.freeze({
    ...pick(state, ["overview", "record", "layer", "head", "query", "side", "threshold"]), theme
  });
  mounted.grid.update(frame);
  mounted.view.update(frame)?.catch((error) => store.set({problem: error.message}));
}

store.subscribe(render);
dark.addEventListener("change", () => render(store.get()));
url.onBack((asked) => {
  const {state, ignored} = fromAddress(asked);
  burst = null;
  store.set({draft: null, problem: null, ignored});
  load({...store.get(), ...state}, () => {});
});
if (!page.problem || url.draft()) {
  // A bare address becomes a link to just this picture; one with nonsense stays to be looked at.
  const complete = (state) => state.ignored.length || url.replace(addressed(state));
  load({...store.get(), ...store.get().draft}, complete);
}
