// A table of numbers and bars as it stands on the page, to take along: as SVG and as CSV.

import {h, svg} from "./dom.js";
import {FONT, wrapped} from "./measure.js";
import {saveSheet} from "./numbers.js";
import {fileName, saveBlob, svgBlob} from "./save.js";
import {waysOut} from "./summary.js";

const EDGE = 24; // CSS pixels
const LEAST = 420; // of the width, for the title and where the numbers come from
const round = (x) => Math.round(x * 100) / 100;

/**
 * A table and the ways to take it along, in place of what an element holds.
 * @param {HTMLElement} el  @param {HTMLTableElement} table
 * @param {{sheet: () => import("./sheet.js").Sheet, words: import("./numbers.js").Words,
 *   part: string, links?: [string, string][]}} out  part: of the files' names
 */
export function showTable(el, table, {sheet, words, part, links = []}) {
  const own = {...words, file: [...words.file, part]};
  const save = () => {
    const name = fileName(own.file, "svg");
    saveBlob(svgBlob(tablePicture(table, own)), name);
    return Promise.resolve(name);
  };
  const ways = waysOut({links, actions: [["SVG", save], ["CSV", () => saveSheet(sheet(), own)]]});
  ways.setAttribute("role", "group");
  ways.setAttribute("aria-label", words.title);
  el.replaceChildren(table, h("div", {class: "beneath"}, ways));
}

/** The cells, their bars and their colours, each where it stands on the page. */
export function tablePicture(table, {title, provenance}) {
  const {width, height, left, top} = table.getBoundingClientRect();
  const colorOf = (name) => getComputedStyle(table).getPropertyValue(`--${name}`).trim();
  const room = Math.max(width, LEAST);
  const line = (content, i, size, fill) => svg("text", {x: EDGE, y: round(i), "font-size": size,
    fill}, content);
  const above = wrapped(title, room, 14, 600);
  const start = EDGE + above.length * 20;
  const below = wrapped(provenance, room, 10.5);
  const end = start + height + 22;
  const place = (element) => {
    const box = element.getBoundingClientRect();
    return {x: round(box.left - left + EDGE), y: round(box.top - top + start),
      width: round(box.width), height: round(box.height)};
  };
  const filled = (element) => svg("rect", {...place(element),
    fill: getComputedStyle(element).backgroundColor});
  const shaded = [...table.querySelectorAll("td[style*=background], .lab-bar")].map(filled);
  const zeros = [...table.querySelectorAll(".lab-zero")].map((zero) =>
    svg("rect", {...place(zero), width: 1, fill: colorOf("muted")}));
  const [wide, high] = [room + 2 * EDGE, end + below.length * 15 + 10].map(Math.ceil);
  return svg("svg", {xmlns: "http://www.w3.org/2000/svg", width: wide, height: high,
    viewBox: `0 0 ${wide} ${high}`, "font-family": FONT},
  svg("rect", {width: wide, height: high, fill: colorOf("paper")}),
  ...above.map((text, i) => line(text, EDGE + 20 * i, 14, colorOf("ink"))),
  ...shaded, ...zeros, ...textsIn(table).map((text) => textAt(text, {left, top, start})),
  ...below.map((text, i) => line(text, end + 15 * i, 10.5, colorOf("muted"))));
}

/** What is written, in as many pieces as the page has lines and styles. */
function textsIn(table) {
  const walker = document.createTreeWalker(table, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) {
    if (walker.currentNode.textContent.trim()) texts.push(walker.currentNode);
  }
  return texts;
}

function textAt(node, {left, top, start}) {
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = range.getBoundingClientRect();
  const {color, fontSize, fontWeight} = getComputedStyle(node.parentElement);
  return svg("text", {x: round(box.left - left + EDGE), textLength: round(box.width),
    y: round(box.top - top + start + box.height * 0.78), fill: color, "xml:space": "preserve",
    "font-size": Number.parseFloat(fontSize), "font-weight": fontWeight}, node.textContent);
}
