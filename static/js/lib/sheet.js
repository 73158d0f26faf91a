// Numbers as a program reads them: CSV with a header, an observation a row. The header is of the
// same
// English names on every page and in every language; where the numbers come from is in the file's
// name.

import {fileName} from "./save.js";
import {wholeLabel} from "./token.js";

/**
 * @typedef {{columns: string[], rows: (string|number|import("./view.js").Token)[][]}} Sheet
 *   NaN where there is none; of a token the whole text, however long
 */

const isNumbered = (labels) => labels.every((label, i) => label === `${i}`);

/**
 * A heat map: a row for each cell with a number.
 * @param {{z: (number|null)[][], qLabels: Object[], kLabels: Object[]}} map  texts or tokens
 * @param {{axes?: [string, string], value: string}} names
 * @returns {Sheet}
 */
export function sheetOfMap({z, qLabels, kLabels}, {axes = ["query", "key"], value,
  areNames = false}) {
  const axis = (name, labels) => (isNumbered(labels)
    ? {columns: [name], cells: (i) => [i]}
    : {columns: [name, `${name}_token`], cells: (i) => [i, labels[i]]});
  const [down, across] = [axis(axes[0], qLabels), areNames
    ? {columns: [axes[1]], cells: (k) => [kLabels[k]]} : axis(axes[1], kLabels)];
  const rows = z.flatMap((row, q) => row.flatMap((number, k) =>
    (number === null ? [] : [[...down.cells(q), ...across.cells(k), number]])));
  return {columns: [...down.columns, ...across.columns, value], rows};
}

/**
 * Lines over the same x: a row for each x, a column for each line.
 * @param {{name: string, column?: string, x: number[], y: number[]}[]} lines  @param {string} x 
 * its name
 * @returns {Sheet}
 */
export function sheetOfLines(lines, x) {
  const [longest] = [...lines].sort((a, b) => b.x.length - a.x.length);
  const rows = longest.x.map((value, i) => [value, ...lines.map(({y}) => y[i] ?? NaN)]);
  return {columns: [x, ...lines.map(({name, column = name}) => column)], rows};
}

/** The numbers in full precision. @param {Sheet} sheet */
export function csvBlob({columns, rows}) {
  if (new Set(columns).size < columns.length) throw new Error(`columns of one name: ${columns}`);
  const lines = [columns, ...rows].map((row) => row.map(cell).join(","));
  return new Blob([[...lines, ""].join("\r\n")], {type: "text/csv"});
}

function cell(value) {
  if (typeof value === "number") return Number.isFinite(value) ? `${value}` : "";
  const text = typeof value === "object" ? wholeLabel(value) : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A name that says what the numbers are and where they come from. */
export const csvName = ({file, provenance}) => fileName([...file, provenance], "csv");
