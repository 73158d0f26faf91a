// The same numbers as text: the locked token's attention, sorted; else where each query looks most.

import {h} from "../dom.js";
import {at, column, headOf} from "../tensor.js";
import {label, tokenNode} from "../token.js";

export const id = "table";
export const title = "Table";

const TOP = 3;

/** @type {import("../view.js").Mount} */
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

/** Indices of the largest values first, of those that are allowed. */
function ranking(values, allowed) {
  const indices = Array.from(values, (_, i) => i).filter((i) => allowed[i]);
  return indices.sort((a, b) => values[b] - values[a]);
}

function everyQuery(record) {
  const {qTokens, kTokens} = record;
  const {attn, mask} = headOf(record);
  const body = qTokens.map((token, q) => {
    const {data} = at(attn, q);
    const most = ranking(data, at(mask, q).data).slice(0, TOP);
    return h("tr", {}, h("th", {scope: "row"}, tokenNode(token)),
      ...most.flatMap((k) => [h("td", {}, tokenNode(kTokens[k])), number(data[k])]));
  });
  const n = Math.min(TOP, kTokens.length);
  const names = Array.from({length: n}, (_, i) => [`key ${i + 1}`, "attention"]);
  return table("Where each query token looks most", ["query", ...names.flat()], body);
}

function oneToken(record, index, side) {
  const {qTokens, kTokens} = record;
  const {attn, mask} = headOf(record);
  const isQuery = side === "query";
  const [own, others] = isQuery ? [qTokens, kTokens] : [kTokens, qTokens];
  const [values, allowed] = [attn, mask].map((tensor) =>
    isQuery ? at(tensor, index).data : column(tensor, index));
  const body = ranking(values, allowed).map((i) => h("tr", {},
    h("th", {scope: "row"}, tokenNode(others[i])), h("td", {class: "n"}, i), number(values[i])));
  const caption = `${label(own[index])} ${isQuery ? "looks at" : "is looked at by"}`;
  return table(caption, [isQuery ? "key" : "query", "position", "attention"], body);
}

const number = (value) => h("td", {class: "n"}, value.toFixed(4));

function table(caption, names, body) {
  return h("table", {class: "numbers"}, h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...names.map((name) => h("th", {scope: "col"}, name)))),
    h("tbody", {}, ...body));
}
