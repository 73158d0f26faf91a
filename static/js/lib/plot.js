// The one module that knows Plotly, which is fetched only when a view first draws.

import {POWER, absent, css, shareOf, signedStops, stops} from "./color.js";
import {_} from "./language.js";
import {legendLayout, legendOf, legendParts} from "./legend.js";
import {fitted, widest, wrapped} from "./measure.js";

/** Plotly reads labels as markup, and drops "<s>": show them as they are. */
function escape(label) {
  return label.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

const WIDEST = 580; // a matrix larger than this is no easier to read, but on a screen of its own
const ABOVE = 416; // CSS pixels of the screen's height that the rest takes
const SMALLEST = 300;
const NARROWEST = 360; // CSS pixels of a picture that is saved, for its title
const STEP = 18; // between two labels
const LABELS = 13; // CSS pixels of their letters
const LONGEST = [110, 190]; // CSS pixels of a label: "<|endoftext|>" is whole on a phone too

/**
 * Ticks by position: tokens repeat, and as coordinates equal tokens would merge into one row.
 * The labels are aliases of the positions, so the hover label has them where the axis is thinned.
 */
function tokenAxis(title, labels, pixels, spike) {
  return {
    title: {text: title, standoff: 8, font: {size: 13}},
    tickmode: "linear",
    dtick: thinned(labels.length, pixels),
    ...spike,
    labelalias: Object.fromEntries(labels.map((label, i) => [i, escape(label)])),
    ticks: "outside",
    ticklen: 4,
    tickcolor: "transparent",
    showgrid: false,
    zeroline: false
  };
}

/** Every how many tokens a label has room. */
const thinned = (n, pixels) => Math.max(1, Math.ceil((n * STEP) / pixels));

/** Room for the labels, and a plot in the shape of the text, where that is sane. */
function frameFor(qLabels, kLabels, width) {
  const room = (labels) => 40 + Math.ceil(widest(labels, LABELS));
  // else the outer labels are cut
  const margin = {l: room(qLabels), r: 10, t: 12, b: room(kLabels), pad: 0};
  const high = Math.max(SMALLEST, globalThis.innerHeight - ABOVE - margin.b);
  const most = Math.max(WIDEST, high) - margin.l - margin.r;
  const ratio = Math.min(1.1, Math.max(0.4, qLabels.length / kLabels.length)) * 0.85;
  const plotWidth = Math.min(width - margin.l - margin.r, most, high / ratio);
  const plotHeight = Math.max(plotWidth * ratio, 120);
  return {margin, plotWidth, plotHeight, width: plotWidth + margin.l + margin.r,
    height: plotHeight + margin.t + margin.b};
}

/** A frame around row or column i. */
function outline({side, index}, Tq, Tk, color) {
  const [across, down] = [[-0.5, Tk - 0.5], [index - 0.5, index + 0.5]];
  const [x, y] = side === "query" ? [across, down] : [down, [-0.5, Tq - 0.5]];
  return {type: "rect", x0: x[0], x1: x[1], y0: y[0], y1: y[1], line: {color, width: 1.5}};
}

/** A frame around the cell in row q and column k. */
const framed = ([q, k], line) => ({type: "rect", x0: k - 0.5, x1: k + 0.5, y0: q - 0.5, y1: q + 0.5,
  line});

/** A dashed line between cells. */
function dashed([x0, y0, x1, y1], Tq, Tk, color) {
  const [x, y] = [(share) => share * Tk - 0.5, (share) => share * Tq - 0.5];
  return {type: "line", x0: x(x0), x1: x(x1), y0: y(y0), y1: y(y1),
    line: {color, width: 1.5, dash: "4px,3px"}};
}

const drawing = new WeakMap(); // an element -> its drawing under way

/**
 * One drawing of an element at a time, in the order asked for: the newest is the last. The first
 * ones wait for Plotly in this line too, as a browser resumes what awaits an import in any order.
 * The element is busy until the newest is drawn.
 * @param {HTMLElement} el  @param {() => [traces: Object[], layout: Object, config: Object]} plot
 */
function react(el, plot) {
  const draw = async () => {
    await import("plotly"); // a UMD file: it sets globalThis.Plotly
    if (el.isConnected) await globalThis.Plotly.react(el, ...plot());
  };
  const done = (drawing.get(el) ?? Promise.resolve()).then(draw, draw).finally(() => {
    if (drawing.get(el) === done) el.ariaBusy = null;
  });
  drawing.set(el, done);
  el.ariaBusy = true;
  return done;
}

/** What colours stand for: from low to high, linear or by the logarithm; the numbers stay. */
function colored(z, range, theme) {
  if (range.scale === "signed") {
    return {z, zmin: -range.high, zmax: range.high, colorscale: signedStops(theme)};
  }
  if (range.scale !== "log") { // a flag is 1
    return {z, zmin: range.low ?? 0, zmax: range.high ?? 1,
      colorscale: stops(theme, range.power ?? POWER)};
  }
  const share = (value) => (value === null ? null : shareOf(value, range));
  return {z: z.map((row) => row.map(share)), customdata: z, zmin: 0, zmax: 1,
    colorscale: stops(theme, 1)};
}

/**
 * A null in z is masked: nothing is drawn there.
 * @param {HTMLElement} el
 * @param {{z: (number|null)[][], name: string, axes?: [string, string], qLabels: string[],
 * kLabels: string[],
 *   ends?: number[][],   dashed lines, as shares of the plot: [x0, y0, x1, y1] each
 *   range: {low: number, high: number, scale: string, power?: number}, theme: string,
 *   locked: {side: string, index: number}|null,
 *   chosen?: [q: number, k: number]|null, marked?: [q: number, k: number][]}} options  framed cells
 */
export function heatmap(el, options) {
  const plot = () => {
    sized.set(el, {plot, width: el.clientWidth});
    return heatmapOf(el, options);
  };
  onResize.observe(el);
  return react(el, plot);
}

const sized = new WeakMap(); // an element -> its heat map, and the width that it was drawn for
const SLACK = 24; // CSS pixels: a scroll bar that comes or goes changes nothing

/** A heat map keeps its cells' shape, so it is drawn again for another width. */
const onResize = new ResizeObserver((entries) => {
  for (const {target} of entries) {
    const {plot, width} = sized.get(target) ?? {};
    const now = target.clientWidth;
    if (!plot || !now || !target.isConnected) continue;
    if (target.layout?.width > now || Math.abs(now - width) >= SLACK) react(target, plot);
  }
});

function heatmapOf(el, {z, name, qLabels, kLabels, axes, range, theme, locked, ends = [],
  chosen = null, marked = []}) {
  const style = getComputedStyle(el);
  const color = (token) => style.getPropertyValue(`--${token}`);
  const [ink, accent, panel] = [color("ink"), color("accent"), color("panel")];
  const most = Math.min(LONGEST[1], Math.max(LONGEST[0], 0.25 * el.clientWidth));
  const [queries, keys] = [qLabels, kLabels].map((all) =>
    all.map((text) => fitted(text, most, LABELS)));
  const {margin, plotWidth, plotHeight, width, height} = frameFor(queries, keys, el.clientWidth);
  const value = range.scale === "log" ? "customdata" : "z";
  const [query, key] = axes ?? [_("query"), _("key")];
  const trace = {
    type: "heatmap",
    ...colored(z, range, theme),
    showscale: false,
    hoverongaps: false,
    hovertemplate: `${query} <b>%{y}</b><br>${key} <b>%{x}</b><br>`
      + `${name} <b>%{${value}:.3f}</b><extra></extra>`
  };
  const spike = {showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid",
    spikecolor: color("muted")};
  const layout = {
    width,
    height,
    margin,
    uirevision: `${queries.length} × ${keys.length}`, // a zoom stays while the text does
    dragmode: dragMode(),
    paper_bgcolor: "transparent",
    plot_bgcolor: css(absent(theme)),
    font: {family: style.fontFamily, size: LABELS, color: ink},
    hoverlabel: {bgcolor: panel, bordercolor: accent, font: {family: style.fontFamily, color: ink}},
    xaxis: {...tokenAxis(key, keys, plotWidth, spike), tickangle: -90,
      range: [-0.5, keys.length - 0.5]},
    yaxis: {...tokenAxis(query, queries, plotHeight, spike), range: [queries.length - 0.5, -0.5]},
    shapes: [...(locked ? [outline(locked, qLabels.length, kLabels.length, accent)] : []),
      ...ends.map((line) => dashed(line, qLabels.length, kLabels.length, color("alert"))),
      ...(chosen ? [framed(chosen, {color: ink, width: 1.5, dash: "3px,2px"})] : []),
      ...marked.map((cell) => framed(cell, {color: ink, width: 2.5}))]
  };
  return [[trace], layout, {displayModeBar: false}];
}

/** A mouse zooms into a part; a finger scrolls the page. */
const dragMode = () => (matchMedia("(pointer: coarse)").matches ? false : "zoom");

/** After a zoom, as many labels as there is room for; after the first drawing. */
export function relabelOnZoom(el) {
  el.on("plotly_relayout", () => {
    const {xaxis, yaxis} = el._fullLayout;
    const step = ({range: [from, to], _length: pixels}) => thinned(Math.abs(to - from), pixels);
    const wanted = {"xaxis.dtick": step(xaxis), "yaxis.dtick": step(yaxis)};
    if (wanted["xaxis.dtick"] === xaxis.dtick && wanted["yaxis.dtick"] === yaxis.dtick) return;
    globalThis.Plotly.relayout(el, wanted);
  });
}

/** Show the label of one cell, as if the pointer were there. */
export function point(el, q, k) {
  globalThis.Plotly?.Fx.hover(el, [{curveNumber: 0, pointNumber: [q, k]}]);
}

/** Call back with (query, key) when a cell is clicked; after the first drawing. */
export function onPick(el, callback) {
  el.on("plotly_click", ({points: [{x, y}]}) => callback(y, x));
}

const EDGE = 1e-9; // a label a rounding error outside the axis is not drawn
const DASHES = ["dot", "dash", "dashdot", "longdash"];

/**
 * Lines over a number of tokens. The chosen one stands out; the rest are ink, told apart by hover.
 * @param {HTMLElement} el
 * @param {{lines: {name: string, x: number[], y: number[], chosen: boolean}[], x: string, y:
 * string,
 *   log?: boolean, logY?: boolean, zero?: boolean, dashes?: boolean, bars?: boolean,
 *   ticks?: string[]}} options
 *   with dashes each line has its name, in a line above; ticks are the names of x = 0, 1, …
 */
export const curves = (el, options) => react(el, () => curvesOf(el, options));

function curvesOf(el, options) {
  const style = getComputedStyle(el);
  const color = (name) => style.getPropertyValue(`--${name}`);
  const names = ["ink", "muted", "rule", "accent", "panel"];
  const colors = Object.fromEntries(names.map((name) => [name, color(name)]));
  const drawn = {log: false, logY: false, zero: true, middle: false, dashes: false, bars: false,
    ticks: null, ...options, colors, fontFamily: style.fontFamily};
  return [tracesOf(drawn), layoutOf(drawn), {displayModeBar: false, responsive: true}];
}

/** The lines, the chosen one last and so on top. */
function tracesOf({lines, x, y, dashes, bars, ticks, colors: {accent, muted}}) {
  const place = ticks ? "%{text}" : `%{x:,} ${x}`;
  return [...lines].sort((a, b) => a.chosen - b.chosen).map((line) => ({
    ...(bars ? {type: "bar", marker: {color: line.chosen ? accent : muted}}
      : {type: "scatter", mode: "lines"}),
    name: line.name,
    x: line.x,
    y: line.y,
    line: {color: line.chosen ? accent : muted, width: line.chosen ? 2.5 : 1.25,
      dash: dashes && !line.chosen ? DASHES[lines.indexOf(line) % DASHES.length] : "solid"},
    opacity: line.chosen || lines.length < 3 || dashes ? 1 : 0.5,
    text: ticks ?? [],
    hovertemplate: `${escape(line.name)}<br>${place}<br>%{y:.4~g} ${escape(y)}<extra></extra>`
  }));
}

function layoutOf({lines, x, y, log, logY, zero, middle, dashes, ticks, colors, fontFamily}) {
  const {ink, muted, rule, accent, panel} = colors;
  const all = lines.flatMap((line) => line.x);
  const isFew = !log && all.every(Number.isInteger) && Math.max(...all) < 12;
  const marks = ticks ? namedTicks(ticks) : (isFew ? {dtick: 1} : {});
  const axis = {
    showgrid: true, gridcolor: rule, zeroline: false, linecolor: rule, tickcolor: "transparent"
  };
  return {
    autosize: true,
    margin: {l: 60, r: 16, t: dashes ? 32 : 8, b: 44},
    dragmode: dragMode(),
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    showlegend: dashes,
    legend: {orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "reversed",
      itemclick: false, itemdoubleclick: false, bgcolor: "transparent", font: {color: ink}},
    hovermode: "closest",
    font: {family: fontFamily, size: 12, color: muted},
    hoverlabel: {bgcolor: panel, bordercolor: accent, font: {family: fontFamily, color: ink}},
    xaxis: {...axis, title: {text: x, standoff: 8}, ...marks,
      ...(log ? {type: "log", dtick: "D2"} : {})},
    yaxis: {...axis, zeroline: middle, zerolinecolor: muted, title: {text: escape(y), standoff: 8},
      ...(logY ? {type: "log", exponentformat: "e"} : {rangemode: zero ? "tozero" : "normal"})},
    annotations: dashes ? [] : namesOf({lines, log, accent, muted})
  };
}

/** The names of lines at their ends: of two, the higher one's above it, the lower one's below. */
function namesOf({lines, log, accent, muted}) {
  const last = (points) => points.at(-1);
  const named = lines.filter(({chosen}) => chosen || lines.length < 3);
  const highest = Math.max(...named.map(({y}) => last(y)));
  return named.map((line) => ({
    x: log ? Math.log10(last(line.x)) - EDGE : last(line.x), y: last(line.y),
    text: escape(line.name), showarrow: false, xanchor: "right",
    yanchor: last(line.y) === highest ? "bottom" : "top",
    font: {color: line.chosen ? accent : muted}
  }));
}

const MOST_TICKS = 13;

/** Of many names every second, third … is written. */
function namedTicks(ticks) {
  const step = Math.ceil(ticks.length / MOST_TICKS);
  const shown = ticks.map((none, i) => i).filter((i) => i % step === 0);
  return {tickvals: shown, ticktext: shown.map((i) => escape(ticks[i]))};
}

/** What the colours of a heat map stand for; `missing` says why cells have no number. */
export const mapLegend = ({z, range, name, theme, missing}) =>
  legendOf({range, name, missing, masked: z.some((row) => row.includes(null))}, theme);

const SIDE = 12; // CSS pixels beside a picture's words
const SMALL = 10.5;
const LEGEND = 28; // CSS pixels of a legend's height, with what is free around it

/**
 * What is drawn, as a file's data: address, with its title, its legend and where its numbers come
 * from.
 * @param {HTMLElement} el
 * @param {{format: "svg"|"png", title: string, provenance: string, legend?:
 * import("./legend.js").Legend}} options
 */
export async function image(el, {format, title, provenance, legend = null}) {
  await drawing.get(el);
  const {data, layout, clientWidth, clientHeight} = el;
  const style = getComputedStyle(el);
  const [ink, muted, paper] = ["ink", "muted", "paper"].map((name) =>
    style.getPropertyValue(`--${name}`));
  const {margin} = layout;
  const size = {width: layout.width ?? clientWidth, height: layout.height ?? clientHeight};
  const width = Math.max(size.width, NARROWEST, legend ? legendParts(legend).width + 2 * SIDE : 0);
  const lines = (text, letters) => wrapped(text, width - 2 * SIDE, letters, 600);
  const [above, below] = [lines(title, 16), lines(provenance, SMALL)];
  const [top, bottom] = [20 + above.length * 21, 20 + below.length * 15];
  const key = legend ? legendLayout(legend, {left: SIDE - margin.l, below: margin.b + 8,
    color: muted})
    : {shapes: [], annotations: []};
  const free = legend ? LEGEND : 0;
  const words = (texts, place) => ({text: texts.map(escape).join("<br>"), align: "left",
    showarrow: false,
    xref: "paper", yref: "paper", x: 0, xanchor: "left", xshift: SIDE - margin.l, ...place});
  const height = size.height + top + free + bottom;
  const figure = {data, layout: {...layout, width, height, autosize: false, paper_bgcolor: paper,
    margin: {...margin, r: margin.r + width - size.width, t: margin.t + top, b: margin.b + free
      + bottom},
    shapes: [...(layout.shapes ?? []), ...key.shapes],
    annotations: [...(layout.annotations ?? []), ...key.annotations,
      words(above, {y: 1, yanchor: "bottom", yshift: margin.t + 8, font: {size: 16, color: ink}}),
      words(below, {y: 0, yanchor: "top", yshift: -margin.b - free - 8,
        font: {size: SMALL, color: muted}})]}};
  return globalThis.Plotly.toImage(figure, {format, width, height, scale: format === "png" ? 2
    : 1});
}

export function purge(el) {
  onResize.unobserve(el);
  sized.delete(el);
  globalThis.Plotly?.purge(el);
}
