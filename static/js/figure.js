// A picture to take along: the view as SVG, with a title, its axes and where its numbers come from.

import {HUES, absent, colorOf, css, paint, palette, shareOf, signedColor} from "./color.js";
import {h, svg} from "./dom.js";
import {_} from "./language.js";
import {METRIC_NAMES, metricText, placeName} from "./reading.js";
import {drawnLines} from "./reduce.js";
import {headOf, valuesOf} from "./tensor.js";
import {label} from "./token.js";

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
const INK = {
  light: {paper: "#fcfcfa", ink: "#15181f", muted: "#5d626d", accent: "#4450c4"},
  dark: {paper: "#0d1016", ink: "#e6e8ee", muted: "#9a9faa", accent: "#9aaaf4"}
};
const EDGE = 24;
const TOP = 64; // title and sentence
const FOOT = 40; // provenance
const LETTER = 7.2; // CSS pixels of an average one
const LONGEST = 120; // characters of a sentence above a figure
const SHADES = 48; // colours of a matrix in a figure, each one path

/** @typedef {{title: string, sentence: string, provenance: string}} Words */

/**
 * The view of a frame as an SVG element.
 * @param {string} view  "lines", "matrix", "tokens", "anatomy", "table" or "grid"
 * @param {import("./view.js").Frame} frame  @param {Words} words
 */
export function figure(view, frame, words) {
  const draw = {lines, tokens, anatomy, grid}[view] ?? matrix;
  const ink = INK[frame.theme];
  const {width, height, parts} = draw(frame, ink);
  const sentence = words.sentence.length > LONGEST
    ? `${words.sentence.slice(0, LONGEST - 1)}…` : words.sentence;
  const wide = Math.max(width, LETTER * 0.82 * words.provenance.length, LETTER * sentence.length)
    + 2 * EDGE;
  const high = height + TOP + FOOT;
  return svg("svg", {
    xmlns: "http://www.w3.org/2000/svg", width: wide, height: high,
    viewBox: `0 0 ${wide} ${high}`, "font-family": FONT, "font-size": 13, fill: ink.ink
  },
  svg("title", {}, words.title),
  svg("rect", {width: wide, height: high, fill: ink.paper}),
  text(EDGE, 28, words.title, {"font-size": 16, "font-weight": 600}),
  text(EDGE, 48, sentence, {fill: ink.muted}),
  svg("g", {transform: `translate(${EDGE} ${TOP})`}, ...parts),
  text(EDGE, high - 14, words.provenance, {"font-size": 10.5, fill: ink.muted}));
}

function text(x, y, content, props = {}) {
  return svg("text", {x: round(x), y: round(y), "xml:space": "preserve", ...props}, content);
}

const round = (x) => Math.round(x * 100) / 100;
const longest = (tokens) => LETTER * Math.max(3, ...tokens.map((token) => label(token).length));

/** Two columns of tokens and the curves between them; only the locked token's, if one is. */
function lines({record, shown, query, side, threshold, top, segments, theme}, ink) {
  const {qTokens, kTokens} = record;
  const [ROW, GAP] = [22, 220];
  const start = longest(qTokens) + 12;
  const end = start + GAP;
  const keyHeight = shown.length > 1 ? 24 : 0;
  const y = (i) => keyHeight + 24 + i * ROW + ROW / 2;
  const parts = [text(start - 8, keyHeight + 12, _("query"), {fill: ink.muted, "text-anchor": "end"}),
    text(end + 8, keyHeight + 12, _("key"), {fill: ink.muted})];
  for (const [i, {layer, head, record: own}] of shown.entries()) {
    const color = shown.length > 1 ? HUES[theme][i] : query === null ? ink.ink : ink.accent;
    const found = headOf(own);
    const drawn = drawnLines(found, own, {top, segments});
    parts.push(...curves(found.attn, drawn, {query, side, threshold, start, end, y, color}));
    if (shown.length > 1) {
      parts.push(svg("rect", {x: i * 64, y: 0, width: 12, height: 12, fill: color}),
        text(i * 64 + 16, 11, placeName(layer, head), {"font-size": 12}));
    }
  }
  const locked = (own, i) => (side === own && query === i ? {fill: ink.accent, "font-weight": 600} : {});
  for (const [i, token] of qTokens.entries()) {
    parts.push(text(start - 8, y(i) + 4, label(token), {"text-anchor": "end", ...locked("query", i)}));
  }
  for (const [i, token] of kTokens.entries()) {
    parts.push(text(end + 8, y(i) + 4, label(token), locked("key", i)));
  }
  const width = Math.max(end + 8 + longest(kTokens), shown.length > 1 ? shown.length * 64 : 0);
  return {width, height: y(Math.max(qTokens.length, kTokens.length)), parts};
}

function curves({data, shape: [, Tk]}, drawn, {query, side, threshold, start, end, y, color}) {
  const bend = (end - start) * 0.45;
  const isShown = (q, k) => query === null || (side === "query" ? q : k) === query;
  const found = [];
  for (const [i, value] of data.entries()) {
    const [q, k] = [Math.floor(i / Tk), i % Tk];
    if (value < threshold || !drawn[i] || !isShown(q, k)) continue;
    const [from, to] = [round(y(q)), round(y(k))];
    const d = `M${start} ${from}C${start + bend} ${from} ${end - bend} ${to} ${end} ${to}`;
    found.push(svg("path", {d, fill: "none", stroke: color, "stroke-width": round(0.75 + 5 * value),
      "stroke-opacity": round(0.15 + 0.7 * value)}));
  }
  return found;
}

/** Cells of equal colour are one path, so that a large matrix stays a small file. */
function cells(values, [n, m], size, {shade, theme}) {
  const paths = new Map();
  for (let q = 0; q < n; q++) {
    for (let k = 0; k < m; k++) {
      const color = shade(values[q * m + k]);
      const last = paths.get(color) ?? [];
      last.push(`M${round(k * size)} ${round(q * size)}h${round(size)}v${round(size)}h${round(-size)}z`);
      paths.set(color, last);
    }
  }
  return [...paths].map(([fill, d]) =>
    svg("path", {d: d.join(""), fill, "shape-rendering": "crispEdges", "data-theme": theme}));
}

function matrix({record, low, high, scale, theme, query, side}, ink) {
  const {qTokens, kTokens} = record;
  const {attn, mask} = headOf(record);
  const [n, m] = attn.shape;
  const size = Math.max(2, Math.min(26, Math.floor(720 / Math.max(n, m))));
  const left = longest(qTokens) + 32;
  const values = attn.data.map((value, i) => (mask.data[i] ? value : NaN));
  const range = record.quantity === "scores" ? {...bounds(values), scale: "linear"} : {low, high, scale};
  const power = record.quantity === "scores" || scale === "log" ? 1 : undefined;
  const shade = (value) => {
    if (Number.isNaN(value)) return css(absent(theme));
    const share = Math.min(1, Math.max(0, shareOf(value, range)));
    return css(colorOf(Math.round(share * SHADES) / SHADES, theme, power));
  };
  const every = Math.ceil(14 / size); // labels are thinned where they would run together
  const labels = (tokens) => [...tokens.entries()].filter(([i]) => i % every === 0);
  const middle = (i) => i * size + size / 2;
  const parts = [
    svg("g", {transform: `translate(${left} 0)`}, ...cells(values, [n, m], size, {shade, theme})),
    ...labels(qTokens).map(([i, token]) =>
      text(left - 6, middle(i) + 4, label(token), {"text-anchor": "end", "font-size": 12})),
    ...labels(kTokens).map(([i, token]) => text(0, 0, label(token), {"font-size": 12,
      "text-anchor": "end", transform: `translate(${left + middle(i) + 4} ${n * size + 8}) rotate(-90)`})),
    text(0, 0, _("query"), {fill: ink.muted, "text-anchor": "middle",
      transform: `translate(10 ${(n * size) / 2}) rotate(-90)`}),
    text(left + (m * size) / 2, n * size + longest(kTokens) + 28, _("key"),
      {fill: ink.muted, "text-anchor": "middle"})
  ];
  if (query !== null) {
    const box = side === "query" ? {x: left, y: query * size, width: m * size, height: size}
      : {x: left + query * size, y: 0, width: size, height: n * size};
    parts.push(svg("rect", {...box, fill: "none", stroke: ink.accent, "stroke-width": 1.5}));
  }
  const key = legend(range, shade, ink);
  parts.push(svg("g", {transform: `translate(${left} ${n * size + longest(kTokens) + 44})`}, ...key));
  return {width: left + m * size, height: n * size + longest(kTokens) + 64, parts};
}

function bounds(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return {low, high};
}

/** The scale: what the colours stand for. */
function legend({low, high, scale}, shade, ink) {
  const value = (share) => (scale === "linear" ? low + share * (high - low)
    : Math.max(low, 1e-4) * (high / Math.max(low, 1e-4)) ** share);
  const steps = Array.from({length: 32}, (none, i) => svg("rect", {x: 44 + i * 4, y: 0, width: 4,
    height: 10, fill: shade(value((i + 0.5) / 32))}));
  return [text(38, 9, value(0).toPrecision(2), {"font-size": 11, fill: ink.muted, "text-anchor": "end"}),
    ...steps, text(178, 9, value(1).toPrecision(2), {"font-size": 11, fill: ink.muted})];
}

/** The running text, wrapped; each token shaded by the locked one's attention. */
function tokens({record, query, side, theme}, ink) {
  const values = query === null ? null : valuesOf(headOf(record), {side, index: query});
  const shaded = side === "query" ? record.kTokens : record.qTokens;
  const parts = [];
  let [x, y] = [0, 0];
  for (const [i, token] of shaded.entries()) {
    const width = LETTER * 1.05 * label(token).length + 8;
    if (x + width > 640) [x, y] = [0, y + 30];
    const value = values?.[i];
    const bytes = value > 0 ? colorOf(value, theme) : null;
    if (bytes) parts.push(svg("rect", {x: round(x), y, width: round(width), height: 24, rx: 3, fill: css(bytes)}));
    const isDark = bytes && bytes[0] * 0.3 + bytes[1] * 0.59 + bytes[2] * 0.11 < 140;
    const fill = bytes ? (isDark ? "#fff" : "#000") : Number.isNaN(value) ? ink.muted : ink.ink;
    const own = i === query && record.kind !== "cross" ? {"text-decoration": "underline"} : {};
    parts.push(text(x + 4, y + 17, label(token), {fill, ...own}));
    x += width + 2;
  }
  return {width: 640, height: y + 32, parts};
}

/** A row for each key: the products, dimension by dimension, and the numbers they come to. */
function anatomy({anatomy: found, theme}, ink) {
  if (!found) return {width: 0, height: 0, parts: []};
  const {kTokens, qTokens, query, products, dots, scores, attn, mask} = found;
  const [n, d] = products.shape;
  const [ROW, left] = [20, longest(kTokens) + 12];
  const cell = Math.max(1, Math.floor(320 / d));
  const most = products.data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-9);
  const shade = (value) => css(signedColor(Math.round((value / most) * SHADES) / SHADES, theme));
  const right = left + cell * d;
  const columns = [[_("key"), left - 8], ["q·k", right + 56], [_("score"), right + 120],
    [_("softmax"), right + 190]];
  const parts = columns.map(([name, x]) => text(x, 10, name, {fill: ink.muted, "text-anchor": "end"}));
  parts.push(text(left, 10, `q ∘ k, q = ${label(qTokens[query])}`, {fill: ink.muted}));
  const strips = cells(products.data, [n, d], 1, {shade, theme});
  parts.push(svg("g", {transform: `translate(${left} 20) scale(${cell} ${ROW})`}, ...strips));
  for (const [k, token] of kTokens.entries()) {
    const numbers = mask.data[k]
      ? [dots.data[k].toFixed(2), scores.data[k].toFixed(2), attn.data[k].toFixed(3)]
      : [dots.data[k].toFixed(2), "−∞", "–"];
    const row = [label(token), ...numbers];
    parts.push(...row.map((content, i) =>
      text(columns[i][1], 34 + k * ROW, content, {"text-anchor": "end", "font-size": 12})));
  }
  return {width: right + 200, height: 28 + n * ROW, parts};
}

/** All heads: the pictures are pixels, the rest is drawn. */
function grid({overview, metrics, metric, theme}, ink) {
  const {layers, heads, attn: {shape: [, , n, m]}} = overview;
  const side = 72;
  const [width, height] = [side, Math.round(side * Math.min(1.5, Math.max(0.5, n / m)))];
  const shades = palette(theme);
  const canvas = h("canvas", {width: m, height: n});
  const context = canvas.getContext("2d");
  const image = context.createImageData(m, n);
  const parts = [];
  for (const head of heads) {
    parts.push(text(28 + head * (width + 6) + width / 2, 10, `${head}`,
      {fill: ink.muted, "text-anchor": "middle", "font-size": 12}));
  }
  for (const layer of layers) {
    const y = 18 + layer * (height + 20);
    parts.push(text(0, y + height / 2, `${layer}`, {fill: ink.muted, "font-size": 12}));
    for (const head of heads) {
      paint(image, headOf(overview, layer, head), shades);
      context.putImageData(image, 0, 0);
      const x = 28 + head * (width + 6);
      parts.push(svg("image", {x, y, width, height, preserveAspectRatio: "none",
        style: "image-rendering:pixelated", href: canvas.toDataURL()}));
      const value = metrics?.metrics[metric]?.[layer][head];
      if (value !== undefined) {
        parts.push(text(x + width / 2, y + height + 12, metricText(metric, value),
          {"font-size": 10, fill: ink.muted, "text-anchor": "middle"}));
      }
    }
  }
  const name = METRIC_NAMES[metric] ? `; ${METRIC_NAMES[metric]}` : "";
  parts.push(text(28, 24 + layers.length * (height + 20),
    `${_("Rows are layers, columns heads; inside a head, rows are queries, columns keys.")}${name}`,
    {"font-size": 11, fill: ink.muted}));
  return {width: 28 + heads.length * (width + 6), height: 36 + layers.length * (height + 20), parts};
}
