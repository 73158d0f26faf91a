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
 * A line of words for each text; the one that is compared is pressed.
 * @param {HTMLElement} el  @param {{a: Object, b: Object}} comparison
 * @param {(patch: {word: string, wordB: string}) => void} pick
 */
export function drawWordLines(el, {a, b}, pick) {
  const chosen = [a, b].map(({qWords, word}) => qWords[word].text);
  const choose = (run, text) => {
    chosen[run] = text; // the other one may be clicked before the answer is there
    const [word, wordB] = chosen;
    const isInB = b.qWords.some((other) => plain(other.text) === plain(word));
    const isSame = plain(word) === plain(wordB) || (run === 0 && isInB);
    pick({word, wordB: isSame ? "" : wordB});
  };
  el.replaceChildren(...[a, b].map(({qWords, word}, run) => h("p", {class: "compare-line",
    role: "group", "aria-label": run === 0 ? _("Word of A") : _("Word of B"), onkeydown: roving},
  h("span", {class: "compare-letter", "aria-hidden": "true"}, run === 0 ? "A" : "B"),
  ...qWords.map((one, i) => [one, i]).filter(([one]) => !one.special).map(([one, i]) =>
    h("button", {type: "button", class: "plain-button", "aria-pressed": `${i === word}`,
      tabindex: i === word ? "0" : "-1", onclick: () => choose(run, one.text)}, one.text)))));
}
