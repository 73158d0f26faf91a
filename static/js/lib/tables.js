// Tables whose columns sort: a button in each heading, aria-sort on the sorted one.

import {h} from "./dom.js";
import {label, tokenNode} from "./token.js";

/**
 * @param {{caption: string, columns: [name: string, digits?: number][],
 *   rows: (string|number|{text: string})[][], sorted?: {column: number, down: boolean}|null,
 *   pick?: (row: Object[]) => void}} options  with `pick`, what heads a row is a button
 *   a cell is text, a token, or a number with its column's digits; the first heads its row
 */
export function sortable({caption, columns, rows, sorted = null, pick = null}) {
  const body = h("tbody");
  const headings = columns.map(([name], i) =>
    h("th", {scope: "col"}, h("button", {type: "button", onclick: () => sort(i)}, name)));
  let order = sorted;

  function sort(column) {
    const isNumber = typeof rows[0]?.[column] === "number";
    order = {column, down: order?.column === column ? !order.down : isNumber};
    const by = (a, b) => (order.down ? -1 : 1) * compare(a[column], b[column]);
    body.replaceChildren(...[...rows].sort(by).map(line));
    mark();
  }

  function mark() {
    for (const [i, heading] of headings.entries()) {
      if (i !== order?.column) heading.removeAttribute("aria-sort");
      else heading.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    }
  }

  const line = (row) => h("tr", {}, ...row.map((value, i) => (i === 0 && pick
    ? h("th", {scope: "row"}, h("button", {type: "button", onclick: () => pick(row)},
      contentOf(value)))
    : cell(value, columns[i][1], i === 0))));
  body.append(...rows.map(line));
  mark();
  return h("table", {class: "numbers sortable"}, h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...headings)), body);
}

const contentOf = (value) => (typeof value === "object" ? tokenNode(value) : value);
const textOf = (value) => (typeof value === "object" ? label(value) : value);

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const [before, after] = [a, b].map((value) => `${textOf(value ?? "")}`);
  return before.localeCompare(after, undefined, {numeric: true});
}

function cell(value, digits, isFirst) {
  const isNumber = typeof value === "number";
  const text = isNumber ? number(value, digits) : value;
  const content = contentOf(text);
  if (isFirst) return h("th", {scope: "row"}, content);
  return h("td", isNumber ? {class: "n"} : {}, content);
}

const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "");
