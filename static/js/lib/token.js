// How a token is written on screen: nothing invisible, nothing that is markup, nothing ambiguous.

import {h} from "./dom.js";
import {_} from "./language.js";

const STAND_INS = new Map([["\n", "↵"], ["\r", "↵"], ["\t", "⇥"]]);
const standIn = (char) => STAND_INS.get(char) ?? "␣";
const codePoint = (char) => `U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

const LONGEST = 28; // characters of a token: an unknown word may be as long as a page is wide
const MOST = 24; // of an odd token in a sentence

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function spelled({text}, most) {
  if (text === "") return standIn(" ");
  if (/^\s+$/u.test(text)) return [...text].map(standIn).join("");
  if (/^[\p{C}\s]+$/u.test(text)) return [...text].map(codePoint).join(" ");
  const line = shortened(text.trim().replace(/[\n\r\t]/g, standIn), most);
  return /^\p{M}/u.test(line) ? `◌${line}` : line;
}

/** The token's text, with a visible stand-in where there would be nothing to see. */
export const visible = (token) => spelled(token, LONGEST);

const named = (token, text) => (token.unknown ? `${text} (${_("unknown")})` : text);

/** One line of plain text: for axes, titles and sentences read aloud. */
export const label = (token) => named(token, visible(token));

/** The same, however long the token is: for files. */
export const wholeLabel = (token) => named(token, spelled(token, Infinity));

/** Of each token the whole word that it is part of; a token without a word is itself. */
export function wholeWords(tokens) {
  const isWith = (token) => ({segment, word}) => segment === token.segment && word === token.word;
  return tokens.map((token) => (token.word === null ? [token] : tokens.filter(isWith(token)))
    .map(label).join(""));
}

/** What is odd in the tokens: a character in several of them, a word that none spells. */
export function oddities(tokens) {
  const short = (text) => shortened(text, MOST);
  const texts = (chosen) => [...new Set(chosen.map(visible))].slice(0, 3).map(short).join(", ");
  const isSplit = (a, i) => [tokens[i - 1], tokens[i + 1]].some((b) => b && a.end > a.start
    && b.start === a.start && b.end === a.end && b.segment === a.segment && b.raw !== a.raw);
  const split = tokens.filter((token, i) => !token.special && !token.unknown && isSplit(token, i)
    && [...token.text.trim()].length === 1);
  const unknown = tokens.filter((token) => token.unknown);
  return [
    ...(split.length ? [_("{text}: several tokens, one for each byte of its UTF-8 code, as the vocabulary has no token for the character.", {text: texts(split)})] : []),
    ...(unknown.length ? [_("{text}: {raw}, the one token for all that the vocabulary cannot spell; the model does not know which word it was.", {text: texts(unknown), raw: unknown[0].raw})] : [])
  ];
}

/** A token among others; the vocabulary's spelling is its tooltip. */
export function tokenNode(token) {
  const {raw, special, unknown} = token;
  const kind = ["token", special && "special", unknown && "unknown"].filter(Boolean).join(" ");
  const title = unknown ? _("{raw}: not in the vocabulary", {raw}) : raw;
  const aside = unknown ? [h("span", {class: "sr-only"}, ` (${_("unknown")})`)] : [];
  return h("bdi", {class: kind, title}, visible(token), ...aside);
}
