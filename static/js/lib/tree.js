// The hypotheses of a beam as they grow: a column a step, the winner's path set off.

import {svg} from "./dom.js";
import {_} from "./language.js";
import {label} from "./token.js";

const STEP_WIDTH = 104;
const LANE = 26;

/**
 * @param {{tree: Object[], hypotheses: Object[]}} translation
 * @param {(text: string) => void} tell  what is under the pointer or the focus, at first the best
 * @returns {SVGElement}
 */
export function beamTree({tree, hypotheses}, tell) {
  const byNode = new Map(tree.map((node) => [node.id, node]));
  const pathOf = (node) => (node ? [...pathOf(byNode.get(node.parent)), node] : []);
  const best = hypotheses[0].logProbability;
  const leaf = tree.reduce((a, b) => (Math.abs(b.total - best) < Math.abs(a.total - best) ? b : a));
  const winners = new Set(pathOf(leaf).map(({id}) => id));
  const complete = _("complete");
  const textOf = (node) => _("{text}: this token {log}, so far {total} {ended}", {
    text: pathOf(node).map(({token}) => label(token)).join(" "),
    log: node.logProbability.toFixed(2), total: node.total.toFixed(2),
    ended: node.ended ? complete : ""});
  const {places, width, height} = placesOf(tree);
  const nodes = tree.flatMap((node) => {
    const kind = [winners.has(node.id) && "best", node.ended && "ended"].filter(Boolean).join(" ");
    return nodeOf(node, {places, kind, text: textOf(node), tell});
  });
  tell(textOf(leaf));
  return svg("svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "group",
    "aria-label": _("Hypotheses growing from left to right; the best is set off")}, ...nodes);
}

/** Where each node of a tree is: a column a step, one below another in it. */
function placesOf(tree) {
  const lanes = new Map();
  const places = new Map(tree.map(({id, step}) => {
    const lane = lanes.get(step) ?? 0;
    lanes.set(step, lane + 1);
    return [id, {x: 4 + step * STEP_WIDTH, y: 8 + lane * LANE}];
  }));
  return {places, width: 12 + (Math.max(...lanes.keys()) + 1) * STEP_WIDTH,
    height: 16 + Math.max(...lanes.values()) * LANE};
}

/** A token of the tree, and the edge that leads to it. */
function nodeOf({id, parent, token}, {places, kind, text, tell}) {
  const {x, y} = places.get(id);
  const from = places.get(parent);
  const edge = from ? [svg("path", {class: `work-edge ${kind}`, d: `M${from.x + 72} ${from.y + 8}`
    + `C${x - 8} ${from.y + 8} ${x - 32} ${y + 8} ${x - 4} ${y + 8}`})] : [];
  const el = svg("text", {class: `work-node ${kind}`, x, y: y + 12, tabindex: 0, role: "img",
    "aria-label": text}, label(token));
  for (const event of ["focus", "pointerenter"]) el.addEventListener(event, () => tell(text));
  return [...edge, el];
}
