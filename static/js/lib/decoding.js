// What the pages of models at work have in common: tokens to step through, and what each was
// chosen from.

import {colorOf, css, textOn} from "./color.js";
import {h, roving} from "./dom.js";
import {_} from "./language.js";
import {sortable} from "./tables.js";
import {label, tokenNode} from "./token.js";

/**
 * A line of tokens, shaded; those that can be picked are buttons, one stop of Tab.
 * @param {HTMLElement} el
 * @param {{tokens: import("./view.js").Token[], theme: string, values?: (number|undefined)[],
 *   current?: number|null, from?: number, pick?: (i: number) => void, canPick?: (i: number) =>
 *   boolean, titles?: string[],
 *   marks?: (string|undefined)[]}} line
 *   values from 0 to 1; by `canPick`, tokens before `from` cannot be picked; `marks` are classes
 */
export function drawTokens(el, {tokens, theme, values = [], current = null, from = 0, pick = null,
  canPick = (i) => i >= from, titles = [], marks = []}) {
  const had = el.contains(document.activeElement) ? document.activeElement.dataset.index : null;
  const stop = tokens.findIndex((none, i) => i === current && canPick(i)); // of Tab
  const first = stop < 0 ? tokens.findIndex((none, i) => canPick(i)) : stop;
  el.replaceChildren(...tokens.map((token, i) => {
    const isPicked = pick && canPick(i);
    const props = {class: ["work-token", marks[i]].filter(Boolean).join(" "), "data-index": i,
      ...(titles[i] ? {title: titles[i]} : {})};
    const node = isPicked ? h("button", {...props, type: "button", onclick: () => pick(i),
      tabindex: i === first ? "0" : "-1", "aria-pressed": `${i === current}`},
    tokenNode(token)) : h("span", props, tokenNode(token));
    if (values[i] > 0) {
      const bytes = colorOf(values[i], theme);
      node.style.background = css(bytes);
      node.style.color = textOn(bytes);
    }
    return node;
  }));
  if (pick) el.onkeydown = roving;
  if (had !== null) el.querySelector(`button[data-index="${had}"]`)?.focus();
}

/** The candidates of a step; with `pick`, each one can be taken instead. */
export function candidatesTable({candidates, token}, {caption, filters = [], pick = null}) {
  const names = {temperature: _("after temperature"), topK: _("after top-k"),
    topP: _("after top-p")};
  const rows = candidates.map(({id, token: raw, text, probability, logit, ...left}) => [
    {id, raw, text, special: false, unknown: false}, probability, logit,
    ...filters.map((name) => left[name])]);
  const columns = [[_("token")], [_("probability"), 4], [_("logit"), 2],
    ...filters.map((name) => [names[name], 4])];
  const table = sortable({caption, columns, rows, pick: pick && (([{id}]) => pick(id))});
  const at = candidates.findIndex(({id}) => id === token?.id);
  if (at >= 0) table.tBodies[0].rows[at].setAttribute("aria-current", "true");
  return table;
}

/** "river 0.42 · the 0.10 · …": the largest of a row. */
export function mostOf(tokens, row, n = 3) {
  const order = Array.from(row, (value, i) => [value, i]).sort(([a], [b]) => b - a).slice(0, n);
  return order.map(([value, i]) => `${label(tokens[i])} ${value.toFixed(2)}`).join(" · ");
}

/** One row of a (Tq, Tk) tensor, as an array. */
export const rowOf = ({data, shape: [, m]}, i) => Array.from(data.subarray(i * m, (i + 1) * m));

/** The rows of a (Tq, Tk) tensor, null where looking is not allowed. */
export const rowsOf = ({attn, mask}) => Array.from({length: attn.shape[0]}, (none, q) =>
  rowOf(attn, q).map((value, k) => (mask.data[q * attn.shape[1] + k] ? value : null)));

/** What is asked of /attention for a layer and a head, or the mean of all. */
export const placeOf = (layer, head) => ({layer,
  ...(head === "mean" ? {reduce: "mean_heads"} : {head: Number(head)})});

/**
 * The last of n in place of a larger number, as a part of the state, and what is said of it.
 * @param {string} name  of the number, in the state and in the address
 * @param {number} value  @param {number} n
 * @returns {Object}
 */
export function within(name, value, n) {
  const last = Math.max(0, n - 1);
  if (value <= last) return {};
  return {[name]: last,
    notice: _("{name} {value} does not exist: 0 to {last}; {last} is shown instead.",
      {name, value, last})};
}

/** Other content in an element whose table keeps its order, and whose button keeps the focus. */
export function replaceContent(el, ...content) {
  const buttons = () => [...el.querySelectorAll("button")];
  const at = buttons().indexOf(document.activeElement);
  const sorted = el.querySelector("th[aria-sort]");
  const [column, order] = sorted ? [sorted.cellIndex, sorted.getAttribute("aria-sort")] : [];
  el.replaceChildren(...content);
  const heading = sorted && el.querySelectorAll("thead th")[column];
  for (let i = 0; i < 2 && heading && heading.getAttribute("aria-sort") !== order; i++) {
    heading.querySelector("button").click();
  }
  if (at >= 0) buttons()[Math.min(at, buttons().length - 1)]?.focus();
}
