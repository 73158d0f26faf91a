// A picture to take along: the view as SVG, with a title, its axes and where its numbers come from.

import {HUES, absent, colorOf, css, paint, palette, shareOf, signedColor} from "./color.js";
import {h, svg} from "./dom.js";
import {_} from "./language.js";
import {legendOf, legendSvg} from "./legend.js";
import {FONT, widest, widthOf, wrapped} from "./measure.js";
import {METRIC_NAMES, metricText, placeName} from "./reading.js";
import {drawnLines, strongest} from "./reduce.js";
import {headOf, valuesOf} from "./tensor.js";
import {label} from "./token.js";
import {endName, endsSvg} from "./training.js";

const INK = {
  light: {paper: "#fcfcfa", ink: "#15181f", muted: "#5d626d", accent: "#4450c4", alert: "#9d2f17"},
  dark: {paper: "#0d1016", ink: "#e6e8ee", muted: "#9a9faa", accent: "#9aaaf4", alert: "#f0a58f"}
};
const EDGE = 24;
const LEAST = 420; // CSS pixels of a figure's width, for its title and its provenance
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
  const room = Math.max(width, LEAST);
  const sentence = words.sentence.length > LONGEST
    ? `${words.sentence.slice(0, LONGEST - 1)}…` : words.sentence;
  const title = paragraph(words.title, room, {"font-size": 16, "font-weight": 600}, 8);
  const above = paragraph(sentence, room, {"font-size": 13, fill: ink.muted}, title.end + 2);
  const top = above.end + 14;
  const below = paragraph(words.provenance, room, {"font-size": 10.5, fill: ink.muted},
    top + height + 10);
  const [wide, high] = [room + 2 * EDGE, below.end + 10].map(Math.ceil);
  return svg("svg", {
    xmlns: "http://www.w3.org/2000/svg", width: wide, height: high,
    viewBox: `0 0 ${wide} ${high}`, "font-family": FONT, "font-size": 13, fill: ink.ink
  },
  svg("title", {}, words.title),
  svg("rect", {width: wide, height: high, fill: ink.paper}),
  ...title.parts, ...above.parts,
  svg("g", {class: "drawing", transform: `translate(${EDGE} ${round(top)})`}, ...parts),
  ...below.parts);
}

/** Lines of text from `y` on, and where they end. */
function paragraph(content, width, props, y) {
  const size = props["font-size"];
  const lines = content ? wrapped(content, width, size, props["font-weight"]) : [];
  const step = size * 1.4;
  return {parts: lines.map((line, i) => text(EDGE, y + (i + 1) * step, line, props)),
    end: y + lines.length * step};
}

function text(x, y, content, props = {}) {
  return svg("text", {x: round(x), y: round(y), "xml:space": "preserve", ...props}, content);
}

const round = (x) => Math.round(x * 100) / 100;
const longest = (tokens, size = 13) => Math.max(22, widest(tokens.map(label), size));

const [ROW, GAP, NUMBER] = [22, 220, 44]; // of lines: a token's height, the curves, a number

/**
 * Two columns of tokens and the curves between them; only the locked token's, if one is, with its
 * numbers.
 */
function lines(frame, ink) {
  const {record: {qTokens, kTokens}, shown, query, side, theme} = frame;
  const chosen = chosenIn(frame);
  const [left, right] = [qTokens, kTokens].map((tokens) => longest(tokens) + 12 + NUMBER);
  const start = left;
  const end = Math.max(start + GAP, LEAST - right);
  const hues = shown.map((head, i) => (shown.length > 1 ? HUES[theme][i] : null));
  const names = headKeys(shown, hues, end + right);
  const y = (i) => names.height + 24 + i * ROW + ROW / 2;
  const heads = shown.map(({record}) => {
    const head = headOf(record);
    return {...head, drawn: drawnLines(head, record, frame)};
  });
  const plain = query === null ? ink.ink : ink.accent;
  const parts = [...names.parts,
    text(start - 8, names.height + 12, _("query"), {fill: ink.muted, "text-anchor": "end"}),
    text(end + 8, names.height + 12, _("key"), {fill: ink.muted})];
  for (const [i, {attn, drawn}] of heads.entries()) {
    parts.push(...curves(attn, drawn, frame, {start, end, y, color: hues[i] ?? plain}));
  }
  const isLocked = (axis, i) => side === axis && chosen.includes(i);
  const locked = (axis, i) => (isLocked(axis, i) ? {fill: ink.accent, "font-weight": 600}
    : {});
  for (const [i, token] of qTokens.entries()) {
    parts.push(text(start - 8, y(i) + 4, label(token),
      {"text-anchor": "end", ...locked("query", i)}));
  }
  for (const [i, token] of kTokens.entries()) {
    parts.push(text(end + 8, y(i) + 4, label(token), locked("key", i)));
  }
  if (query !== null) parts.push(...lineNumbers(heads, hues, frame,
    {x: side === "query" ? end + right : 0, y}, ink));
  parts.push(...lineEnds(frame.record, {start, end, right, y}, ink));
  const bottom = y(Math.max(qTokens.length, kTokens.length)) + 4;
  const key = widths(frame.threshold, plain, ink);
  parts.push(svg("g", {transform: `translate(0 ${bottom})`}, ...key));
  return {width: end + right, height: bottom + 20, parts};
}

/** In each column a dashed line where the model's training ended. */
function lineEnds({qTrained = null, kTrained = null, ...record}, {start, end, right, y}, ink) {
  const line = (n, from, to) => (n === null ? [] : [svg("line", {class: "trained-end",
    stroke: ink.alert, "stroke-width": 1.5, "stroke-dasharray": "4 3", x1: from, x2: to,
    y1: y(n) - ROW / 2, y2: y(n) - ROW / 2})]);
  const name = endName({qTrained, kTrained, ...record});
  return [...line(qTrained, 0, start), ...line(kTrained, end, end + right),
    ...(name ? [text(end + 8, y(kTrained ?? qTrained) - ROW / 2 - 3, name,
      {"font-size": 9, fill: ink.alert, x: end + right, "text-anchor": "end"})] : [])];
}

/** Which colour is which head, in as many lines as that takes. */
function headKeys(shown, hues, width) {
  if (shown.length < 2) return {parts: [], height: 0};
  const across = Math.max(1, Math.floor(width / 68));
  const parts = shown.flatMap(({layer, head}, i) => {
    const [x, y] = [(i % across) * 68, Math.floor(i / across) * 18];
    return [svg("rect", {x, y, width: 12, height: 12, fill: hues[i]}),
      text(x + 16, y + 11, placeName(layer, head), {"font-size": 12})];
  });
  return {parts, height: Math.ceil(shown.length / across) * 18 + 6};
}

/** Beside each token that the locked one's curves reach: the largest attention, and whose it is. */
/** The locked tokens. */
const chosenIn = ({query, queries = ""}) => (query === null ? []
  : [query, ...queries.split(",").filter(Boolean).map(Number)]);

function lineNumbers(heads, hues, frame, {x, y}, ink) {
  const {side, threshold} = frame;
  const [index, ...more] = chosenIn(frame);
  const found = strongest(heads, {side, index, more}, threshold);
  const atEnd = side === "query" ? {"text-anchor": "end"} : {};
  const mark = side === "query" ? x - NUMBER + 2 : x + NUMBER - 8;
  return found.flatMap((one, i) => (one ? [
    text(x, y(i) + 4, one.value.toFixed(3), {"font-size": 12, fill: ink.muted, ...atEnd}),
    ...(hues[one.head] ? [svg("rect", {x: mark, y: y(i) - 8, width: 3, height: 16,
      fill: hues[one.head]})] : [])
  ] : []));
}

const strokeOf = (value) => ({"stroke-width": round(0.75 + 5 * value),
  "stroke-opacity": round(0.15 + 0.7 * value)});

/** The scale: what the width of a line stands for, from the least that is drawn to all of a row. */
function widths(threshold, stroke, ink) {
  const [name, steps] = [_("attention"), [...new Set([threshold, 0.5, 1])]];
  const from = widthOf(name, 11) + 12;
  return [text(0, 14, name, {"font-size": 11, fill: ink.muted}), ...steps.flatMap((value, i) => {
    const x = round(from + i * 76);
    return [svg("line", {x1: x, y1: 10, x2: x + 32, y2: 10, stroke, ...strokeOf(value)}),
      text(x + 38, 14, `${value}`, {"font-size": 11, fill: ink.muted})];
  })];
}

function curves({data, shape: [, Tk]}, drawn, frame, {start, end, y, color}) {
  const {side, threshold} = frame;
  const bend = (end - start) * 0.45;
  const chosen = chosenIn(frame);
  const isShown = (q, k) => !chosen.length || chosen.includes(side === "query" ? q : k);
  const found = [];
  for (const [i, value] of data.entries()) {
    const [q, k] = [Math.floor(i / Tk), i % Tk];
    if (value < threshold || !drawn[i] || !isShown(q, k)) continue;
    const [from, to] = [round(y(q)), round(y(k))];
    const d = `M${start} ${from}C${start + bend} ${from} ${end - bend} ${to} ${end} ${to}`;
    found.push(svg("path", {d, fill: "none", stroke: color, ...strokeOf(value)}));
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
      last.push(`M${round(k * size)} ${round(q * size)}`
          + `h${round(size)}v${round(size)}h${round(-size)}z`);
      paths.set(color, last);
    }
  }
  return [...paths].map(([fill, d]) =>
    svg("path", {d: d.join(""), fill, "shape-rendering": "crispEdges", "data-theme": theme}));
}

/** One head: queries down, keys across, and the scale of its colours. */
function matrix({record, low, high, scale, theme, query, side}, ink) {
  const {qTokens, kTokens} = record;
  const {attn, mask} = headOf(record);
  const [n, m] = attn.shape;
  const size = Math.max(2, Math.min(36, Math.floor(720 / Math.max(n, m))));
  const left = longest(qTokens, 12) + 32;
  const bottom = n * size + longest(kTokens, 12);
  const values = attn.data.map((value, i) => (mask.data[i] ? value : NaN));
  const isScores = record.quantity === "scores";
  const range = isScores ? {...bounds(values), scale: "linear"} : {low, high, scale};
  const power = isScores || scale === "log" ? 1 : undefined;
  const shade = (value) => {
    if (Number.isNaN(value)) return css(absent(theme));
    const share = Math.min(1, Math.max(0, shareOf(value, range)));
    return css(colorOf(Math.round(share * SHADES) / SHADES, theme, power));
  };
  const parts = [
    svg("g", {transform: `translate(${left} 0)`}, ...cells(values, [n, m], size, {shade, theme}),
      ...endsSvg(record, {width: m * size, height: n * size}, ink.alert)),
    ...matrixLabels(record, {left, size, bottom}, ink)
  ];
  if (query !== null) {
    const box = side === "query" ? {x: left, y: query * size, width: m * size, height: size}
      : {x: left + query * size, y: 0, width: size, height: n * size};
    parts.push(svg("rect", {...box, fill: "none", stroke: ink.accent, "stroke-width": 1.5}));
  }
  const name = isScores ? _("score") : _("attention");
  const key = legendSvg(legendOf({range: {...range, power}, name,
    masked: values.some(Number.isNaN), dashed: endName(record)}, theme), ink);
  parts.push(svg("g", {transform: `translate(0 ${bottom + 40})`}, ...key.parts));
  return {width: Math.max(left + m * size, key.width), height: bottom + 56, parts};
}

/** Names of rows, columns and axes; thinned where they would run together. */
function matrixLabels({qTokens, kTokens}, {left, size, bottom}, ink) {
  const every = Math.ceil(14 / size);
  const labels = (tokens) => [...tokens.entries()].filter(([i]) => i % every === 0);
  const middle = (i) => i * size + size / 2;
  const [down, across] = [qTokens.length * size, kTokens.length * size];
  return [
    ...labels(qTokens).map(([i, token]) =>
      text(left - 6, middle(i) + 4, label(token), {"text-anchor": "end", "font-size": 12})),
    ...labels(kTokens).map(([i, token]) => text(0, 0, label(token), {"font-size": 12,
      "text-anchor": "end",
      transform: `translate(${left + middle(i) + 4} ${down + 8}) rotate(-90)`})),
    text(0, 0, _("query"), {fill: ink.muted, "text-anchor": "middle",
      transform: `translate(10 ${down / 2}) rotate(-90)`}),
    text(left + across / 2, bottom + 26, _("key"), {fill: ink.muted, "text-anchor": "middle"})
  ];
}

function bounds(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return {low, high};
}

/** The running text, wrapped; each token shaded by the locked one's attention. */
function tokens({record, query, side, theme}, ink) {
  const values = query === null ? null : valuesOf(headOf(record), {side, index: query});
  const shaded = side === "query" ? record.kTokens : record.qTokens;
  const parts = [];
  let [x, y, right] = [0, 0, 0];
  for (const [i, token] of shaded.entries()) {
    const width = widthOf(label(token)) + 8;
    if (x + width > 640) [x, y] = [0, y + 30];
    const value = values?.[i];
    const bytes = value > 0 ? colorOf(value, theme) : null;
    if (bytes) parts.push(svg("rect", {x: round(x), y, width: round(width), height: 24, rx: 3,
      fill: css(bytes)}));
    const isDark = bytes && bytes[0] * 0.3 + bytes[1] * 0.59 + bytes[2] * 0.11 < 140;
    const fill = bytes ? (isDark ? "#fff" : "#000") : Number.isNaN(value) ? ink.muted : ink.ink;
    const own = i === query && record.kind !== "cross" ? {"text-decoration": "underline"} : {};
    parts.push(text(x + 4, y + 17, label(token), {fill, ...own}));
    x += width + 2;
    right = Math.max(right, x);
  }
  return {width: right, height: y + 32, parts};
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
  const parts = columns.map(([name, x]) => text(x, 10, name,
    {fill: ink.muted, "text-anchor": "end"}));
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
  const key = legendSvg(legendOf({range: {low: -most, high: most, scale: "signed"},
    name: "q ∘ k", masked: false}, theme), ink);
  parts.push(svg("g", {transform: `translate(0 ${34 + n * ROW})`}, ...key.parts));
  return {width: Math.max(right + 200, key.width), height: 48 + n * ROW, parts};
}

const THUMB = 72; // CSS pixels of a head among all

/** All heads: the pictures are pixels, the rest is drawn. */
function grid({overview, metrics, metric, theme}, ink) {
  const {layers, heads, attn: {shape: [, , n, m]}, mask} = overview;
  const size = {width: THUMB, height: Math.round(THUMB * Math.min(1.5, Math.max(0.5, n / m)))};
  const [dx, dy] = [size.width + 6, size.height + 20];
  const small = {fill: ink.muted, "text-anchor": "middle"};
  const thumbnail = painter(overview, theme);
  const parts = heads.map((head, k) =>
    text(28 + k * dx + size.width / 2, 10, `${head}`, {...small, "font-size": 12}));
  for (const [l, layer] of layers.entries()) {
    const y = 18 + l * dy;
    parts.push(text(0, y + size.height / 2, `${layer}`, {fill: ink.muted, "font-size": 12}));
    for (const [k, head] of heads.entries()) {
      const x = 28 + k * dx;
      parts.push(svg("image", {x, y, ...size, preserveAspectRatio: "none",
        style: "image-rendering:pixelated", href: thumbnail(layer, head)}));
      parts.push(...endsSvg(overview, {x, y, ...size}, ink.alert));
      const value = metrics?.metrics[metric]?.[l][k];
      if (value === undefined) continue;
      parts.push(text(x + size.width / 2, y + size.height + 12, metricText(metric, value),
        {...small, "font-size": 10}));
    }
  }
  const width = Math.max(28 + heads.length * dx, LEAST);
  const notes = [_("Rows are layers, columns heads; inside a head, rows are queries, columns keys.")];
  if (METRIC_NAMES[metric]) notes.push(_("Below each head: {name}.", {name: METRIC_NAMES[metric]}));
  const bottom = 30 + layers.length * dy;
  const lines = wrapped(notes.join(" "), width, 11);
  parts.push(...lines.map((line, i) => text(0, bottom + 14 * i, line,
    {"font-size": 11, fill: ink.muted})));
  const key = legendSvg(legendOf({range: {low: 0, high: 1, scale: "linear"}, name: _("attention"),
    masked: mask.data.includes(0), dashed: endName(overview)}, theme), ink);
  parts.push(svg("g", {transform: `translate(0 ${bottom + 14 * lines.length})`}, ...key.parts));
  return {width, height: bottom + 14 * lines.length + 16, parts};
}

/** A head of the overview as a picture's data: address. */
function painter(overview, theme) {
  const {attn: {shape: [, , n, m]}} = overview;
  const canvas = h("canvas", {width: m, height: n});
  const context = canvas.getContext("2d");
  const image = context.createImageData(m, n);
  const shades = palette(theme);
  return (layer, head) => {
    paint(image, headOf(overview, layer, head), shades);
    context.putImageData(image, 0, 0);
    return canvas.toDataURL();
  };
}
