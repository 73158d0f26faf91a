// The answers that a picture is made of, and those that are known already.

import {anatomy, attention, metrics, overview, run} from "./api.js";

const REMEMBERED = 24; // answers kept, so that going back or choosing again asks for nothing
const FETCH = {run, overview, metrics, record: attention, anatomy};
const known = new Map(); // "part: what it is asked for with" -> its answer, the last used last

const keyOf = (name, spec) => `${name}: ${JSON.stringify(spec)}`;

/** An answer that came with the page. */
export const remember = (name, spec, answer) => known.set(keyOf(name, spec), answer);
const recall = (name, spec) => known.get(keyOf(name, spec)) ?? null;

/** An answer, from memory or from the server. */
async function ask(name, spec, options) {
  const key = keyOf(name, spec);
  const answer = known.get(key) ?? await FETCH[name](spec, options);
  known.delete(key);
  known.set(key, answer);
  if (known.size > REMEMBERED) known.delete(known.keys().next().value);
  return answer;
}

/**
 * What is drawn, all of it or nothing. The run comes first: it says what is wrong with a text once,
 * and what the others need is then in the server's cache. Metrics can wait, but for a grid that is
 * sorted by one.
 * @returns {Promise<{run: Object, overview: Object, metrics: Object|null, record: Object,
 *   shown: {layer: number, head: number, record: Object}[]}>}
 */
export async function fetchParts(parts, {shown, metric}, options) {
  const found = await ask("run", parts.run, options);
  const [overview, metrics, ...records] = await Promise.all([
    ask("overview", parts.overview, options),
    metric ? ask("metrics", parts.metrics, options) : recall("metrics", parts.metrics),
    ...[parts.record, ...parts.beside].map((spec) => ask("record", spec, options))
  ]);
  const places = shown.slice(0, records.length);
  return {
    run: found, overview, metrics, record: records[0],
    shown: places.map(([layer, head], i) => ({layer, head, record: records[i]}))
  };
}

/** One number per head, after the picture. */
export const fetchMetrics = (parts, options) => ask("metrics", parts.metrics, options);

/** The locked query, or the first token that is not a special one, taken apart. */
export async function fetchAnatomy({view, layer, head, query, side}, parts, {qTokens}, options) {
  if (view !== "anatomy") return null;
  const first = Math.max(0, qTokens.findIndex(({special}) => !special));
  const index = side === "query" && query !== null ? query : first;
  const {kind, ...inputs} = parts.metrics;
  return ask("anatomy", {...inputs, kind, layer, head, query: index}, options);
}
