// The same numbers as text: the locked token's attention, else where each query looks most. Any
// column sorts.

import {h} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {sidesOf} from "../lib/reading.js";
import {headOf, valuesOf} from "../lib/tensor.js";
import {label} from "../lib/token.js";
import {sortable} from "../lib/tables.js";

export const id = "table";
export const title = _("Table");

const TOP = 3;

/** @type {import("../lib/view.js").Mount} */
export function mount(root) {
  const el = root.appendChild(h("div", {class: "table", tabindex: "0"}));
  let drawn = null;

  function update(frame) {
    const {record, query, side} = frame;
    const same = drawn?.record === record && drawn.query === query && drawn.side === side;
    if (same) return;
    drawn = frame;
    el.replaceChildren(query === null ? everyQuery(record) : oneToken(record, query, side));
  }

  return {update, destroy: () => el.remove()};
}

/** What the numbers are: attention, or the scores before the softmax. */
const quantityName = ({quantity}) => (quantity === "scores" ? _("score") : _("attention"));

/** Indices of the largest values first, of those that are there. */
function ranking(values) {
  const indices = Array.from(values, (value, i) => i).filter((i) => !Number.isNaN(values[i]));
  return indices.sort((a, b) => values[b] - values[a]);
}

function everyQuery(record) {
  const {qTokens, kTokens} = record;
  const head = headOf(record);
  const rows = qTokens.map((token, index) => {
    const values = valuesOf(head, {side: "query", index});
    const most = ranking(values).slice(0, TOP);
    return [token, index, ...most.flatMap((k) => [kTokens[k], values[k]])];
  });
  const n = Math.min(TOP, kTokens.length);
  const names = Array.from({length: n}, (none, i) =>
    [[_("key {n}", {n: i + 1})], [quantityName(record), 4]]);
  return sortable({caption: _("Where each query token looks most"),
    columns: [[_("query")], [_("position"), 0], ...names.flat()], rows});
}

function oneToken(record, index, side) {
  const [own, others] = sidesOf(record, side);
  const values = valuesOf(headOf(record), {side, index});
  const rows = ranking(values).map((i) => [others[i], i, values[i]]);
  const token = label(own[index]);
  return sortable({
    caption: side === "query" ? _("{token} looks at", {token})
      : _("{token} is looked at by", {token}),
    columns: [[side === "query" ? _("key") : _("query")], [_("position"), 0],
      [quantityName(record), 4]],
    rows,
    sorted: {column: 2, down: true}
  });
}
