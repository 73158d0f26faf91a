// Explore's views as a notebook's widget: all heads first, and one head when it is asked for.

import {mountOptions, mountTabs} from "../lib/controls.js";
import {modelIn, pick} from "../lib/data.js";
import {byId, h} from "../lib/dom.js";
import {shownHeads} from "../lib/heads.js";
import {hostTheme, keepKeys, onHostTheme} from "../lib/host.js";
import {styles} from "../lib/inside.js";
import {connect, loadPlotly, plotlyStyles} from "../lib/kernel.js";
import {_, language} from "../lib/language.js";
import {camel} from "../lib/names.js";
import {fit, follow, partsOf} from "../lib/picture.js";
import {pictureOf, savePicture} from "../lib/saved.js";
import {say, showPicture, waysOut} from "../lib/summary.js";
import {frame} from "../lib/view.js";
import * as anatomy from "../views/anatomy.js";
import * as grid from "../views/grid.js";
import * as lines from "../views/lines.js";
import * as matrix from "../views/matrix.js";
import * as table from "../views/table.js";
import * as tokens from "../views/tokens.js";

const VIEWS = [lines, matrix, tokens, anatomy, table];
const SHARED = ["kind", "layer", "head", "query", "side", "view", "special", "merge"];
const OPTIONS = {quantity: "attn", reduce: "none", heads: "", queries: "", threshold: 0.05, top: 0,
  segments: "all", low: 0, high: 1, scale: "linear", metric: "", least: 0, several: false};
const INPUTS = ["model", "text", "textPair", "target", "sourceLang", "targetLang"];
const FRAME = [...SHARED, ...Object.keys(OPTIONS), "overview", "metrics", "record", "shown",
  "anatomy"];

/** Styles that are no element: a host may refuse those (style-src without unsafe-inline). */
function sheetOf(css) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  return sheet;
}

/** anywidget's: draw the figure in an element; answers a function that takes it away. */
export function render({model, el}) {
  const stop = new AbortController();
  const {signal} = stop;
  const data = camel(JSON.parse(model.get("_page")));
  const host = el.appendChild(h("div", {class: "attention-atlas", lang: language}));
  const root = host.attachShadow({mode: "open"});
  root.adoptedStyleSheets = [sheetOf(styles)];
  root.append(...skeleton(data));
  keepKeys(host);
  const figure = {model, host, root, data, styled: false, kernel: null, turn: 0, wanted: null,
    drawn: null, mounted: null, updates: null};
  const onSlow = () => say("notice", _("Waiting for the kernel: is it running, and free?"), root);
  figure.kernel = connect(model, {signal, onSlow});
  const emit = (patch) => want(figure, patch);
  figure.updates = {options: mountOptions(data, emit, root),
    tabs: mountTabs(VIEWS, byId("view", root), data, emit)};
  recall(figure);
  listen(figure, signal);
  want(figure, pick(model.get ? shared(model) : data, SHARED));
  return () => {
    stop.abort();
    figure.mounted?.view.destroy();
    figure.mounted?.grid.destroy();
    host.remove();
  };
}

const shared = (model) => Object.fromEntries(SHARED.map((key) => [key, model.get(key) ?? null]));

/** The fixed DOM: the same ids as the page's, in a tree of their own. */
function skeleton({model, text}) {
  const part = (id, tag = "div", props = {}) => h(tag, {id, ...props});
  const heads = h("section", {"aria-labelledby": "heads-title"},
    h("div", {class: "bar"}, h("h2", {id: "heads-title"}, _("All heads")), part("kind", "span"),
      part("legend", "span")), part("heads"));
  const one = h("section", {"aria-labelledby": "head-title"},
    h("div", {class: "head"}, part("head-title", "h2"), part("stats", "span", {class: "stats"})),
    h("div", {class: "tabs-bar"}, part("tabs")), part("options", "div", {class: "options"}),
    part("view", "div", {tabindex: "-1"}));
  return [h("div", {class: "widget", role: "group", "aria-label": `${model} · ${text}`},
    part("problem", "p", {class: "problem", role: "alert"}),
    part("notice", "p", {class: "notice", role: "status"}),
    part("predictions", "p", {class: "predictions"}),
    h("div", {class: "columns", id: "picture", "aria-busy": "true"}, heads, one),
    part("foot", "footer", {class: "foot"}))];
}

/** The answers that came with the figure. */
function recall({model, data, kernel}) {
  const parts = partsOf(fitted(data, pick(data, SHARED)), data.models);
  for (const [name, spec] of [["overview", parts.overview], ["metrics", parts.metrics],
    ["attention", parts.record]]) {
    const value = model.get(`_${name}`);
    if (value) kernel.remember(name, spec, value);
  }
}

function listen(figure, signal) {
  const {model} = figure;
  const fromPython = () => want(figure, shared(model));
  const names = SHARED.map((key) => `change:${key}`);
  const again = () => figure.drawn && draw(figure);
  for (const name of names) model.on(name, fromPython);
  model.on("change:theme", again);
  onHostTheme(() => themeOf(figure) !== figure.theme && again(), signal);
  signal.addEventListener("abort", () => {
    for (const name of names) model.off(name, fromPython);
    model.off("change:theme", again);
  });
}

function themeOf({model, host}) {
  const theme = model.get("theme") ?? "auto";
  return theme === "auto" ? hostTheme(host.parentElement) : theme;
}

// What is wanted, and the answer.

const fitted = (data, wanted) => fit({...pick(data, INPUTS), ...OPTIONS, ...wanted}, data.models,
  data);

/** What is chosen last counts: words, or a mean of heads, take the place of scores. */
function agreed(patch, {quantity}) {
  const clashes = ["merge", "reduce"].some((key) => ![undefined, "none"].includes(patch[key]))
    || patch.special === "renormalise";
  return quantity === "scores" && clashes ? {...patch, quantity: "attn"} : patch;
}

/** Ask for a change; the newest wins, and the picture stays until its answer is there. */
async function want(figure, patch) {
  const {data, root} = figure;
  const before = figure.wanted ?? {};
  const wanted = fitted(data, {...before, ...agreed(patch, before)});
  if (before.kind && SHARED.every((key) => Object.is(before[key], wanted[key]))
    && Object.keys(OPTIONS).every((key) => Object.is(before[key], wanted[key]))) return;
  figure.wanted = wanted;
  const turn = ++figure.turn;
  tell(figure);
  byId("picture", root).ariaBusy = true;
  try {
    const drawn = await answer(figure, wanted);
    if (turn !== figure.turn) return;
    figure.drawn = drawn;
    say("problem", "", root);
    await draw(figure);
  } catch (error) {
    if (turn !== figure.turn) return;
    say("problem", error.message, root);
  }
  const ignored = turn === 1 ? data.ignored.map(({message}) => `${message}.`).join(" ") : "";
  say("notice", ignored, root);
  byId("picture", root).ariaBusy = false;
}

/** Python's copy of what is chosen; where the figure is a file there is none. */
function tell({model, wanted}) {
  const changed = SHARED.filter((key) => !Object.is(model.get(key) ?? null, wanted[key]));
  if (!changed.length) return;
  try {
    for (const key of changed) model.set(key, wanted[key]);
    model.save_changes();
  } catch {
    // a static page has nobody to tell
  }
}

async function answer({kernel, data, drawn: before}, wanted) {
  const parts = partsOf(wanted, data.models);
  const [overview, metrics, ...records] = await Promise.all([
    kernel.ask("overview", parts.overview), kernel.ask("metrics", parts.metrics),
    ...[parts.record, ...parts.beside].map((spec) => kernel.ask("attention", spec))
  ]);
  const [record] = records;
  const axis = wanted.side === "query" ? "qTokens" : "kTokens";
  const query = follow(wanted.query, before?.record[axis], record[axis], true);
  const shown = shownHeads(wanted).slice(0, records.length)
    .map(([layer, head], i) => ({layer, head, record: records[i]}));
  const apart = wanted.view === "anatomy"
    ? await kernel.ask("anatomy", anatomySpec(wanted, record, parts)) : null;
  return {...wanted, query, run: data.run, overview, metrics, record, shown, anatomy: apart};
}

/** Of the locked query, or of the first token that is not a special one. */
function anatomySpec({layer, head, query, side}, {qTokens}, {metrics}) {
  const first = Math.max(0, qTokens.findIndex(({special}) => !special));
  return {...metrics, layer, head, query: side === "query" && query !== null ? query : first};
}

// Drawing.

async function draw(figure) {
  const {host, root, data, drawn, wanted, updates} = figure;
  const theme = themeOf(figure);
  figure.theme = theme;
  host.dataset.theme = theme;
  const emit = (patch) => want(figure, patch);
  updates.options({...wanted, record: drawn.record, shown: drawn.shown});
  updates.tabs(wanted);
  showPicture(drawn, theme, modelIn(data.models, drawn.model),
    waysOut({links: [], actions: actions(figure)}), root);
  if (figure.mounted?.id !== drawn.view) {
    figure.mounted?.view.destroy();
    const view = VIEWS.find(({id}) => id === drawn.view).mount(byId("view", root), emit);
    const heads = figure.mounted?.grid ?? grid.mount(byId("heads", root), emit);
    figure.mounted = {grid: heads, view, id: drawn.view};
  }
  const next = frameOf(drawn, theme);
  figure.mounted.grid.update(next);
  await (drawn.view === "matrix" ? plot(figure, next) : figure.mounted.view.update(next));
}

const frameOf = (drawn, theme) => frame({...pick(drawn, FRAME), theme});

/** The matrix is Plotly's, which comes from Python; without it, a picture that does not move. */
async function plot(figure, next) {
  const {kernel, root, mounted, drawn} = figure;
  try {
    await loadPlotly(kernel);
  } catch {
    mounted.view.destroy();
    const still = h("div", {class: "matrix"}, pictureOf(drawn, next, "matrix"));
    byId("view", root).append(still);
    figure.mounted = {...mounted, id: "", view: {destroy: () => still.remove()}};
    return;
  }
  if (figure.mounted !== mounted) return; // another view by now
  if (!figure.styled) root.adoptedStyleSheets.unshift(sheetOf(plotlyStyles()));
  figure.styled = true;
  await mounted.view.update(next);
}

function actions(figure) {
  const save = (ending, view) => () => {
    const {drawn, theme} = figure;
    return savePicture(drawn, frameOf(drawn, theme), view ?? drawn.view, ending);
  };
  return [["SVG", save("svg")], ["PNG", save("png")], [_("All heads as SVG"), save("svg", "grid")]];
}
