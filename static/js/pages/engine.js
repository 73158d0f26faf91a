// What all pages share: a form, the newest request, its picture, the address, Back, the theme.

import {pick} from "../lib/data.js";
import {refreshSeeIn} from "../lib/context.js";
import {byId} from "../lib/dom.js";
import {mountForm} from "../lib/form.js";
import {mountHelp} from "../lib/help.js";
import {newestOnly} from "../lib/newest.js";
import {whenReleased} from "../lib/press.js";
import {textRemarks} from "../lib/remarks.js";
import {createStore} from "../lib/store.js";
import {say, showNotice, staleText} from "../lib/summary.js";
import {mountTheme, onSystemTheme, themeOf} from "../lib/theme.js";
import * as url from "../lib/url.js";

const same = (value) => value;

/**
 * A page. What stands in the address stands in the state under the same key, and in the form's
 * field
 * of the same name, if there is one. `found` is what the server answered, and null before that;
 * `draft` is what was asked for and is not on screen, be it on its way or refused.
 * @param {{
 *   data: Object, fields: Object, form: HTMLFormElement|null, busy: HTMLElement,
 *   late?: HTMLElement,   what is busy until `later` has ended
 *   given?: Object,     what is not in the address; else the data's own
 *   first?: {state: Object, ignored: string[]},   the address that the page opens at
 *   more?: Object,      what else is in the state, and not in the address
 *   local?: string[],   keys that change the picture without a request
 *   asks?: (wanted: Object) => Object,    what the server is asked; else all that is not local
 *   isLive?: boolean,   whether `answer` draws what comes while it is on its way
 *   fit?: (wanted: Object) => Object,     a wish with what exists in place of what does not
 *   retype?: (wanted: Object, before: Object) => Object,  a wish after its form has changed
 *   addressed?: (state: Object) => Object,  the state as the address has it
 *   plain?: Object,     what an example leaves out, as it has to be
 *   answer: (wanted: Object, options: import("../lib/api.js").Options, before: Object|null)
 *     => Promise<{found: Object, later?: (options: Object) => Promise<Object>}>,
 *     with other keys of the state, a notice too; `later` adds to `found` when it is on screen
 *   help?: {focusText?: () => void, fullScreen?: () => void},   what the keys / and f do
 *   context?: (state: Object) => Object,   what of the context is not in the address: the token
 *   texts?: (state: Object) => Object[],   what `textRemarks` looks at: the tokens on screen
 *   step?: (state: Object, by: number) => Object,   the patch that goes a token or a step further
 *   controls?: (wanted: Object, state: Object) => void,   the controls that are not in the form
 *   draw: (state: Object, theme: string, isLocal: boolean) => void
 * }} options
 * @returns {{get: () => Object, want: (patch: Object, how?: {typing?: boolean}) =>
 * Promise<boolean>,
 *   patch: (patch: Object) => void, commit: () => void, retyped: () => void}}
 *   ask for a change; change what is in no address; tell the address; read the form again
 */
export function mountPage(options) {
  const page = {given: options.data, more: {}, local: [], isLive: false, fit: same, retype: same,
    addressed: same, plain: {}, context: () => ({}), texts: () => [], controls: () => {},
    first: url.current(options.fields), ...options};
  page.first = atExample(page);
  const isAsked = (key) => ![...page.local, "theme", "lang"].includes(key);
  page.asks ??= (wanted) => pick(wanted, Object.keys(page.fields).filter(isAsked));
  page.keys = [...Object.keys(page.fields), ...Object.keys(page.more)];
  page.newest = newestOnly(() => sayBusy(page));
  page.store = createStore({...firstState(page), ...page.more});
  page.form = mountForm({...pick(page, ["form", "fields", "given", "local"]),
    onTyped: (typed, isTyping) => retyped(page, typed, isTyping),
    onLocal: (patch, isTyping) => want(page, patch, {typing: isTyping}),
    onWrong: (wrong) => page.store.set({wrong})});
  const api = {get: page.store.get, patch: page.store.set,
    want: (patch, how) => want(page, patch, how),
    commit: () => write(page, stepOf(page, null)),
    retyped: () => retyped(page, page.form.typed(), false)};
  start(page, options.form);
  return api;
}

/** What the page opens with. */
function firstState(page) {
  return {...fromAddress(page, page.first), found: null, draft: url.draft(), wrong: null,
    problem: page.data.problem?.detail ?? null, notice: "", busy: false};
}

function start(page, form) {
  const {store, data, fields} = page;
  page.updateTheme = mountTheme((patch) => want(page, patch, {step: {isSettled: true}}));
  const draw = () => render(page, store.get());
  store.subscribe(() => whenReleased(draw));
  onSystemTheme(draw);
  mountHelp(page.help);
  document.addEventListener("presenter-step", ({detail}) => {
    if (page.step && page.store.get().found) want(page, page.step(page.store.get(), detail));
  });
  if (byId("language")) url.linkLanguage(byId("language")); // a file that stands alone has one
  url.onBack((address) => goBack(page, address), fields);
  form?.querySelector(".examples")?.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    want(page, exampleState(page, data.examples[Number(link.dataset.example)]));
  });
  const {draft, ignored} = store.get();
  if (draft) page.form.fill({...store.get(), ...draft}, {all: true});
  if (data.problem && !draft) return;
  // a bare address becomes a link to just this picture; one with nonsense stays to be looked at
  const opening = ignored.length ? null : {isSettled: true};
  load(page, page.fit({...store.get(), ...draft}), draft ? {isPushed: true} : opening);
}

// The examples.

/** Locked tokens: an example's picture is the same whichever it is. */
const LOCKS = ["query", "side", "queryB", "sideB"];

/** What shows an example. */
const exampleState = ({plain, fields}, {address}) => ({...plain, ...url.stateOf(address, fields)});

/** A bare address opens at the example that the server chose for it. */
function atExample(page) {
  const {first, data: {examples, example}, fields} = page;
  const chosen = examples?.[example];
  if (!chosen) return first;
  const typed = Object.entries(first.state).filter(([key, value]) => value !== fields[key].initial);
  const opened = url.stateOf(chosen.address, fields);
  return {...first, state: {...first.state, ...opened, ...Object.fromEntries(typed)}};
}

/** What there is to see, if the picture is an example's. */
function observation(page, state) {
  const isShown = (example) => {
    const patch = exampleState(page, example);
    const wanted = page.fit({...state, ...patch});
    return Object.keys(patch).every((key) => LOCKS.includes(key)
      || `${state[key] ?? ""}` === `${wanted[key] ?? ""}`);
  };
  return page.data.examples?.find(isShown)?.observation ?? "";
}

// The address.

/** What an address asks for; what is left out or was ignored is what the page was made with. */
function fromAddress(page, {state, ignored}) {
  const {fields, given, first, data} = page;
  const keyOf = (name) => Object.keys(fields).find((key) => fields[key].name === name);
  const refused = data.ignored.filter(({field}) =>
    Object.is(state[keyOf(field)], first.state[keyOf(field)]));
  const aside = new Set(refused.map(({field}) => keyOf(field)));
  const value = (key) => (aside.has(key) ? null : state[key]) ?? given[key] ?? fields[key].initial;
  const sent = Object.fromEntries(Object.keys(fields).map((key) => [key, value(key)]));
  const fitted = pick(page.fit(sent), Object.keys(fields));
  const isGone = (key) => !aside.has(key) && ![null, ""].includes(state[key])
    && state[key] !== fitted[key];
  const names = new Set(refused.map(({field}) => field));
  return {...fitted, ignored: [...refused.map(({message}) => message),
    ...ignored.filter((part) => !names.has(part.split("=")[0])),
    ...Object.keys(fields).filter(isGone).map((key) => `${fields[key].name}=${state[key]}`)]};
}

/** A step of the browser's history: null is none; changes of one name in a row are one. */
function stepOf(page, name) {
  const isSame = name !== null && page.burst?.name === name;
  const step = isSame ? page.burst : {name, isPushed: false};
  page.burst = name === null ? null : step;
  return step;
}

function write(page, step) {
  if (!step) return;
  const goOn = step.isPushed ? url.replace : url.push;
  const tell = step.isSettled ? url.settle : goOn;
  tell(page.addressed(page.store.get()), page.fields);
  url.keepDraft(page.store.get().draft);
  step.isPushed = true;
}

function goBack(page, address) {
  const {store, newest} = page;
  newest.hold();
  page.burst = null;
  url.keepDraft(null);
  const wanted = {...store.get(), ...fromAddress(page, address)};
  store.set({problem: null, wrong: null, draft: null, ignored: wanted.ignored});
  page.form.fill(wanted, {all: true});
  if (specOf(page, wanted) === page.spec) settle(page, wanted, null);
  else load(page, wanted, null, {isBack: true});
}

// The newest request wins; the picture stays until the new one is complete.

const specOf = (page, wanted) => JSON.stringify(page.asks(wanted));

/** The keys whose values differ, with those that are wanted. */
const difference = ({keys}, state, wanted) =>
  pick(wanted, keys.filter((key) => key in wanted && !Object.is(state[key], wanted[key])));

/** Ask for a change. What needs no answer is shown at once, a refused draft stays aside. */
async function want(page, patch, {typing = false, isTyped = false,
  step = stepOf(page, typing ? Object.keys(patch).join() : null)} = {}) {
  const {store, newest} = page;
  const state = store.get();
  const unread = newest.isWaiting() ? page.form.typed() : {};
  const isOpen = isTyped || state.busy || newest.isWaiting();
  const base = isOpen ? {...state, ...state.draft, ...unread} : state;
  const wanted = page.fit({...base, ...patch});
  const spec = specOf(page, wanted);
  store.set({ignored: []});
  if (!isTyped && !newest.isWaiting() && spec === specOf(page, base)) {
    return adjust(page, difference(page, base, wanted), step);
  }
  if (spec === page.spec) return settle(page, wanted, step);
  return load(page, wanted, step);
}

/** Change what needs no answer; another change may be on its way. */
function adjust(page, changed, step) {
  const {store} = page;
  const {draft, busy} = store.get();
  const left = draft && Object.fromEntries(Object.entries(draft).filter(([key]) =>
    !(key in changed)));
  store.set({...changed, draft: left});
  if (!busy) write(page, step);
  return true;
}

/** What is wanted is on screen already. */
function settle(page, wanted, step) {
  const {store, newest} = page;
  const signal = newest.begin();
  if (page.isLive) page.drawn = null; // what has come so far gives way
  const calm = {draft: null, problem: null, wrong: null, notice: "", busy: false};
  store.set({...difference(page, store.get(), wanted), ...calm});
  write(page, step);
  return complete(page, signal);
}

async function load(page, wanted, step, {isBack = false} = {}) {
  const {store} = page;
  const signal = page.newest.begin();
  const state = store.get();
  store.set({busy: true, wrong: null, draft: difference(page, state, wanted)});
  if (step && !step.isSettled) url.keepDraft(store.get().draft); // a reload asks for it again
  try {
    const options = {signal, onRetry: (notice) => store.set({notice})};
    const {later, ...answer} = await page.answer(wanted, options, isBack ? null : state.found);
    signal.throwIfAborted();
    page.spec = specOf(page, wanted);
    page.later = later ?? null;
    const calm = {draft: null, problem: null, wrong: null, notice: "", busy: false};
    store.set({...store.get().draft, ...calm, ...answer});
    write(page, step);
  } catch (error) {
    if (signal.aborted) return false;
    refuse(page, error);
    await complete(page, signal);
    return false;
  }
  return complete(page, signal);
}

/** Add what comes later; what a newer request has interrupted is asked for again. */
async function complete(page, signal) {
  if (!page.later) return !signal.aborted;
  try {
    const more = await page.later({signal});
    if (signal.aborted) return false;
    page.later = null;
    page.store.set({found: {...page.store.get().found, ...more}});
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    page.later = null;
    refuse(page, error);
    return false;
  }
}

/** The picture stays, and what was asked for is kept beside it, through a reload too. */
function refuse(page, error) {
  if (page.isLive) page.drawn = null; // what has come so far gives way
  page.store.set({problem: error.message, notice: "", busy: false});
  url.keepDraft(page.store.get().draft);
}

/** The form has changed; answers the state if the change is on screen. */
async function retyped(page, typed, isTyping) {
  const {store, newest} = page;
  newest.hold();
  const step = page.burst?.name === "typing" ? page.burst : {name: "typing", isPushed: false};
  page.burst = isTyping ? step : null;
  const state = store.get();
  const base = {...state, ...state.draft};
  const wanted = page.retype({...base, ...typed}, base);
  const isSame = Object.keys(typed).every((key) => (base[key] ?? "") === (wanted[key] ?? ""));
  if (isSame && !state.problem) return state.busy ? null : state;
  const patch = {...difference(page, base, wanted), ...pick(wanted, Object.keys(typed))};
  const ask = () => want(page, patch, {isTyped: true, step});
  if (isTyping) return newest.later(ask);
  return await ask() ? store.get() : null;
}

// Drawing.

/** Whether more is to come: nothing on the page is busy when it is complete. */
function sayBusy({busy, late, later, newest, store}) {
  const {found, problem, busy: isAsked} = store.get();
  const isOpening = !(found || problem);
  busy.ariaBusy = isAsked || newest.isWaiting() || isOpening;
  if (late) late.ariaBusy = Boolean(later) || isOpening;
}

/** Its place is kept when the picture is no example's any more: nothing moves under the pointer. */
function sayObservation(text) {
  const el = byId("observation");
  if (!el) return;
  if (text || el.textContent) el.style.minHeight = text ? "" : `${el.offsetHeight}px`;
  say("observation", text);
}

function render(page, state) {
  const {found, problem, wrong, draft} = state;
  const theme = themeOf(state);
  page.updateTheme(theme);
  const remarks = found ? textRemarks(page.data.models, page.texts(state)) : "";
  showNotice({...state, problem: wrong ?? problem}, `${staleText(state)} ${remarks}`.trim());
  sayBusy(page);
  page.busy.classList.toggle("stale", Boolean(found && (problem || wrong)));
  if (!found) return;
  sayObservation(observation(page, state));
  page.controls({...state, ...draft}, state);
  refreshSeeIn(url.format(page.addressed(state), page.fields), page.context(state));
  const drawn = {...pick(state, page.keys), found, theme};
  const {drawn: before} = page;
  if (before && Object.keys(drawn).every((key) => Object.is(drawn[key], before[key]))) return;
  const isNew = before?.found !== found;
  page.drawn = drawn;
  for (const plain of document.querySelectorAll(".plain")) plain.remove();
  page.draw(state, theme, !isNew && before.theme === theme);
  const changed = page.local.filter((key) => !Object.is(drawn[key], before?.[key]));
  page.form.fill({...state, ...draft}, {keys: isNew ? page.keys : changed});
}
