// The strongest paths between two runs, as a small graph and a table: from a head to a later
// head's q, k or v, and to the prediction.

import {paths as pathsOf} from "./api.js";
import {css, signedColor} from "./color.js";
import {byId, h, svg} from "./dom.js";
import {effectText} from "./effects.js";
import {N_PATHS} from "./experiment.js";
import {_} from "./language.js";
import {saveSheet} from "./numbers.js";
import {KIND_NAMES, placeName} from "./reading.js";
import {fileName, saveBlob, svgBlob} from "./save.js";
import {waysOut} from "./summary.js";
import {sortable} from "./tables.js";

const THRESHOLD = 0.01; // the server's own
const N_DRAWN = 20; // paths of the picture; the table has all
const [COLUMN, ROW, WIDE, HIGH, EDGE] = [140, 40, 76, 26, 20]; // CSS pixels

let halt = new AbortController();
let asked = null; // the request that is on its way, or was last

const keyOfPaths = (spec) => JSON.stringify(spec);

/** Its controls; the address has what is measured. @param {(patch: Object) => void} want */
export function mountPaths(want) {
  const [n, into] = ["paths-n", "paths-into"].map((id) => byId(id));
  const ask = () => {
    asked = null;
    want({paths: n.value, into: into.value});
  };
  byId("find-paths").addEventListener("click", ask);
  byId("stop-paths").addEventListener("click", () => halt.abort());
  for (const control of [n, into]) control.addEventListener("change", ask);
}

/**
 * Ask for them, once; those that are measured are shown as they come.
 * @param {(measured: {key: string, answer: Object}) => void} show
 */
async function askPaths(spec, show) {
  const key = keyOfPaths(spec);
  if (asked === key) return;
  halt.abort();
  halt = new AbortController();
  const {signal} = halt;
  asked = key;
  const partial = {paths: [], threshold: spec.threshold ?? THRESHOLD};
  const onEvent = (name, {paths, n, ...counts}) => {
    if (name !== "measured" || asked !== key) return;
    partial.paths.push(...paths.filter(({effect}) => Math.abs(effect) >= partial.threshold));
    partial.paths.sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect));
    byId("paths-progress").textContent = _("{n} of {all} paths", {n: counts.nMeasured, all: n});
    show({key, answer: {...partial, paths: [...partial.paths], ...counts}});
  };
  byId("find-paths").disabled = true;
  byId("stop-paths").hidden = false;
  byId("paths-part").ariaBusy = true;
  try {
    show({key, answer: await pathsOf(spec, {signal, onEvent})});
  } catch (error) {
    if (!signal.aborted) throw error; // one that was stopped is not asked for again by itself
  } finally {
    if (halt.signal === signal) endOf();
  }
}

function endOf() {
  byId("find-paths").disabled = false;
  byId("stop-paths").hidden = true;
  byId("paths-progress").textContent = "";
  byId("paths-part").ariaBusy = null;
}

/**
 * Those of the runs on screen, which are asked for where the address has them; those of others
 * give way to the button that asks for them.
 */
export function showPaths({paths, into, pathsMeasured: found, busy}, spec,
  {theme, words, address, hasHead, patch}) {
  const isOwn = Boolean(spec) && found?.key === keyOfPaths(spec);
  byId("paths-n").value = paths || N_PATHS;
  byId("paths-n").disabled = Boolean(into);
  byId("paths-into").value = into;
  byId("paths-into").disabled = !hasHead;
  byId("paths-part").hidden = !spec;
  byId("find-paths").hidden = isOwn;
  byId("paths").hidden = !isOwn;
  if (isOwn) drawPaths(found.answer, {theme, words, address});
  if (!spec || !paths || busy) return;
  askPaths(spec, (measured) => patch({pathsMeasured: measured}))
    .catch(({message}) => patch({problem: message}));
}

const several = ({paths}) => new Set(paths.flatMap(({sender, receiver}) =>
  [sender.kind, receiver?.kind ?? sender.kind])).size > 1;

/** A head; where there are several kinds, with its kind. */
const named = (node, isNamed) => (node === null ? _("prediction")
  : `${placeName(node.layer, node.head)}${isNamed ? ` ${KIND_NAMES[node.kind]}` : ""}`);

function drawPaths(answer, {theme, words, address}) {
  const {paths, nPath, nMeasured, threshold} = answer;
  const isNamed = several(answer);
  const rows = paths.map(({sender, receiver, input, effect, estimate}) =>
    [named(sender, isNamed), named(receiver, isNamed), input ?? "", effect, estimate]);
  const said = _("{n} of {all} paths were measured, the strongest by one gradient; {shown} change the prediction by {threshold} of the difference or more. Blue restores the clean prediction, orange moves away from it.",
    {n: nMeasured, all: nPath, shown: paths.length, threshold: `${Math.round(100 * threshold)} %`});
  const picture = graphOf(paths.slice(0, N_DRAWN), isNamed, theme);
  const columns = [[_("from")], [_("to")], [_("input")], [_("share of the difference"), 4],
    [_("by the gradient"), 4]];
  const save = () => {
    const name = fileName([...words.file, "paths"], "svg");
    saveBlob(svgBlob(picture), name);
    return Promise.resolve(name);
  };
  const sheet = {columns: ["sender_kind", "sender_layer", "sender_head", "receiver_kind",
    "receiver_layer", "receiver_head", "input", "effect", "estimate"], rows: paths.map(rowOf)};
  byId("paths").replaceChildren(h("p", {class: "note"}, said),
    h("div", {class: "scroll", tabindex: "0", role: "group", "aria-label": words.title}, picture),
    h("details", {}, h("summary", {}, _("The numbers")),
      sortable({caption: words.title, columns, rows})),
    waysOut({links: [["json", address]], actions: [["SVG", save],
      ["CSV", () => saveSheet(sheet, {...words, file: [...words.file, "paths"]})]]}));
}

const placed = (node) => (node === null ? ["logits", NaN, NaN]
  : [node.kind, node.layer, node.head]);
const rowOf = ({sender, receiver, input, effect, estimate}) =>
  [...placed(sender), ...placed(receiver), input ?? "", effect, estimate];

const keyOf = (node) => (node === null ? "logits" : `${node.kind}.${node.layer}.${node.head}`);

/** Where in the order of the forward pass a head is. */
const stageOf = (node) => (node === null ? Infinity
  : (node.kind === "encoder" ? 0 : 1000) + 2 * node.layer + (node.kind === "cross" ? 1 : 0));

/** Columns in the order of the forward pass, a head below another; the prediction is the last. */
function placesOf(paths) {
  const nodes = new Map(paths.flatMap(({sender, receiver}) => [sender, receiver])
    .map((node) => [keyOf(node), node]));
  const stages = [...new Set([...nodes.values()].map(stageOf))].sort((a, b) => a - b);
  const places = new Map();
  for (const [column, stage] of stages.entries()) {
    const here = [...nodes.values()].filter((node) => stageOf(node) === stage)
      .sort((a, b) => (a?.head ?? 0) - (b?.head ?? 0));
    for (const [row, node] of here.entries()) places.set(keyOf(node), {node, column, row});
  }
  return places;
}

const ENTERS = {q: 0.1, k: 0.5, v: 0.9}; // where a path meets its head, as a share of the height

function graphOf(paths, isNamed, theme) {
  const style = getComputedStyle(byId("paths"));
  const [ink, paper, rule] = ["ink", "paper", "rule"].map((name) =>
    style.getPropertyValue(`--${name}`));
  const places = placesOf(paths);
  const all = [...places.values()];
  const [nColumn, nRow] = ["column", "row"].map((side) =>
    1 + Math.max(0, ...all.map((place) => place[side])));
  const [width, height] = [2 * EDGE + (nColumn - 1) * COLUMN + WIDE, 2 * EDGE + nRow * ROW];
  const most = Math.max(1e-9, ...paths.map(({effect}) => Math.abs(effect)));
  const at = ({column, row}) => [EDGE + column * COLUMN, EDGE + row * ROW];
  const lines = paths.map((path) => {
    const [[x0, y0], [x1, y1]] = [path.sender, path.receiver].map((node) =>
      at(places.get(keyOf(node))));
    const ends = [x0 + WIDE, y0 + HIGH / 2, x1, y1 + HIGH * (ENTERS[path.input] ?? 0.5)];
    const bend = (ends[2] - ends[0]) / 2;
    const [start, end] = [ends.slice(0, 2).join(" "), ends.slice(2).join(" ")];
    const d = `M${start} C${ends[0] + bend} ${ends[1]} ${ends[2] - bend} ${ends[3]} ${end}`;
    const text = _("{from} to {to}: {value}", {from: named(path.sender, isNamed),
      to: `${named(path.receiver, isNamed)}${path.input ? `.${path.input}` : ""}`,
      value: `${effectText(path.effect, "denoise")} (${path.effect.toFixed(4)})`});
    return svg("path", {d, fill: "none", stroke: css(signedColor(Math.sign(path.effect), theme)),
      "stroke-width": 1 + (7 * Math.abs(path.effect)) / most, opacity: 0.75, tabindex: 0,
      role: "img", "aria-label": text}, svg("title", {}, text));
  });
  const boxes = all.map((place) => {
    const [x, y] = at(place);
    return svg("g", {}, svg("rect", {x, y, width: WIDE, height: HIGH, rx: 4, fill: paper,
      stroke: rule}), svg("text", {x: x + WIDE / 2, y: y + HIGH / 2 + 4, fill: ink,
      "font-size": 12, "text-anchor": "middle", "font-family": style.fontFamily},
    place.node === null ? _("prediction") : placeName(place.node.layer, place.node.head)));
  });
  const letters = new Map(paths.filter(({input}) => input).map(({receiver, input}) => {
    const [x, y] = at(places.get(keyOf(receiver)));
    return [`${keyOf(receiver)}.${input}`, svg("text", {x: x + 4, y: y + HIGH * ENTERS[input] + 3,
      fill: ink, "font-size": 10, "font-family": style.fontFamily}, input)];
  }));
  return svg("svg", {width, height, viewBox: `0 0 ${width} ${height}`, class: "lab-paths"},
    ...lines, ...boxes, ...letters.values());
}
