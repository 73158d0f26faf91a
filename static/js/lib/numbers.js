// A plot and what stands beneath it: its numbers as a table, once opened, and the ways to take
// them along.

import {h} from "./dom.js";
import {_} from "./language.js";
import {legendLine} from "./legend.js";
import {curves, heatmap, image, mapLegend} from "./plot.js";
import {dataBlob, fileName, saveBlob} from "./save.js";
import {csvBlob, csvName, sheetOfLines, sheetOfMap} from "./sheet.js";
import {waysOut} from "./summary.js";
import {sortable} from "./tables.js";
import {label} from "./token.js";

const MOST = 64; // rows and columns of a table that somebody may read

/**
 * @typedef {{columns: [name: string, digits?: number][], rows: (string|number)[][]}} Numbers  NaN
 * where there is none
 * @typedef {{title: string, provenance: string, file: string[], links?: [string, string][]}} Words
 *   what a plot is of, where its numbers come from, and its file's name
 */

const textOf = (name) => (typeof name === "object" ? label(name) : name);

/**
 * A heat map, a row for each query, whose labels are texts or tokens; `sheet` names its axes and
 * numbers in a CSV. @param {Words} words
 * @returns {Promise<void>} when it is drawn
 */
export function showMap(el, options, words) {
  const {z, axes = [_("query"), _("key")], sheet} = options;
  const [qLabels, kLabels] = [options.qLabels, options.kLabels].map((names) => names.map(textOf));
  const drawn = heatmap(el, {...options, qLabels, kLabels});
  const rows = () => z.map((row, q) => [qLabels[q], ...row.map((value) => value ?? NaN)]);
  const digits = z.flat().every((value) => value === null || Number.isInteger(value)) ? 0 : 4;
  const columns = [[axes.join(" \\ ")], ...kLabels.map((name) => [name, digits])];
  beneath(el, words, {columns, rows, sheet: () => sheetOfMap(options, sheet),
    legend: mapLegend(options)});
  return drawn;
}

/**
 * Lines over the same x, a row for each x; `sheet` is the name of x in a CSV. @param {Words} words
 */
export function showCurves(el, options, words) {
  const {lines, x, ticks, sheet} = options;
  const drawn = curves(el, options);
  const [longest] = [...lines].sort((a, b) => b.x.length - a.x.length);
  const rows = () => longest.x.map((value, i) =>
    [ticks?.[i] ?? value, ...lines.map(({y}) => y[i] ?? NaN)]);
  const digits = longest.x.every(Number.isInteger) ? 0 : 1;
  const columns = [ticks ? [x] : [x, digits], ...lines.map(({name}) => [name, 4])];
  beneath(el, words, {columns, rows, sheet: () => sheetOfLines(lines, sheet)});
  return drawn;
}

/** The line under a plot; it stays open or closed, and another drawing has other numbers. */
function beneath(el, words, {columns, rows, sheet, legend = null}) {
  const last = el.nextElementSibling;
  const wasOpen = last?.matches(".beneath") && last.querySelector("details").open;
  const table = h("div", {class: "scroll", tabindex: "0", role: "group",
    "aria-label": words.title});
  const numbers = () => ({columns, rows: rows()});
  const open = () => details.open && !table.firstChild
    && table.append(...tableOf(numbers(), words));
  const details = h("details", {ontoggle: open}, h("summary", {}, _("The numbers")), table);
  details.open = Boolean(wasOpen);
  open();
  const picture = (ending) => async () => {
    const name = fileName(words.file, ending);
    saveBlob(dataBlob(await image(el, {format: ending, legend, ...words})), name);
    return name;
  };
  const ways = waysOut({links: words.links ?? [],
    actions: [["SVG", picture("svg")], ["PNG", picture("png")],
      ["CSV", () => saveSheet(sheet(), words)]]});
  ways.setAttribute("role", "group");
  ways.setAttribute("aria-label", words.title);
  const line = h("div", {class: "beneath"}, ...(legend ? [legendLine(legend)] : []), details, ways);
  if (last?.matches(".beneath")) last.replaceWith(line);
  else el.after(line);
}

/** A table of as much as somebody may read; what is more is said. */
function tableOf({columns, rows}, {title}) {
  const part = rows.slice(0, MOST).map((row) => row.slice(0, MOST + 1));
  const table = sortable({caption: title, columns: columns.slice(0, MOST + 1), rows: part});
  const [n, m] = [rows.length, columns.length - 1];
  if (n <= MOST && m <= MOST) return [table];
  const values = {n: Math.min(n, MOST), all: n, m: Math.min(m, MOST), most: m};
  return [h("p", {class: "note"},
    _("The first {n} of {all} rows and {m} of {most} columns; the CSV has all.", values)), table];
}

/** Numbers as a CSV file; answers its name. */
export async function saveSheet(sheet, words) {
  const name = csvName(words);
  saveBlob(csvBlob(sheet), name);
  return name;
}
