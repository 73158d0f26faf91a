// The words of two texts, to click: which one of A is compared with which one of B.

import {h, roving} from "./dom.js";
import {_} from "./language.js";

const segmenter = new Intl.Segmenter("en", {granularity: "word"}); // UAX #29, as on the server
const plain = (word) => word.normalize("NFC").toLowerCase();

const LONGEST = 100; // characters of a word that the server compares

/** The words of a text that can be compared, in its order. */
export const wordsIn = (text) => [...segmenter.segment(text)]
  .filter(({isWordLike, segment}) => isWordLike && [...segment].length <= LONGEST)
  .map(({segment}) => segment);

const longest = (words) => words.reduce((best, word) => (word.length > best.length ? word : best));
const has = (words, word) => words.some((other) => plain(other) === plain(word ?? ""));

/**
 * A word of each text: those that were picked, where they are there; else the longest that both
 * texts have, else the longest of each. Null where there is none.
 * @param {{word: string, wordB: string}} picked
 */
export function pairOf(textA, textB, picked) {
  const [a, b] = [wordsIn(textA), wordsIn(textB)];
  if (!a.length || !b.length) return null;
  const both = a.filter((word) => has(b, word));
  if (both.length && !has(a, picked.word)) return {word: longest(both), wordB: ""};
  const word = has(a, picked.word) ? picked.word : longest(a);
  if (has(b, word)) return {word, wordB: ""};
  return {word, wordB: has(b, picked.wordB) ? picked.wordB : longest(b)};
}

const NO_WORD = ["not-a-word", "too-short"]; // codes of the server's problems

/** The words of a wish, if they are not still those of the picture. */
const pickedOf = ({word, wordB}, {a}) =>
  (plain(word) === plain(a.qWords[a.word].text) ? {} : {word, wordB});

/**
 * A comparison; where texts that have just been changed lack the word, of words that they have.
 * @param {(wanted: Object) => Promise<Object>} ask  @param {Object|undefined} before
 */
export async function withWords(ask, wanted, before) {
  try {
    return {comparison: await ask(wanted), words: null};
  } catch (error) {
    const isOther = before && (wanted.text !== before.a.text || wanted.textB !== before.b.text);
    const canAsk = isOther && NO_WORD.includes(error.code);
    const words = canAsk ? pairOf(wanted.text, wanted.textB, pickedOf(wanted, before)) : null;
    if (!words) throw error;
    return {comparison: await ask({...wanted, ...words}), words};
  }
}

/**
 * The words to compare when one of them is clicked; the other one stays.
 * @param {number} run  of A 0, of B 1  @param {string} text
 * @param {{word: string, wordB: string, textB: string}} now
 */
export function withClicked(run, text, {word, wordB, textB}) {
  const pair = [word, wordB || word];
  pair[run] = text;
  const isInB = run === 0 && has(wordsIn(textB), text);
  return {word: pair[0], wordB: isInB || plain(pair[0]) === plain(pair[1]) ? "" : pair[1]};
}

/**
 * A line of words for each text; the one that is compared is pressed.
 * @param {HTMLElement} el  @param {{a: Object, b: Object}} comparison
 * @param {(run: number, text: string) => void} pick
 */
export function drawWordLines(el, {a, b}, pick) {
  el.replaceChildren(...[a, b].map(({qWords, word}, run) => h("p", {class: "compare-line",
    role: "group", "aria-label": run === 0 ? _("Word of A") : _("Word of B"), onkeydown: roving},
  h("span", {class: "compare-letter", "aria-hidden": "true"}, run === 0 ? "A" : "B"),
  ...qWords.map((one, i) => [one, i]).filter(([one]) => !one.special).map(([one, i]) =>
    h("button", {type: "button", class: "plain-button", "aria-pressed": `${i === word}`,
      tabindex: i === word ? "0" : "-1", onclick: () => pick(run, one.text)}, one.text)))));
}
