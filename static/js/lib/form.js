// A page's form: a field of the address stands in the form's field of the same name.

import {submitOnEnter} from "./dom.js";
import {complaint, isUnfinished} from "./validity.js";

const NO_FORM = {typed: () => ({}), fill: () => {}};

/**
 * @param {{
 *   form: HTMLFormElement|null,   a slider `data-of` a field moves with it
 *   fields: Object, given: Object,   of the address, and their first values
 *   local: string[],   keys that change the picture without a request
 *   onTyped: (typed: Object, isTyping: boolean) => Promise<boolean>|boolean,   whether it is shown
 *   onLocal: (patch: Object, isTyping: boolean) => void,
 *   onWrong: (message: string|null) => void   a value that cannot be taken
 * }} options
 * @returns {{typed: () => Object, fill: (state: Object, how?: {all?: boolean, keys?: string[]})
 *   => void}}   `all`: the field that somebody is in too; `keys`: these alone
 */
export function mountForm({form, fields, given, local, onTyped, onLocal, onWrong}) {
  if (!form) return NO_FORM;
  const controls = Object.entries(fields).map(([key, {name}]) => [key, form.elements[name]])
    .filter(([key, el]) => el && !("aside" in (el.dataset ?? {})) && key !== "lang"
      && key !== "theme");
  const typable = controls.filter(([key, el]) => el.type !== "hidden" && !local.includes(key));
  const valueOf = (key, el) => (typeof given[key] === "number" ? Number(el.value) : el.value);
  const typed = () => Object.fromEntries(typable.map(([key, el]) => [key, valueOf(key, el)]));

  /** What cannot be taken is named; what is unfinished is not, while it is being typed. */
  function isSound(some, isTyping) {
    const el = some.map(([, field]) => field).find((field) => !field.checkValidity());
    onWrong(el && !(isTyping && isUnfinished(el)) ? complaint(el) : null);
    return !el;
  }

  function changed({target, isComposing}, isTyping) {
    const name = target.dataset.of ?? target.name;
    const [key, el] = controls.find(([, control]) => control.name === name) ?? [];
    if (!key || isComposing) return;
    if (target !== el) el.value = target.value;
    const isLocal = local.includes(key);
    if (!isSound(isLocal ? [[key, el]] : typable, isTyping)) return;
    if (isLocal) onLocal({[key]: valueOf(key, el)}, isTyping);
    else onTyped(typed(), isTyping);
  }

  /** A field that was left empty holds afterwards what was taken in its place. */
  async function submit() {
    const field = document.activeElement;
    const {value} = field;
    if (!isSound(controls, false)) return;
    const shown = await onTyped(typed(), false);
    if (shown && field.value === value) fillIn(form, controls, shown, true);
  }

  listen(form, changed, submit);
  const fill = (state, {all = false, keys = null} = {}) =>
    fillIn(form, controls.filter(([key]) => keys?.includes(key) ?? true), state, all);
  return {typed, fill};
}

function listen(form, changed, submit) {
  form.noValidate = true; // what is wrong is said in the page's language
  submitOnEnter(form);
  form.addEventListener("input", (event) => changed(event, true));
  form.addEventListener("compositionend", (event) => changed({target: event.target}, true));
  form.addEventListener("change", (event) => changed(event, false));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
}

/** The form holds a state's values, but for the field that somebody is in. */
function fillIn(form, controls, state, all = false) {
  const active = document.activeElement;
  for (const [key, el] of controls) {
    const value = `${state[key] ?? ""}`;
    const sliders = form.querySelectorAll(`[data-of="${el.name}"]`);
    for (const field of [el, ...sliders]) {
      if ((all || field !== active) && field.value !== value) field.value = value;
    }
  }
}
