// A bundled model at steps of its training: a slider, and where its induction head forms.

import {modelIn} from "./data.js";
import {h} from "./dom.js";
import {_} from "./language.js";

const FORMED = 0.5; // of a head's induction score

/**
 * A slider through a model's training, for models that have snapshots.
 * @param {HTMLElement} el  @param {Object[]} models  @param {(name: string) => void} choose
 * @returns {(name: string) => void}
 */
export function mountSnapshots(el, models, choose) {
  let stops = [];
  const slider = h("input", {type: "range", min: 0, step: 1, oninput: tell,
    onchange: () => choose(stops[slider.valueAsNumber].name)});
  const value = h("output");
  const formed = h("span", {class: "note"});
  el.replaceChildren(h("label", {class: "choice"}, `${_("In training")} `, slider), value, formed);

  function tell() {
    value.textContent = stops[slider.valueAsNumber].text;
    slider.setAttribute("aria-valuetext", value.textContent);
  }

  return function update(name) {
    const {snapshots = []} = modelIn(models, name) ?? {};
    el.hidden = !snapshots.length;
    if (el.hidden) return;
    stops = stopsOf(snapshots);
    slider.max = stops.length - 1;
    slider.value = stops.findIndex((stop) => stop.name === name);
    formed.textContent = formation(snapshots);
    tell();
  };
}

const count = ({tokens}) => tokens.toLocaleString("en");

/** The snapshots, and the model itself, which is of another run. */
const stopsOf = (snapshots) => [
  ...snapshots.map((one) => ({name: one.name, text: _("after {n} tokens", {n: count(one)})})),
  {name: snapshots[0].name.split("@")[0], text: _("the model itself, of a longer run")}];

/** Between which two of them the head forms that finds what came before, in words. */
function formation(snapshots) {
  const i = snapshots.findIndex(({induction}) => induction >= FORMED);
  if (i < 1) return "";
  const [before, now] = [snapshots[i - 1], snapshots[i]];
  const values = {a: count(before), b: count(now),
    x: before.induction.toFixed(2), y: now.induction.toFixed(2)};
  return _("The induction head forms between {a} and {b} tokens: the highest score of a head goes from {x} to {y}.", values);
}
