// Takes the place of api.js in a file that stands alone: the answers are in the file itself.

import {_} from "./language.js";
import {headOf, tensor} from "./tensor.js";
import {camel} from "./names.js";
import {decode} from "./wire.js";

const page = camel(JSON.parse(document.getElementById("page").textContent));
const answers = JSON.parse(document.getElementById("answers").textContent);

function record(base64) {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const {tensors, metadata} = decode(bytes.buffer);
  return Object.freeze({...camel(metadata), ...tensors});
}

const pictures = record(answers.overview);
const whole = record(answers.attention);
const numbers = JSON.parse(answers.metrics);

export const run = async () => page.run;
export const overview = async () => pictures;
export const metrics = async () => Object.freeze({...numbers,
  roleDefinitions: numbers.role_definitions});

/** One head of those in the file. */
export async function attention({layer, head}) {
  if (!whole.layers.includes(layer) || !whole.heads.includes(head)) {
    throw new Error(_("only the chosen head is in this file: the text is too long for all of them"));
  }
  const {attn, mask} = headOf(whole, layer, head);
  const one = ({data, shape}) => tensor(data, [1, 1, ...shape]);
  return Object.freeze({...whole, layers: [layer], heads: [head], attn: one(attn),
    mask: one(mask)});
}

export async function anatomy() {
  throw new Error(_("Anatomy needs the server"));
}

export async function openModel() {
  throw new Error(_("Other models need the server"));
}

export async function sendRecord() {
  throw new Error(_("Other models need the server"));
}

export async function attributions() {
  throw new Error(_("Other models need the server"));
}

/** Nothing to fetch from. */
export const address = () => null;
