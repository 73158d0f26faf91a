// Small formulas under the reader's hand: how alike two vectors are, and the softmax.

import {h} from "./dom.js";
import {centred, cosine, dot, pearson, softmax} from "./formulas.js";
import {_} from "./language.js";
import {mountPlane} from "./plane.js";
import {sortable} from "./tables.js";

/** @typedef {(patch: Object, isDone: boolean) => void} Change  isDone once the hand lets go */

const numbersOf = (text) => text.split(",").map(Number);
const DIMENSIONS = 4;

/** A row of sliders for a vector, which the state has as text under a key. */
function sliders(name, key, change) {
  const inputs = Array.from({length: DIMENSIONS}, (none, i) => h("input", {type: "range", min: -3,
    max: 3, step: 0.1, "aria-label": _("{name}, dimension {i}", {name, i}),
    oninput: () => move(false), onchange: () => move(true)}));
  const said = inputs.map(() => h("output"));
  const move = (isDone) =>
    change({[key]: inputs.map(({value}) => Number(value)).join()}, isDone);
  const el = h("div", {class: "sums-vector"}, h("b", {}, name),
    ...inputs.map((input, i) => h("span", {}, input, said[i])));
  const update = (state) => {
    for (const [i, value] of numbersOf(state[key]).entries()) {
      if (inputs[i].valueAsNumber !== value) inputs[i].value = value;
      said[i].textContent = value.toFixed(1);
    }
  };
  return {el, update};
}

/**
 * Two vectors, to be dragged or set by sliders, and their measures of likeness.
 * @param {HTMLElement} root  @param {HTMLElement} result  @param {Change} change
 * @returns {(state: {x: string, y: string}) => void}
 */
export function mountVectors(root, result, change) {
  const latest = {x: [], y: []};
  const both = ["x", "y"].map((name) => sliders(name, name, change));
  const plane = h("div");
  const draw = mountPlane(plane, ["x", "y"], (name, place, isDone) =>
    change({[name]: [...place, ...latest[name].slice(2)].join()}, isDone));
  root.replaceChildren(plane, h("div", {}, ...both.map(({el}) => el)));
  return (state) => {
    for (const {update} of both) update(state);
    Object.assign(latest, {x: numbersOf(state.x), y: numbersOf(state.y)});
    draw(latest);
    showSimilarity(result, latest);
  };
}

function showSimilarity(result, {x, y}) {
  const rows = [[_("dot product"), dot(x, y)],
    [_("dot product / √d"), dot(x, y) / Math.sqrt(x.length)],
    [_("cosine"), cosine(x, y)], [_("Pearson's r"), pearson(x, y)],
    [_("cosine of the centred vectors"), cosine(centred(x), centred(y))]];
  result.replaceChildren(sortable({caption: _("x and y of {d} dimensions", {d: x.length}),
    columns: [[_("measure")], [_("value"), 4]], rows}));
}

/**
 * Scores, a temperature, and the shares that they become.
 * @param {HTMLElement} root  @param {HTMLElement} result  @param {Change} change
 * @returns {(state: {scores: string, temperature: number}) => void}
 */
export function mountSoftmax(root, result, change) {
  const scores = sliders("s", "scores", change);
  const send = (isDone) => change({temperature: warm.valueAsNumber}, isDone);
  const warm = h("input", {type: "range", min: 0.1, max: 5, step: 0.1,
    "aria-label": _("temperature"), oninput: () => send(false), onchange: () => send(true)});
  root.replaceChildren(scores.el, h("label", {class: "choice"}, `${_("temperature")} `, warm));
  return (state) => {
    scores.update(state);
    warm.value = state.temperature;
    showShares(result, numbersOf(state.scores), state.temperature);
  };
}

function showShares(result, scores, temperature) {
  const shares = softmax(scores, temperature);
  const table = sortable({
    caption: _("softmax of s at temperature {t}", {t: temperature.toFixed(1)}),
    columns: [[_("key")], [_("score"), 1], [_("attention"), 4]],
    rows: scores.map((score, i) => [`${i}`, score, shares[i]])
  });
  table.classList.add("bars");
  for (const cell of table.querySelectorAll("tbody td:last-child")) {
    cell.classList.add("bar");
    cell.style.setProperty("--share", cell.textContent);
  }
  result.replaceChildren(table);
}
