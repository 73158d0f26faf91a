// The state ↔ the query string, and the browser's history. A value left out is the default; null,
// 0, false and the empty text are different things, and all come back.

const text = {parse: (s) => s, valid: () => true};
const whole = {parse: Number, valid: (s) => /^\d{1,6}$/.test(s)};
const isShare = (s) => /^[\d.e-]+$/.test(s) && Number(s) >= 0 && Number(s) <= 1;
const share = {parse: Number, valid: isShare};
const oneOf = (...words) => ({parse: (s) => s, valid: (s) => words.includes(s)});

/** Each part of the address: its name there, how it is read, and its value when it is left out. */
const FIELDS = {
  model: {name: "model", initial: null, ...text},
  text: {name: "text", initial: null, ...text},
  textPair: {name: "text_pair", initial: null, ...text},
  target: {name: "target", initial: null, ...text},
  kind: {name: "kind", initial: null, ...oneOf("encoder", "decoder", "cross")},
  layer: {name: "layer", initial: null, ...whole},
  head: {name: "head", initial: null, ...whole},
  query: {name: "query", initial: null, ...whole},
  side: {name: "side", initial: "query", ...oneOf("query", "key")},
  view: {name: "view", initial: "lines", ...oneOf("lines", "matrix", "table")},
  threshold: {name: "threshold", initial: 0.05, ...share},
  special: {name: "special", initial: "keep", ...oneOf("keep", "hide", "renormalise")},
  merge: {name: "merge", initial: "none", ...oneOf("none", "words")},
  theme: {name: "theme", initial: "auto", ...oneOf("auto", "light", "dark")}
};

/** The state as a query string, without what is at its default. */
export function format(state) {
  const params = new URLSearchParams();
  for (const [key, {name, initial}] of Object.entries(FIELDS)) {
    if (state[key] !== initial) params.set(name, state[key]);
  }
  return params.toString();
}

/**
 * @param {string} search
 * @returns {{state: Object, ignored: string[]}} every field, and the parts that make no sense
 */
export function parse(search) {
  const params = new URLSearchParams(search);
  const state = {};
  const ignored = [];
  for (const [key, {name, initial, parse: read, valid}] of Object.entries(FIELDS)) {
    const given = params.get(name);
    const sound = given !== null && valid(given);
    if (given !== null && !sound) ignored.push(`${name}=${given}`);
    state[key] = sound ? read(given) : initial;
  }
  return {state, ignored};
}

export const current = () => parse(location.search);
export const href = () => location.href;

/** What was typed and has no picture, kept with the history entry: it survives a reload. */
export const draft = () => history.state?.draft ?? null;
export const keepDraft = (value) => history.replaceState({draft: value}, "");

/** This page at a state; what else is in the query string is somebody else's, and stays. */
function address(state) {
  const rest = new URLSearchParams(location.search);
  for (const {name} of Object.values(FIELDS)) rest.delete(name);
  return `${location.pathname}?${[format(state), rest.toString()].filter(Boolean).join("&")}`;
}

/** A step that Back undoes; none when nothing has changed. */
export function push(state) {
  const same = address(state) === location.pathname + location.search;
  if (same) replace(state);
  else history.pushState(null, "", address(state));
}

/** The same step, gone on with: the next letters of a sentence being typed. */
export const replace = (state) => history.replaceState(null, "", address(state));

/** Another theme, and the rest of the address as it is: for pages whose rest the server reads. */
export function setTheme(theme) {
  history.replaceState(history.state, "", themed(location.href, theme));
}

/** An address that opens in a theme. */
export function themed(address, theme) {
  const url = new URL(address);
  url.searchParams.set("theme", theme);
  return url.href;
}

export function onBack(callback) {
  addEventListener("popstate", () => callback(current()));
}
