// "Content words only" of a comparison: the switch, the list that it goes by, what it leaves out.

import {modelIn} from "./data.js";
import {byId} from "./dom.js";
import {_} from "./language.js";

const LISTS = {en: _("English"), es: _("Spanish")}; // of function words
const BY_MODEL = "1"; // in the address: each model's own language

/** The list that the address names; null where it is each model's own, or none. */
export const listOf = (content) => (content in LISTS ? content : null);

/**
 * @param {Object[]} models
 * @param {(content: string) => void} onChange  gets what the address has
 * @returns {(content: string, comparison: Object) => void}
 */
export function mountContent(models, onChange) {
  const [box, list] = [byId("content-words"), byId("function-word-list")];
  for (const el of [box, list]) {
    el.addEventListener("change", () => onChange(box.checked ? list.value : ""));
  }
  return function draw(content, comparison) {
    box.checked = content !== "";
    list.value = content || list.value;
    list.parentElement.hidden = !content;
    byId("function-words").textContent = content ? leftOut(content, comparison, models) : "";
  };
}

/** Which words do not count, and by which list. */
function leftOut(content, {functionWords, functionWordLists, a, b}, models) {
  const foreign = [a, b].map(({model}) => model)
    .filter((name) => modelIn(models, name)?.source !== "bundled");
  const assumed = foreign.length && content === BY_MODEL
    ? [_("The language of {model} is not known here: the English list is used.",
      {model: foreign[0]})] : [];
  return [_("Left out by the list of function words ({lists}): special tokens, marks and {words}. Their attention counts as one share.",
    {words: functionWords.join(", ") || _("none"),
      lists: functionWordLists.map((code) => LISTS[code]).join(", ")}),
  ...assumed].join(" ");
}
