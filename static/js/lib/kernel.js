// The Python process behind a notebook's figure: asked by messages, it answers in bytes. Its other
// side is attention_atlas/widget.py.

import {_} from "./language.js";
import {camel, camelKeys, snake} from "./names.js";
import {decode} from "./wire.js";

const SLOW = 3000; // ms until it is said that the kernel does not answer
const REMEMBERED = 64; // answers

/** Bytes of a notebook, or in base64 where the figure is a file. @returns {ArrayBuffer} */
function bytesOf(value) {
  if (typeof value === "string") {
    return Uint8Array.from(atob(value), (char) => char.charCodeAt(0)).buffer;
  }
  if (value instanceof ArrayBuffer) return value;
  return value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
}

function record(value) {
  const {tensors, metadata} = decode(bytesOf(value));
  return Object.freeze({...camel(metadata), ...camelKeys(tensors)});
}

/** One number per head; the metrics keep the names they have in the address. */
function numbers(value) {
  const {role_definitions: roleDefinitions, ...rest} =
    JSON.parse(new TextDecoder().decode(bytesOf(value)));
  return Object.freeze({...rest, roleDefinitions});
}

const READ = {attention: record, overview: record, anatomy: record, metrics: numbers,
  plotly: bytesOf};

// All heads' pictures are of a size that Python chooses.
const keyOf = (name, {size: _size, ...spec}) => `${name}: ${JSON.stringify(spec)}`;

/** Remember an answer; the one that was asked for longest ago is forgotten. */
function keep(known, key, answer) {
  known.delete(key);
  known.set(key, answer);
  if (known.size > REMEMBERED) known.delete(known.keys().next().value);
  return answer;
}

/**
 * @param {Object} model  anywidget's: what Python and this figure share
 * @param {{signal: AbortSignal, onSlow: () => void}} options  called when no answer comes
 * @returns {{ask: (name: string, spec?: Object) => Promise<Object>,
 *   remember: (name: string, spec: Object, value: *) => Object}}
 */
export function connect(model, {signal, onSlow}) {
  const known = new Map();
  const waiting = new Map(); // id -> {resolve, reject}
  const mine = Math.random().toString(36).slice(2); // other views hear the same answers
  let n = 0;

  const hear = ({id, error}, buffers) => {
    const asked = waiting.get(id);
    if (!asked) return;
    waiting.delete(id);
    if (error) asked.reject(new Error(error));
    else asked.resolve(buffers[0]);
  };
  model.on("msg:custom", hear);
  signal.addEventListener("abort", () => model.off("msg:custom", hear));

  async function send(name, spec) {
    const id = `${mine} ${n++}`;
    const answer = new Promise((resolve, reject) => waiting.set(id, {resolve, reject}));
    const slow = setTimeout(() => !signal.aborted && onSlow(), SLOW);
    try {
      model.send({id, ask: name, spec: snake(spec)});
      return READ[name](await answer);
    } catch (error) {
      if (!waiting.has(id)) throw error; // Python's own refusal
      throw new Error(_("Only what is drawn is in this figure: the rest needs a running kernel"));
    } finally {
      clearTimeout(slow);
      waiting.delete(id);
    }
  }

  async function ask(name, spec = {}) {
    const key = keyOf(name, spec);
    return keep(known, key, known.get(key) ?? await send(name, spec));
  }

  return {ask, remember: (name, spec, value) => keep(known, keyOf(name, spec), READ[name](value))};
}

// Plotly: one for all figures of a page, and the page's own stays what it is.

export const library = {Plotly: null};
let loading = null;

/** What `import("plotly")` is in a notebook's module: it was fetched before the plot was drawn. */
export const plotly = () => loading;

/** Fetch Plotly, packed as gzip, and unpack it. @returns {Promise<void>} */
export function loadPlotly(kernel) {
  loading ??= unpack(kernel).catch((error) => {
    loading = null; // another figure, or a kernel that is back, may have it
    throw error;
  });
  return loading;
}

async function unpack(kernel) {
  const bytes = await kernel.ask("plotly");
  const text = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = await new Response(text).text();
  const alone = "const module = undefined, exports = undefined, define = undefined;\n";
  const script = URL.createObjectURL(new Blob([alone, code], {type: "text/javascript"}));
  const theirs = globalThis.Plotly;
  await import(script);
  URL.revokeObjectURL(script);
  library.Plotly = globalThis.Plotly;
  globalThis.Plotly = theirs;
}

/** The rules that Plotly adds to the page, as text: a figure in a shadow tree needs its own. */
export function plotlyStyles() {
  const sheets = [...document.querySelectorAll("style[id^='plotly.js-style']")];
  return sheets.flatMap(({sheet}) => [...sheet.cssRules].map(({cssText}) => cssText)).join("\n");
}
