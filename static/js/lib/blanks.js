// Words of a text as buttons: the one that is clicked becomes a blank that the model fills in.

import {h} from "./dom.js";
import {_} from "./language.js";

const WORD = /[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}]+)?/gu;

/**
 * While the model fills in blanks and the text has none, offer its words.
 * @param {HTMLFormElement} form  with the fields `model`, `text` and `text_b`
 * @param {HTMLElement} el  @param {(model: string) => string|null} maskOf
 */
export function mountBlanks(form, el, maskOf) {
  const update = () => draw(form, el, maskOf(form.elements.model.value));
  for (const event of ["input", "change", "submit"]) form.addEventListener(event, update);
  update();
  return update;
}

function draw(form, el, mask) {
  const {text, text_b: other} = form.elements;
  const words = mask && !text.value.includes(mask) ? [...text.value.matchAll(WORD)] : [];
  el.hidden = !words.length;
  el.replaceChildren(...(words.length ? [h("span", {}, _("Click the word to predict:")),
    ...words.map((word) => h("button", {type: "button", class: "plain-button",
      onclick: () => hide(word, mask, [text, other])}, word[0]))] : []));
}

/** The word becomes the blank; the same word of the other text too. */
function hide([word], mask, [text, other]) {
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])${word}(?![\\p{L}\\p{N}])`, "u");
  for (const field of [text, other]) field.value = field.value.replace(pattern, () => mask);
  text.dispatchEvent(new Event("change", {bubbles: true}));
}
