// The languages of a translator: which it has, and the selects that choose them.

import {fillSelect} from "./dom.js";
import {_, language} from "./language.js";
import {toCamel} from "./names.js";

const SIDES = {source: "sourceLang", target: "targetLang"};
const [spoken] = language.split("-");

/** The languages that are wanted, the model's own in place of others; null where it has none. */
export function languagesIn(model, wanted) {
  const known = model?.languages;
  const code = (side) => {
    const chosen = wanted[SIDES[side]];
    return known?.[side].includes(chosen) ? chosen : known?.default[side] ?? null;
  };
  return {sourceLang: code("source"), targetLang: code("target")};
}

/** A wish after its form has changed: with another model come its own languages. */
export const ownLanguages = (wanted, before) =>
  (wanted.model === before.model ? {} : {sourceLang: null, targetLang: null});

/** One side's languages by their names, in the order in which the model has them. */
function entries({names, default: usual, ...codes}, side) {
  const order = Object.keys(names);
  const placed = codes[side].toSorted((a, b) =>
    order.indexOf(toCamel(a)) - order.indexOf(toCamel(b)));
  const named = placed.map((code) => [code, names[toCamel(code)]?.[spoken] ?? code]);
  return usual[side] === null ? [["", _("none")], ...named] : named;
}

/** The form's selects hold the languages of a model, and are hidden where it has none. */
export function fillLanguages(form, model, wanted) {
  for (const [side, key] of Object.entries(SIDES)) {
    const label = form.querySelector(`[data-language="${side}"]`);
    const select = label.querySelector("select");
    const isChoice = Boolean(model?.languages?.[side].length);
    label.hidden = !isChoice;
    select.disabled = !isChoice;
    const isOther = fillSelect(select, isChoice ? entries(model.languages, side) : []);
    if (isOther) select.value = wanted[key] ?? "";
  }
}
