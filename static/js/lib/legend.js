// What the colours of a heat map stand for: the same scale on a page and in a file.

import {POWER, absent, colorOf, css, signedStops, stops} from "./color.js";
import {h, svg} from "./dom.js";
import {_} from "./language.js";
import {widthOf} from "./measure.js";

/**
 * @typedef {{low: number, high: number, scale: "linear"|"log"|"signed"|"flag", power?: number}}
 * Range
 *   signed goes from -high to high; a flag is there or not
 * @typedef {{name: string, colors: string[], least: string, most: string,
 *   swatches: [color: string, text: string][]}} Legend
 */

const number = (value) => `${Number(value.toPrecision(3))}`.replace("-", "−");

/**
 * @param {{range: Range, name: string, masked: boolean, missing?: string,
 *   dashed?: string|null}} map  what its numbers are; whether some are missing and why; what a
 *   dashed line stands for
 * @returns {Legend}
 */
export function legendOf({range, name, masked, missing: why = _("masked"), dashed = null}, theme) {
  const {low, high, scale, power = POWER} = range;
  const missing = [...(masked ? [[css(absent(theme)), why]] : []),
    ...(dashed ? [["transparent", `┅ ${dashed}`]] : [])];
  if (scale === "flag") {
    return {name: "", colors: [], least: "", most: "",
      swatches: [[css(colorOf(1, theme)), name], ...missing]};
  }
  const colors = scale === "signed" ? signedStops(theme)
    : stops(theme, scale === "log" ? 1 : power);
  const least = {signed: number(-high), log: low === 0 ? "≤ 0.0001"
    : number(low)}[scale] ?? number(low);
  const unit = scale === "log" ? `${name}, ${_("logarithmic")}` : name;
  return {name: unit, colors: colors.map(([, color]) => color), least, most: number(high),
    swatches: missing};
}

/** A legend on a page. @param {Legend} legend */
export function legendLine({name, colors, least, most, swatches}) {
  const bar = h("span", {class: "scale"});
  bar.style.background = `linear-gradient(90deg, ${colors.join(", ")})`;
  const scale = colors.length ? [h("span", {}, name), least, bar, most] : [];
  const marks = swatches.flatMap(([color, text]) => {
    const mark = h("span", {class: "scale swatch"});
    mark.style.background = color;
    return color === "transparent" ? [text] : [mark, text];
  });
  return h("p", {class: "legend"}, ...scale, ...marks);
}

const SIZE = 11; // of a legend's text in a figure
const BAR = 128;
const HIGH = 10;

/**
 * A legend's parts in a figure, from the left: rectangles and texts, `width` in all.
 * @param {Legend} legend
 * @returns {{boxes: {x: number, width: number, color: string}[], texts: {x: number, text:
 * string}[], width: number}}
 */
export function legendParts({name, colors, least, most, swatches}) {
  const [boxes, texts] = [[], []];
  let x = 0;
  const write = (text, gap) => {
    texts.push({x, text});
    x += widthOf(text, SIZE) + gap;
  };
  if (colors.length) {
    write(`${name}  ${least}`, 6);
    const step = BAR / colors.length;
    boxes.push(...colors.map((color, i) => ({x: x + i * step, width: step, color})));
    x += BAR + 6;
    write(most, 16);
  }
  for (const [color, text] of swatches) {
    boxes.push({x, width: 14, color});
    x += 18;
    write(text, 16);
  }
  return {boxes, texts, width: Math.max(0, x - 16)};
}

/** A legend in an SVG figure, at the origin. @param {Legend} legend */
export function legendSvg(legend, ink) {
  const {boxes, texts, width} = legendParts(legend);
  const round = (value) => Math.round(value * 100) / 100;
  return {width, parts: [
    ...boxes.map((box) => svg("rect", {x: round(box.x), y: 0, width: round(box.width), height: HIGH,
      fill: box.color})),
    ...texts.map(({x, text}) => svg("text", {x: round(x), y: 9, "font-size": SIZE, fill: ink.muted,
      "xml:space": "preserve"}, text))
  ]};
}

/**
 * The same as parts of a plot's layout: `left` and `below` are CSS pixels from the plot's lower
 * left corner.
 */
export function legendLayout(legend, {left, below, color}) {
  const {boxes, texts} = legendParts(legend);
  const place = {xref: "paper", yref: "paper", xsizemode: "pixel", ysizemode: "pixel", xanchor: 0,
    yanchor: 0};
  return {
    shapes: boxes.map(({x, width, color: fill}) =>
      ({...place, type: "rect", line: {width: 0}, fillcolor: fill,
      x0: left + x, x1: left + x + width, y0: -below, y1: -below - HIGH})),
    annotations: texts.map(({x, text}) => ({text: text.replaceAll("<", "&lt;"), showarrow: false,
      xref: "paper",
      yref: "paper", x: 0, y: 0, xanchor: "left", yanchor: "middle", xshift: left + x,
        yshift: -below - HIGH / 2,
      font: {size: SIZE, color}}))
  };
}
