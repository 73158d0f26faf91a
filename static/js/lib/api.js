// The REST API: the only fetch. JSON is snake_case, and becomes camelCase here, once. Its twin in a
// file that stands alone is offline.js.

import {events} from "./events.js";
import {_, language} from "./language.js";
import {camel, camelKeys, snake} from "./names.js";
import {rooted} from "./root.js";
import {decode} from "./wire.js";

const ROOT = rooted("/api/v1");
const JSON_TYPE = "application/json";
const TENSORS = "application/vnd.safetensors";
const EVENTS = "text/event-stream";
const LONGEST_QUERY = 6000; // beyond it, the same fields go as a POST
const TRIES = 6;

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** The address of a resource: for links, and for requests that are not too long. */
export function address(path, spec) {
  const text = (value) => (isObject(value) ? JSON.stringify(snake(value)) : value);
  const fields = Object.entries(snake(spec)).map(([key, value]) => [key, text(value)]);
  return `${ROOT}/${path}?${new URLSearchParams(fields)}`;
}

/** @typedef {{signal: AbortSignal, onRetry?: (message: string) => void}} Options */

/** Tokens, kinds and predictions of one input. @param {Options} options */
export const run = (spec, options) => json("run", spec, options);

/** Every head as a small uint8 picture. @param {Options} options */
export const overview = (spec, options) => record("attention/overview", spec, options);

/** The chosen heads in float32. @param {Options} options */
export const attention = (spec, options) => record("attention", spec, options);

/** One head and one query token, step by step. @param {Options} options */
export const anatomy = (spec, options) => record("anatomy", spec, options);

/** Position encodings, by their sizes or a model's. @param {Options} options */
export const positions = (spec, options) => record("positions", spec, options);

/** Random vectors' products by width. @param {Options} options */
export const scaling = ({dK}, options) => json("arithmetic/scaling", {dK}, options);

/** What each head adds. @param {Options} options */
export const headParts = (spec, options) => json("arithmetic/heads", spec, options);

/** Residual stream and updates by layer. @param {Options} options */
export const blocks = (spec, options) => json("arithmetic/blocks", spec, options);

/** The gradient through a small stack. @param {Options} options */
export const gradients = (spec, options) => json("arithmetic/gradients", spec, options);

/** What attention costs, measured now. @param {Options} options */
export const cost = (spec, options) => json("arithmetic/cost", spec, options);

/** Texts in one batch, a head's masks and scores. @param {Options} options */
export const masks = (spec, options) => record("masks", spec, options);

/** A text's words and positions, as lengths. @param {Options} options */
export const embedding = (spec, options) => json("embedding", spec, options);

/** The same words in two orders. @param {Options} options */
export const permutation = (spec, options) => json("permutation", spec, options);

/** A word in two runs. @param {Options} options */
export const compare = (spec, options) => json("compare", spec, options);

/** @typedef {Options & {onEvent: (name: string, data: Object) => void}} Watching */

/** A translation, its steps as they come. @param {Watching} options */
export const translate = (spec, options) => steps("translate", spec, options);

/** A continuation, its steps as they come. @param {Watching} options */
export const generate = (spec, options) => steps("generate", spec, options);

/** Accuracy by number of examples, as it is measured. @param {Watching} options */
export const fewShot = (spec, options) => steps("few-shot", spec, options);

/** Each head's effect, replaced alone; layers as they come. @param {Watching} options */
export const sweep = (spec, options) => steps("lab/sweep", spec, options);

/** A run under interventions, each alone and all at once. @param {Options} options */
export const effects = (spec, options) => json("lab/effects", spec, options);

/** What each part of a model writes into a prediction. @param {Options} options */
export const writes = (spec, options) => json("lab/writes", spec, options);

/** What would be predicted after each layer. @param {Options} options */
export const lens = (spec, options) => json("lab/lens", spec, options);

/** What heads pass to later heads and to the prediction. @param {Watching} options */
export const paths = (spec, options) => steps("lab/paths", spec, options);

/** What each token contributes, method by method. @param {Watching} options */
export const attributions = (spec, options) => steps("lab/attributions", spec, options);

/** How a text looks to a decoder that reads it. @param {Options} options */
export const nextToken = (spec, options) => json("next-token", spec, options);

/** What BERT would write for each [MASK]. @param {Options} options */
export const fillMask = (spec, options) => json("fill-mask", spec, options);

/** Whether a sentence follows another. @param {Options} options */
export const nextSentence = (spec, options) => json("next-sentence", spec, options);

/** What a head that tells labels apart says. @param {Options} options */
export const classify = (spec, options) => json("classify", spec, options);

/** A text with the noise of BERT's training. @param {Options} options */
export const corruption = (spec, options) => json("corruption", spec, options);

/** An answer that comes step by step: each event on its way, and at last the whole. */
async function steps(path, spec, {onEvent, ...options}) {
  const response = await request(path, {...spec, stream: true}, EVENTS, options);
  for await (const {name, data} of events(response.body)) {
    options.signal.throwIfAborted();
    if (name === "problem") throw asError(data, data.status);
    if (name === "result") return camel(data);
    onEvent(name, camel(data));
  }
  throw new Error(_("the answer broke off"));
}

/**
 * Open a model by its Hub name, its folder, or the name that it is known by.
 * @param {{signal: AbortSignal, onProgress: (step: Object) => void, token?: string}} options
 * @returns {Promise<Object>} its summary; an Error says the reason why not
 */
export async function openModel(model, {signal, onProgress, token}) {
  const headers = {...accepting(EVENTS), "content-type": JSON_TYPE};
  if (token) headers.authorization = `Bearer ${token}`;
  const post = {method: "POST", headers, body: JSON.stringify({model}), signal};
  const response = await fetch(`${ROOT}/models`, post).catch((error) => {
    signal.throwIfAborted();
    return error instanceof TypeError ? null : Promise.reject(error);
  });
  if (!response?.ok) throw await apiError(response);
  for await (const {name, data} of events(response.body)) {
    if (name === "done") return camel(data);
    if (name === "problem") {
      throw Object.assign(new Error(_(data.template, data.values)), {reason: data.reason});
    }
    onProgress(camel(data));
  }
  throw new Error(_("the server does not answer"));
}

/**
 * Send a file of attention and its tokens, which the server keeps in memory.
 * @param {File} file  @param {{signal: AbortSignal, token?: string}} options
 * @returns {Promise<{record: string, text: string}>} the model and the text to ask for
 */
export async function sendRecord(file, {signal, token}) {
  const headers = {...accepting(JSON_TYPE), "content-type": "application/octet-stream"};
  if (token) headers.authorization = `Bearer ${token}`;
  const post = {method: "POST", headers, body: file, signal};
  const response = await fetch(`${ROOT}/records`, post).catch((error) => {
    signal.throwIfAborted();
    return error instanceof TypeError ? null : Promise.reject(error);
  });
  if (!response?.ok) throw await apiError(response);
  return camel(await response.json());
}

/** A page of the course as a document, for the figure in it. @param {AbortSignal} signal */
export async function stepPage(address, signal) {
  const response = await fetch(address, {signal}).catch((error) => {
    signal.throwIfAborted();
    return error instanceof TypeError ? null : Promise.reject(error);
  });
  if (!response) throw await apiError(null);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (page.getElementById("figure-body")) return page;
  throw new Error(page.getElementById("problem")?.textContent || _("the server does not answer"));
}

async function json(path, spec, options) {
  const response = await request(path, spec, JSON_TYPE, options);
  return camel(await response.json());
}

/** One number per head; the metrics keep the names they have in the address. */
export async function metrics(spec, options) {
  const response = await request("metrics", spec, JSON_TYPE, options);
  const {layers, heads, metrics: found, definitions, roles, role_definitions: named} =
    await response.json();
  return Object.freeze({layers, heads, metrics: found, definitions, roles,
    roleDefinitions: named});
}

/** @returns {Promise<import("./view.js").Record>} */
async function record(path, spec, options) {
  const response = await request(path, spec, TENSORS, options);
  const {tensors, metadata} = decode(await response.arrayBuffer());
  return Object.freeze({...camel(metadata), ...camelKeys(tensors)});
}

/** An answer; a busy or silent server is asked again, each time later. */
async function request(path, spec, accept, {signal, onRetry = () => {}}) {
  for (let attempt = 1; ; attempt++) {
    const response = await attemptOnce(path, spec, accept, signal);
    if (response?.ok) return response;
    const again = !response || response.status === 503;
    if (!again || attempt === TRIES) throw await apiError(response);
    const seconds = Number(response?.headers.get("retry-after")) || 2 ** (attempt - 2);
    const reason = response ? _("The server is busy") : _("The server does not answer");
    const values = {reason, seconds, attempt, tries: TRIES - 1};
    onRetry(_("{reason}: trying again in {seconds} s ({attempt} of {tries}).", values));
    await pause(1000 * seconds, signal);
  }
}

/** Headers of a request: the type of the answer, and the language of its errors. */
const accepting = (accept) => ({accept, "accept-language": language});

/** A spec as JSON: run specs inside it are specs too. */
const body = (spec) => Object.fromEntries(
  Object.entries(snake(spec)).map(([key, value]) => [key, isObject(value) ? snake(value) : value]));

/** @returns {Promise<Response|null>} null when the server cannot be reached */
async function attemptOnce(path, spec, accept, signal) {
  const url = address(path, spec);
  const post = {
    method: "POST",
    headers: {...accepting(accept), "content-type": JSON_TYPE},
    body: JSON.stringify(body(spec))
  };
  try {
    if (url.length > LONGEST_QUERY) return await fetch(`${ROOT}/${path}`, {...post, signal});
    return await fetch(url, {headers: accepting(accept), signal});
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/** Problem details (RFC 9457) as an Error, whose message is the detail. */
async function apiError(response) {
  if (!response) return Object.assign(new Error(_("the server does not answer")), {status: 0});
  const problem = await response.json().catch(() => ({}));
  return asError(problem, response.status, response.statusText);
}

const asError = ({detail, code}, status, text = "") =>
  Object.assign(new Error(detail || `${status} ${text}`), {name: "ApiError", status, code});

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", stop, {once: true});
  });
}
