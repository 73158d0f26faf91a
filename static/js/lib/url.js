// The state ↔ the query string, and the browser's history. A value left out is the default; null,
// 0, false and the empty text are different things, and all come back.

import {rooted} from "./root.js";

const text = {parse: (s) => s, valid: () => true};
const whole = {parse: Number, valid: (s) => /^\d{1,6}$/.test(s)};
const isShare = (s) => /^[\d.e-]+$/.test(s) && Number(s) >= 0 && Number(s) <= 1;
const share = {parse: Number, valid: isShare};
const number = {parse: Number, valid: (s) => /^\d{1,10}(\.\d{1,9})?(e[+-]?\d{1,2})?$/.test(s)};
const places = {parse: (s) => s, valid: (s) =>
  /^\d{1,3}\.\d{1,3}(,\d{1,3}\.\d{1,3}){0,6}$/.test(s)};
const vector = {parse: (s) => s, valid: (s) => /^(-?[0-3](\.\d)?,){3}-?[0-3](\.\d)?$/.test(s)};
const lock = {parse: (s) => (s === "none" ? s : Number(s)), valid: (s) =>
  /^(none|\d{1,6})$/.test(s)};
const oneOf = (...words) => ({parse: (s) => s, valid: (s) => words.includes(s)});

/** Each part of the address: its name there, how it is read, and its value when it is left out. */
export const EXPLORE = {
  model: {name: "model", initial: null, ...text},
  text: {name: "text", initial: null, ...text},
  textPair: {name: "text_pair", initial: null, ...text},
  target: {name: "target", initial: null, ...text},
  sourceLang: {name: "source_lang", initial: null, ...text},
  targetLang: {name: "target_lang", initial: null, ...text},
  kind: {name: "kind", initial: null, ...oneOf("encoder", "decoder", "cross")},
  layer: {name: "layer", initial: null, ...whole},
  head: {name: "head", initial: null, ...whole},
  heads: {name: "heads", initial: "", ...places},
  reduce: {name: "reduce", initial: "none", ...oneOf("none", "mean_heads", "max_heads", "rollout")},
  quantity: {name: "quantity", initial: "attn", ...oneOf("attn", "scores")},
  query: {name: "query", initial: null, ...whole},
  queries: {name: "queries", initial: "", parse: (s) => s,
    valid: (s) => /^\d{1,6}(,\d{1,6})*$/.test(s)},
  side: {name: "side", initial: "query", ...oneOf("query", "key")},
  view: {name: "view", initial: "lines",
    ...oneOf("lines", "matrix", "tokens", "anatomy", "table")},
  threshold: {name: "threshold", initial: 0.05, ...share},
  top: {name: "top", initial: 0, ...whole},
  segments: {name: "segments", initial: "all", ...oneOf("all", "aa", "ab", "ba", "bb")},
  low: {name: "low", initial: 0, ...share},
  high: {name: "high", initial: 1, ...share},
  scale: {name: "scale", initial: "linear", ...oneOf("linear", "log")},
  metric: {name: "metric", initial: "", ...oneOf("entropy", "distance", "previous_token", "self",
    "next_token", "first_token", "special", "named")},
  least: {name: "least", initial: 0, ...number},
  special: {name: "special", initial: "keep", ...oneOf("keep", "hide", "renormalise")},
  merge: {name: "merge", initial: "none", ...oneOf("none", "words")},
  lang: {name: "lang", initial: "", ...oneOf("en", "zh")},
  theme: {name: "theme", initial: "auto", ...oneOf("auto", "light", "dark")}
};

/** The same of the Compare page. */
export const COMPARE = {
  model: {name: "model", initial: null, ...text},
  text: {name: "text", initial: null, ...text},
  modelB: {name: "model_b", initial: null, ...text},
  textB: {name: "text_b", initial: null, ...text},
  word: {name: "word", initial: null, ...text},
  wordB: {name: "word_b", initial: null, ...text},
  firstSense: {name: "first_sense", initial: "", ...text},
  secondSense: {name: "second_sense", initial: "", ...text},
  off: {name: "off", initial: "", parse: (s) => s, valid: (s) => /^(\d{1,3}\.\d{1,3})?$/.test(s)},
  content: {name: "content", initial: "", ...oneOf("", "1", "en", "es")},
  kind: EXPLORE.kind,
  layer: EXPLORE.layer,
  head: EXPLORE.head,
  occurrenceA: {name: "occurrence_a", initial: null, ...whole},
  occurrenceB: {name: "occurrence_b", initial: null, ...whole},
  align: {name: "align", initial: null, parse: (s) => s,
    valid: (s) => /^(\d{1,4}-\d{1,4}(,\d{1,4}-\d{1,4})*)?$/.test(s)},
  query: {name: "query", initial: null, ...lock}, // null: the compared word; "none": no token
  side: EXPLORE.side,
  queryB: {name: "query_b", initial: null, ...lock},
  sideB: {name: "side_b", initial: "query", ...oneOf("query", "key")},
  threshold: EXPLORE.threshold,
  lang: EXPLORE.lang,
  theme: EXPLORE.theme
};

/** The same of the Positions page. */
export const POSITIONS = {
  model: COMPARE.model,
  nPositions: {name: "n_positions", initial: null, ...whole},
  dModel: {name: "d_model", initial: null, ...whole},
  base: {name: "base", initial: null, ...number},
  measure: {name: "measure", initial: null, ...oneOf("cosine", "dot")},
  shift: {name: "shift", initial: null, ...whole},
  dimension: {name: "dimension", initial: null, ...whole},
  position: {name: "position", initial: null, ...whole},
  text: COMPARE.text,
  textB: COMPARE.textB,
  lang: EXPLORE.lang,
  theme: EXPLORE.theme
};

/** The same of the Masks page. */
export const MASKS = {
  model: COMPARE.model,
  texts: {name: "texts", initial: null, ...text},
  kind: EXPLORE.kind,
  layer: EXPLORE.layer,
  head: EXPLORE.head,
  row: {name: "row", initial: null, ...whole},
  off: {name: "off", initial: "", ...oneOf("", "causal", "padding", "causal,padding")},
  fill: {name: "fill", initial: "", ...oneOf("", "-1", "-5", "-10", "-100", "-10000")},
  precision: {name: "precision", initial: "float32", ...oneOf("float32", "float16", "bfloat16")},
  lang: EXPLORE.lang,
  theme: EXPLORE.theme
};

/** The same of the page that computes attention step by step. */
export const ATTENTION = {
  model: COMPARE.model,
  text: COMPARE.text,
  word: {name: "word", initial: null, ...whole},
  layer: EXPLORE.layer,
  head: EXPLORE.head,
  dK: {name: "d_k", initial: null, ...whole},
  depth: {name: "depth", initial: null, ...whole},
  x: {name: "x", initial: "1,2,-1,0.5", ...vector},
  y: {name: "y", initial: "2,1,0,1", ...vector},
  scores: {name: "scores", initial: "2,1,0,-1", ...vector},
  temperature: {name: "temperature", initial: 1, parse: Number, valid: (s) => /^\d(\.\d)?$/.test(s)
    && s >= 0.1 && s <= 5},
  stops: {name: "stops", initial: "shown", ...oneOf("shown", "hidden")},
  lang: EXPLORE.lang,
  theme: EXPLORE.theme
};

const someHead = {parse: (s) => s, valid: (s) => /^(mean|\d{1,3})$/.test(s)};
const listed = {parse: (s) => s, valid: (s) => /^(\d{1,6}(,\d{1,6})*)?$/.test(s)};

/** The same of the Translate page. */
export const TRANSLATE = {
  model: COMPARE.model,
  text: COMPARE.text,
  sourceLang: EXPLORE.sourceLang,
  targetLang: EXPLORE.targetLang,
  modelB: COMPARE.modelB,
  numBeams: {name: "num_beams", initial: null, ...whole},
  lengthPenalty: {name: "length_penalty", initial: null, ...number},
  reference: {name: "reference", initial: "", ...text},
  layer: EXPLORE.layer,
  head: {name: "head", initial: null, ...someHead},
  step: {name: "step", initial: 0, ...whole},
  view: {name: "view", initial: "matrix", ...oneOf("matrix", "lines")},
  lang: EXPLORE.lang,
  theme: EXPLORE.theme
};

/** The same of the Generate page. */
export const GENERATE = {
  model: COMPARE.model,
  text: COMPARE.text,
  maxNewTokens: {name: "max_new_tokens", initial: null, ...whole},
  temperature: {name: "temperature", initial: null, ...number},
  topK: {name: "top_k", initial: null, ...whole},
  topP: {name: "top_p", initial: null, ...number},
  seed: {name: "seed", initial: null, parse: Number, valid: (s) => /^\d{1,10}$/.test(s)},
  forced: {name: "forced", initial: "", ...listed},
  step: {name: "step", initial: 0, ...whole},
  layer: {name: "layer", initial: 0, ...whole},
  shade: {name: "shade", initial: "attention", ...oneOf("attention", "entropy")},
  pattern: {name: "pattern", initial: "pairs", ...oneOf("pairs", "list", "copy", "signs")},
  nMax: {name: "n_max", initial: 3, ...whole},
  lang: EXPLORE.lang,
  theme: EXPLORE.theme
};

/** The same of the Fill in page. */
export const FILL = {
  model: COMPARE.model,
  text: COMPARE.text,
  textPair: {name: "text_pair", initial: null, ...text},
  words: {name: "words", initial: null, ...listed},
  wordsPair: {name: "words_pair", initial: "", ...listed},
  mask: {name: "mask", initial: 0, ...whole},
  query: EXPLORE.query,
  side: EXPLORE.side,
  layer: EXPLORE.layer,
  head: {name: "head", initial: null, ...someHead},
  seed: GENERATE.seed,
  lang: EXPLORE.lang,
  theme: EXPLORE.theme
};

/** The same of the Classify page. */
export const CLASSIFY = {
  model: COMPARE.model,
  text: COMPARE.text,
  textPair: {name: "text_pair", initial: null, ...text},
  choices: {name: "choices", initial: null, ...text},
  label: {name: "label", initial: "", ...text},
  position: {name: "position", initial: "", parse: (s) => s, valid: (s) => /^\d{0,6}$/.test(s)},
  query: EXPLORE.query,
  side: EXPLORE.side,
  layer: EXPLORE.layer,
  head: EXPLORE.head,
  lang: EXPLORE.lang,
  theme: EXPLORE.theme
};

const PLACE = new RegExp("^(encoder|decoder|cross)\\.\\d{1,3}\\.(all\\.\\d{1,4}|mlp(\\.\\d{1,4})?"
  + "|\\d{1,3}(\\.(block|only)\\.\\d{1,4}\\.\\d{1,4}|\\.(even|scale)\\.\\d{1,4})?)$");
const placesOfEdits = {parse: (s) => s,
  valid: (s) => s.split(",").length < 33 && s.split(",").every((part) => PLACE.test(part))};

/** The same of the Lab. */
export const LAB = {
  model: COMPARE.model,
  text: COMPARE.text,
  textB: COMPARE.textB,
  target: {name: "target", initial: "", ...text},
  sourceLang: EXPLORE.sourceLang,
  targetLang: EXPLORE.targetLang,
  how: {name: "how", initial: null, ...oneOf("zero", "mean", "mean_positions", "resample", "noise",
    "denoise", "attribution")},
  over: {name: "over", initial: "heads", ...oneOf("heads", "positions", "mlp_positions")},
  kind: EXPLORE.kind,
  position: {name: "position", initial: "", parse: (s) => s, valid: (s) => /^\d{0,6}$/.test(s)},
  answer: {name: "answer", initial: "", ...text},
  other: {name: "other", initial: "", ...text},
  metric: {name: "metric", initial: "logit_difference",
    ...oneOf("logit_difference", "probability", "loss", "cosine", "class_logit")},
  beside: {name: "beside", initial: "", ...text},
  map: {name: "map", initial: "attention", ...oneOf("attention", "effect")},
  act: {name: "act", initial: "block", ...oneOf("block", "only", "even")},
  paths: {name: "paths", initial: "", ...oneOf("24", "48", "128", "512")},
  into: {name: "into", initial: "", ...oneOf("q", "k", "v")},
  reference: {name: "reference", initial: "", ...text},
  edits: {name: "edits", initial: "", ...placesOfEdits},
  layer: EXPLORE.layer,
  head: EXPLORE.head,
  query: EXPLORE.query,
  lang: EXPLORE.lang,
  theme: EXPLORE.theme
};

/** The state as a query string, without what is at its default. */
export function format(state, fields = EXPLORE) {
  const params = new URLSearchParams();
  for (const [key, {name, initial}] of Object.entries(fields)) {
    if (state[key] !== initial) params.set(name, state[key]);
  }
  return params.toString();
}

/**
 * @param {string} search
 * @returns {{state: Object, ignored: string[]}} every field, and the parts that make no sense
 */
export function parse(search, fields = EXPLORE) {
  const params = new URLSearchParams(search);
  const state = {};
  const ignored = [];
  for (const [key, {name, initial, parse: read, valid}] of Object.entries(fields)) {
    const given = params.get(name);
    const sound = given !== null && valid(given);
    if (given !== null && !sound) ignored.push(`${name}=${given}`);
    state[key] = sound ? read(given) : initial;
  }
  return {state, ignored};
}

/** The state that an address says, given as an object: only what stands in it. */
export const stateOf = (parts, fields) => Object.fromEntries(Object.entries(parts)
  .filter(([key]) => key in fields).map(([key, value]) => [key, fields[key].parse(`${value}`)]));

export const current = (fields = EXPLORE) => parse(location.search, fields);
export const search = () => location.search;
export const hash = () => location.hash;
export const path = () => `${location.pathname}${location.search}`;
export const hasQuery = () => location.search !== "";
export const standalone = () => `${location.pathname}.html${location.search}`;
export const href = () => location.href;

/** Change the history. A page in a frame without an address keeps its state to itself. */
function change(how, state, address) {
  try {
    history[how](state, "", address);
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
  }
}

/** What was asked for and is not on screen, kept with the history entry: it survives a reload. */
export const draft = () => history.state?.draft ?? null;

export function keepDraft(value) {
  const kept = Object.keys(value ?? {}).length ? value : null;
  if (kept !== draft()) change("replaceState", {...history.state, draft: kept});
}

/** This page at a state; what else is in the query string is somebody else's, and stays. */
function address(state, fields) {
  const rest = new URLSearchParams(location.search);
  for (const {name} of Object.values(fields)) rest.delete(name);
  const parts = [format(state, fields), rest.toString()].filter(Boolean);
  return `${location.pathname}?${parts.join("&")}`;
}

/** A step that Back undoes; none when nothing has changed. */
export function push(state, fields = EXPLORE) {
  const same = address(state, fields) === location.pathname + location.search;
  if (same) return replace(state, fields);
  keepDraft(null); // Back leads to the picture, not to what was typed over it
  change("pushState", null, address(state, fields));
}

const KEPT = ["lang", "theme", "present"];

/** Whether the address is the one that a page opened at by itself: nobody has chosen anything. */
export function isUntouched() {
  const chosen = [...new URLSearchParams(location.search).keys()];
  return history.state?.untouched ?? chosen.every((name) => KEPT.includes(name));
}

/** The address of what the page has opened at, or of the same in another theme: no choice. */
export function settle(state, fields = EXPLORE) {
  change("replaceState", {untouched: isUntouched()}, address(state, fields));
}

/** The same step, gone on with: the next letters of a sentence being typed. */
export function replace(state, fields = EXPLORE) {
  change("replaceState", null, address(state, fields));
}

/** Another theme, and the rest of the address as it is: for pages whose rest the server reads. */
export function setTheme(theme) {
  change("replaceState", history.state, themed(location.href, theme));
}

/** Which part of the page is presented; null is none. */
export function presented() {
  const at = new URLSearchParams(location.search).get("present");
  return /^\d{1,2}$/.test(at ?? "") ? Number(at) : null;
}

export function setPresented(index) {
  const address = new URL(location.href);
  if (index === null) address.searchParams.delete("present");
  else address.searchParams.set("present", index);
  change("replaceState", history.state, address.href);
}

/** This page with other texts, a step that Back undoes. @param {[string, string|null][]} texts */
export function goTo(texts) {
  const address = new URL(location.href);
  for (const [name, value] of texts) {
    if (value === null) address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  if (address.href !== location.href) change("pushState", null, address.href);
}

/** The parts of the address as it is. */
export const texts = () => new URLSearchParams(location.search);

/** Back and forward, for pages whose address the server reads. */
export const onMove = (callback) => addEventListener("popstate", callback);

/** An address that opens in a theme. */
export const themed = (address, theme) => having(address, "theme", theme);

function having(address, name, value) {
  const url = new URL(address);
  url.searchParams.set(name, value);
  return url.href;
}

/** Another page's address, in this page's language and theme. */
export const pageOf = (path, parts) => inThisLanguage(`/${path}`, parts);

export function inThisLanguage(path, parts) {
  const {lang, theme} = Object.fromEntries(new URLSearchParams(location.search));
  const kept = Object.entries({...parts, lang, theme}).filter(([, value]) => value !== undefined);
  return rooted(kept.length ? `${path}?${new URLSearchParams(kept)}` : path);
}

/** The link to the other language leads to what is on screen then. */
export function linkLanguage(link) {
  for (const event of ["pointerdown", "focus", "click"]) {
    link.addEventListener(event, () => {
      link.href = having(location.href, "lang", link.dataset.code);
    });
  }
}

export function onBack(callback, fields = EXPLORE) {
  addEventListener("popstate", () => callback(current(fields)));
}
