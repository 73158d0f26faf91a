// Takes the place of language.js in a notebook's module: the words are in the module.

import {language as tag, words} from "./inside.js";

export const language = tag;

/** The text in the reader's language; {name} is filled in from the values. */
export function _(text, values = {}) {
  return (words[text] || text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
