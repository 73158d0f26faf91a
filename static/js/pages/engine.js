// What the pages that ask have in common: a form, the newest wish, its picture, their address.

import {camel} from "../lib/api.js";
import {mountTheme} from "../lib/controls.js";
import {submitOnEnter} from "../lib/dom.js";
import {mountHelp} from "../lib/help.js";
import {createStore} from "../lib/store.js";
import {showNotice} from "../lib/summary.js";
import * as url from "../lib/url.js";
import {complaint, isUnfinished} from "../lib/validity.js";

const TYPING_PAUSE = 250;
const dark = matchMedia("(prefers-color-scheme: dark)");
const byId = (id) => document.getElementById(id);
const pick = (state, keys) => Object.fromEntries(keys.map((key) => [key, state[key]]));

/** What the server wrote into the page: the values that its form was made with, and what it put aside. */
export const pageData = () => camel(JSON.parse(byId("page").textContent));

/**
 * A page whose form asks the server. What stands in the address stands in the state under the same
 * key, and in the form's field of the same name, if there is one; a slider `data-of` it moves with it.
 * @param {{
 *   page: Object, fields: Object, form: HTMLFormElement, busy: HTMLElement,
 *   given?: Object,     what is not in the address; else the page's own
 *   more?: Object,      what else is in the state, and not in the address
 *   local?: string[],   keys that change the picture without asking
 *   isLive?: boolean,   whether `answer` draws what comes while it is on its way
 *   fit?: (wanted: Object) => Object,     a wish with what there is in place of what there is not
 *   retype?: (wanted: Object, before: Object) => Object,  a wish after its form has changed
 *   answer: (wanted: Object, options: import("../lib/api.js").Options) => Promise<{found: Object}>,
 *   draw: (state: Object, theme: string, isLocal: boolean) => void  of a new `found` or theme, or of a local key
 * }} options  `page` as of pageData(), `fields` one of url.js, `busy` is marked while an answer is awaited
 * @returns {{get: () => Object, want: (patch: Object) => Promise<void>, set: (patch: Object) => void,
 *   patch: (patch: Object) => void}}  ask for a change; change what is local; change what is in no address
 */
export function ask({page, fields, form, busy, given = page, more = {}, local = [], answer, draw,
  isLive = false, fit = (wanted) => wanted, retype = (wanted) => wanted}) {
  const shown = ["theme", ...local];
  const keyOf = (name) => Object.keys(fields).find((key) => fields[key].name === name);
  const controls = Object.entries(fields).map(([key, {name}]) => [key, form.elements[name]])
    .filter(([key, el]) => el && key !== "lang");
  const typable = controls.filter(([key, el]) => el.type !== "hidden" && !local.includes(key));
  const first = url.current(fields);

  const store = createStore({
    ...fromAddress(first),
    found: null,
    problem: page.problem?.detail ?? null,
    wrong: null, // with a field: it is not asked
    notice: "",
    busy: false,
    ...more
  });

  /** What an address asks for; what is left out or was put aside is what the page was made with. */
  function fromAddress({state, ignored}) {
    const stay = page.ignored.filter(({field}) =>
      Object.is(state[keyOf(field)], first.state[keyOf(field)]));
    const aside = new Set(stay.map(({field}) => keyOf(field)));
    const value = (key) => (aside.has(key) ? null : state[key]) ?? given[key] ?? fields[key].initial;
    const others = ignored.filter((part) => !stay.some(({field}) => part.startsWith(`${field}=`)));
    return {...Object.fromEntries(Object.keys(fields).map((key) => [key, value(key)])),
      ignored: [...stay.map(({message}) => message), ...others]};
  }

  let pending = new AbortController();
  let timer = 0;
  let newest = null; // the wish that is on its way or was refused; null when it is on screen

  /** The newest wish wins; the picture stays until the new one is complete. */
  async function load(asked, step) {
    const wanted = fit(asked);
    newest = wanted;
    clearTimeout(timer);
    pending.abort();
    pending = new AbortController();
    const {signal} = pending;
    const before = pick(store.get(), shown);
    store.set({busy: true});
    try {
      const found = await answer(wanted, {signal, onRetry: (notice) => store.set({notice})});
      signal.throwIfAborted();
      newest = null;
      const inputs = pick(wanted, [...Object.keys(fields), "ignored"]);
      const later = store.get(); // what is local may have changed meanwhile
      const now = pick(later, shown.filter((key) => !Object.is(later[key], before[key])));
      store.set({...inputs, ...now, ...found, problem: null, wrong: null, notice: "", busy: false});
      write(step);
    } catch (error) {
      if (signal.aborted) return;
      if (isLive) drawn = []; // what has come so far gives way to the picture that stays
      store.set({problem: error.message, notice: "", busy: false});
    }
  }

  /** A step of the browser's history: null is none, a burst of typing one. */
  function write(step) {
    if (!step) return;
    url[step.isPushed ? "replace" : "push"](store.get(), fields);
    step.isPushed = true;
  }

  const want = (patch) =>
    load({...(store.get().busy ? newest : store.get()), ...patch, ignored: []}, {isPushed: false});

  function set(patch) {
    store.set(patch);
    url.replace(store.get(), fields);
  }

  // The form.

  const valueOf = (key, el) => (typeof given[key] === "number" ? Number(el.value) : el.value);
  const typed = () => Object.fromEntries(typable.map(([key, el]) => [key, valueOf(key, el)]));
  let burst = null; // typing goes on in the same step of the browser's history

  /** What cannot be asked is said and not asked; what is unfinished is not said yet. */
  function isSound(fields, isTyping) {
    const el = fields.find((field) => !field.checkValidity());
    store.set({wrong: el && !(isTyping && isUnfinished(el)) ? complaint(el) : null});
    return !el;
  }

  async function retyped(isTyping) {
    clearTimeout(timer);
    const step = burst ?? {isPushed: false};
    burst = isTyping ? step : null;
    if (!isSound((isTyping ? typable : controls).map(([, el]) => el), isTyping)) return;
    const base = newest ?? store.get();
    const wanted = retype({...base, ...typed(), ignored: []}, base);
    const isSame = typable.every(([key]) => (base[key] ?? "") === (wanted[key] ?? ""));
    if (isSame && !store.get().problem) return;
    if (isTyping) timer = setTimeout(() => load(wanted, step), TYPING_PAUSE);
    else await load(wanted, step);
  }

  /** A field that was left empty says afterwards what stands in its place. */
  async function submit() {
    const field = document.activeElement;
    const {value} = field;
    await retyped(false);
    if (newest === null && field.value === value) fill(store.get(), true);
  }

  function changed({target, isComposing}, isTyping) {
    const name = target.dataset.of ?? target.name;
    const [key, el] = controls.find(([, control]) => control.name === name) ?? [];
    if (!key || isComposing) return;
    if (target !== el) el.value = target.value;
    if (!local.includes(key)) retyped(isTyping);
    else if (isSound([el], isTyping)) set({[key]: valueOf(key, el)});
  }

  form.noValidate = true; // what is wrong is said in the page's language
  submitOnEnter(form);
  form.addEventListener("input", (event) => changed(event, true));
  form.addEventListener("compositionend", (event) => changed({target: event.target}, true));
  form.addEventListener("change", (event) => changed(event, false));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });

  /** The form says what is on screen, but where somebody is at it. */
  function fill(state, all = false) {
    const at = document.activeElement;
    for (const [key, el] of controls) {
      const value = `${state[key] ?? ""}`;
      const sliders = form.querySelectorAll(`[data-of="${el.name}"]`);
      for (const field of [el, ...sliders]) {
        if ((all || field !== at) && field.value !== value) field.value = value;
      }
    }
  }

  // Drawing.

  const themeOf = ({theme}) => (theme === "auto" ? (dark.matches ? "dark" : "light") : theme);
  const updateTheme = mountTheme(set);
  let drawn = [];

  function render(state) {
    const theme = themeOf(state);
    document.documentElement.dataset.theme = theme;
    updateTheme(theme);
    showNotice({...state, problem: state.wrong ?? state.problem});
    busy.ariaBusy = state.busy || !(state.found || state.problem);
    busy.classList.toggle("stale", Boolean(state.found && (state.problem || state.wrong)));
    const wanted = [state.found, theme, ...local.map((key) => state[key])];
    if (!state.found || wanted.every((value, i) => Object.is(value, drawn[i]))) return;
    const isNew = drawn[0] !== state.found;
    const isLocal = !isNew && drawn[1] === theme;
    drawn = wanted;
    for (const plain of document.querySelectorAll(".plain")) plain.remove();
    draw(state, theme, isLocal);
    if (isNew) fill(state);
  }

  store.subscribe(render);
  url.linkLanguage(byId("language"));
  mountHelp();
  dark.addEventListener("change", () => render(store.get()));
  url.onBack((address) => {
    const wanted = {...store.get(), ...fromAddress(address)};
    fill(wanted, true);
    store.set(pick(wanted, shown));
    load(wanted, null);
  }, fields);
  if (!page.problem) load(store.get(), store.get().ignored.length ? null : {isPushed: true});
  return {get: store.get, want, set, patch: store.set};
}
