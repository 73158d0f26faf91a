/**
 * What every file in views/ exports: id, title and mount. Nothing else.
 *
 * @typedef {{id: number, raw: string, text: string, special: boolean, unknown: boolean,
 *   start: number, end: number, segment: number}} Token
 * @typedef {import("./tensor.js").Tensor} Tensor
 *
 * @typedef {Readonly<{kind: string, layers: number[], heads: number[], reduce: string,
 *   quantity: string, attn: Tensor, mask: Tensor, qTokens: Token[], kTokens: Token[],
 *   qTrained: number|null, kTrained: number|null}>} Record   qTrained, kTrained: how many tokens of
 *   an axis lie within the length that the model was trained on, null where all do
 *   attn is (layers, heads, Tq, Tk); mask broadcasts to it, 1 where looking is allowed
 *
 * @typedef {Readonly<{
 *   overview: Record,     every head, as uint8 pictures: for colours only, never for numbers
 *   metrics: {layers: number[], heads: number[], metrics: Object<string, number[][]>}|null,
 *   record: Record,       one head, or a reduction, float32
 *   shown: {layer: number, head: number, record: Record}[],   the chosen head, and those beside it
 *   anatomy: Object|null, the chosen head and query, step by step; only for the view of that name
 *   layer: number, head: number,       the chosen head
 *   query: number|null, side: "query"|"key",   the locked token, and on which axis it is
 *   queries: string,      more locked tokens of that axis, as the address has them: "6,7"
 *   threshold: number, top: number, segments: string,   which lines are drawn
 *   low: number, high: number, scale: "linear"|"log",   the matrix's colours
 *   metric: string, least: number,     how the grid is sorted, and what it leaves out
 *   heads: string,        those beside the chosen one, as the address has them
 *   reduce: string,       how heads are reduced to one: none, mean_heads, max_heads, rollout
 *   pointed: Place,       what is pointed at in another view that this one is linked with
 *   alone: boolean,       no other head can be added
 *   several: boolean,     a click on a head adds it to those shown, or takes it away
 *   theme: "light"|"dark"
 * }>} Frame
 *
 * @typedef {(patch: Partial<Frame>) => void} Emit  ask for a change; the answer comes as an update
 * @typedef {{update: (frame: Frame) => void|Promise<void>, destroy: () => void}} View
 * @typedef {{side: "query"|"key", index: number}|null} Place  a token under the pointer or focus
 * @typedef {(root: HTMLElement, emit: Emit, onPoint?: (place: Place) => void) => View} Mount
 *   onPoint, and a frame's `pointed`, link two views: what is pointed at in one shows in the other
 */

const DEFAULTS = {
  overview: null, metrics: null, record: null, anatomy: null, layer: 0, head: 0, heads: "",
  reduce: "none", query: null, queries: "", side: "query", pointed: null, threshold: 0.05, top: 0,
  segments: "all", low: 0, high: 1, scale: "linear", metric: "", least: 0, alone: false,
  several: false, theme: "light"
};

/** What a view draws: what is given, and for the rest its default. @returns {Frame} */
export function frame(given) {
  const {record = null, layer = 0, head = 0} = given;
  const one = given.shown || !record ? {} : {shown: alone(record, layer, head), alone: true};
  return Object.freeze({...DEFAULTS, shown: [], ...one, ...given});
}

const memo = new WeakMap(); // record -> [{layer, head, record}], one as long as the record is

/** One head by itself. */
function alone(record, layer, head) {
  const known = memo.get(record)?.[0];
  if (known?.layer !== layer || known?.head !== head) memo.set(record, [{layer, head, record}]);
  return memo.get(record);
}
