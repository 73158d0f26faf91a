// The REST API: the only fetch. JSON is snake_case, and becomes camelCase here, once.

import {decode} from "./wire.js";

const ROOT = "/api/v1";
const JSON_TYPE = "application/json";
const TENSORS = "application/vnd.safetensors";
const LONGEST_QUERY = 6000; // beyond it, the same fields go as a POST
const TRIES = 6;

const toCamel = (key) => key.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
const toSnake = (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Every key of a JSON value in camelCase. */
export function camel(value) {
  if (Array.isArray(value)) return value.map(camel);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [toCamel(key), camel(v)]));
}

function snake(spec) {
  const given = Object.entries(spec).filter(([, value]) => value !== null);
  return Object.fromEntries(given.map(([key, value]) => [toSnake(key), value]));
}

/** The address of a resource: for links, and for requests that are not too long. */
export function address(path, spec) {
  return `${ROOT}/${path}?${new URLSearchParams(snake(spec))}`;
}

/** @typedef {{signal: AbortSignal, onRetry?: (message: string) => void}} Options */

/** Tokens, kinds and predictions of one input. @param {Options} options */
export async function run(spec, options) {
  const response = await request("run", spec, JSON_TYPE, options);
  return camel(await response.json());
}

/** Every head as a small uint8 picture. @param {Options} options */
export const overview = (spec, options) =>
  record("attention/overview", {...spec, size: 64}, options);

/** The chosen heads in float32. @param {Options} options */
export const attention = (spec, options) => record("attention", spec, options);

/** @returns {Promise<import("./view.js").Record>} */
async function record(path, spec, options) {
  const response = await request(path, spec, TENSORS, options);
  const {tensors, metadata} = decode(await response.arrayBuffer());
  return Object.freeze({...camel(metadata), ...tensors});
}

/** An answer; a busy or silent server is asked again, each time later. */
async function request(path, spec, accept, {signal, onRetry = () => {}}) {
  for (let attempt = 1; ; attempt++) {
    const response = await attemptOnce(path, spec, accept, signal);
    if (response?.ok) return response;
    const again = !response || response.status === 503;
    if (!again || attempt === TRIES) throw await apiError(response);
    const seconds = Number(response?.headers.get("retry-after")) || 2 ** (attempt - 2);
    const reason = response ? "The server is busy" : "The server does not answer";
    onRetry(`${reason}: trying again in ${seconds} s (${attempt} of ${TRIES - 1}).`);
    await pause(1000 * seconds, signal);
  }
}

/** @returns {Promise<Response|null>} null when the server cannot be reached */
async function attemptOnce(path, spec, accept, signal) {
  const url = address(path, spec);
  const post = {
    method: "POST",
    headers: {accept, "content-type": JSON_TYPE},
    body: JSON.stringify(snake(spec))
  };
  try {
    if (url.length > LONGEST_QUERY) return await fetch(`${ROOT}/${path}`, {...post, signal});
    return await fetch(url, {headers: {accept}, signal});
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/** Problem details (RFC 9457) as an Error, whose message is the detail. */
async function apiError(response) {
  if (!response) return Object.assign(new Error("the server does not answer"), {status: 0});
  const problem = await response.json().catch(() => ({}));
  const message = problem.detail || `${response.status} ${response.statusText}`;
  return Object.assign(new Error(message), {name: "ApiError", status: response.status});
}

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
