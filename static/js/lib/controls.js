// What a person chooses with: the sentence, the model, the kind, the options, the tabs, the theme.

import {h, roving, submitOnEnter} from "./dom.js";
import {_} from "./language.js";
import {mountOpening} from "./opening.js";
import {takenBy} from "./picture.js";
import {KIND_NAMES, METRIC_NAMES} from "./reading.js";

const SPECIAL = [
  ["keep", _("shown")],
  ["hide", _("hidden")],
  ["renormalise", _("hidden, rows renormalised")]
];
const MERGE = [["none", _("in pieces")], ["words", _("whole")]];
const REDUCE = [
  ["none", _("one")],
  ["mean_heads", _("mean of all")],
  ["max_heads", _("largest of all")],
  ["rollout", _("rollout")]
];
const QUANTITY = [["attn", _("attention")], ["scores", _("scores before the softmax")]];
const SEGMENTS = [
  ["all", _("all")], ["aa", "A → A"], ["ab", "A → B"], ["ba", "B → A"], ["bb", "B → B"]
];
const ASKED = ["kind", "reduce", "quantity", "special", "merge"]; // of the server
const SCALE = [["linear", _("linear")], ["log", _("logarithmic")]];
const FIELDS = {text: "text", textPair: "text_pair", target: "target"};

const byId = (id) => document.getElementById(id);

/** "" in a field that may be left out is null. */
const fieldValue = (key, value) => (key === "text" || value !== "" ? value : null);

/**
 * The form as the server wrote it, alive.
 * @param {Object} page
 * @param {(patch: Object, how?: {typing?: boolean}) => void} emit
 */
export function mountForm(page, emit) {
  const form = document.querySelector("form.ask");
  const {model} = form.elements;
  const fields = Object.entries(FIELDS).map(([key, name]) => [key, form.elements[name]]);
  const read = ([key, el]) => [key, fieldValue(key, el.value)];
  const typed = () => Object.fromEntries(fields.map(read));
  const settle = () => emit({...typed(), model: model.value}, {typing: false});
  const open = mountOpening(form, (found) => {
    page.models.push(found);
    const option = [...model.options].find(({value}) => value === found.name)
      ?? model.appendChild(h("option", {value: found.name}));
    option.textContent = modelLabel(found);
    model.value = found.name;
    settle();
  });
  const isThere = (name) => page.models.some((found) => found.name === name);
  let shown = model.value;

  for (const [, field] of fields) {
    field.addEventListener("input", (event) => event.isComposing || emit(typed(), {typing: true}));
    field.addEventListener("compositionend", () => emit(typed(), {typing: true}));
    field.addEventListener("change", settle);
  }
  submitOnEnter(form);
  model.addEventListener("change", async () => {
    if (isThere(model.value)) return settle();
    const asked = model.value;
    if (!await open(asked) && model.value === asked) model.value = shown;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    settle();
  });
  form.querySelector(".examples").addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const {model: name, text, textPair} = page.examples[Number(link.dataset.example)];
    emit({model: name, text, textPair, target: null}, {typing: false});
  });

  return function update(wanted, decoded) {
    const takes = takenBy(page.models.find(({name}) => name === wanted.model));
    if (model.value !== wanted.model && (shown !== wanted.model || isThere(model.value))) {
      model.value = wanted.model;
    }
    shown = wanted.model;
    for (const [key, field] of fields) {
      const value = wanted[key] ?? "";
      if (field.value !== value) field.value = value;
    }
    for (const part of form.querySelectorAll("[data-takes]")) {
      part.hidden = !takes[part.dataset.takes];
      part.querySelector("input").disabled = part.hidden;
    }
    form.elements.target.placeholder = decoded
      ? _("{text} (decoded by the model)", {text: decoded}) : "";
  };
}

/** A model in the picker. */
const modelLabel = ({name, nLayer: L, nHead: H}) =>
  _("{name}, layers × heads: {L} × {H}", {name, L, H});

/** "Words whole": a label in muted ink, and its value, which a click opens. */
function choice(name, entries, onchange) {
  const select = h("select", {onchange: () => onchange(select.value)},
    ...entries.map(([value, text]) => h("option", {value}, text)));
  const el = h("label", {class: "choice"}, `${name} `, select);
  const set = (value) => {
    if (select.value !== `${value}`) select.value = value;
  };
  return {el, set, fill: (options) => refill(select, options)};
}

/** Other options in a select, if they are others. */
function refill(select, options) {
  const listed = Array.from(select.options, ({value, textContent}) => `${value}\t${textContent}`);
  if (options.map((option) => option.join("\t")).join("\n") === listed.join("\n")) return;
  select.replaceChildren(...options.map(([value, text]) => h("option", {value}, text)));
}

/** A number to type, and the same as a slider where it has an end. */
function quantity(name, {max, step, slides = true}, onchange) {
  const change = ({target: {valueAsNumber: value}}) => {
    if (value >= 0 && value <= max) onchange(value);
  };
  const limits = {min: 0, max, step};
  const field = h("input", {type: "number", ...limits, inputmode: "decimal", oninput: change});
  const slider = h("input", {type: "range", ...limits, oninput: change,
    "aria-label": _("{name}, slider", {name})});
  const el = h("span", {class: "choice"}, h("label", {}, `${name} `, field),
    ...(slides ? [slider] : []));
  const set = (value) => {
    for (const input of [field, slider]) {
      if (input.valueAsNumber !== value) input.value = value;
    }
  };
  return {el, set};
}

const range = (n) => Array.from({length: n}, (none, i) => [`${i}`, `${i}`]);

/** @param {(patch: Object, how?: Object) => void} emit */
export function mountOptions(page, emit) {
  const typed = (key) => (value) => emit({[key]: value}, {typing: true});
  const chosen = (key) => (value) => emit({[key]: value});
  const index = (key) => (value) => emit({[key]: Number(value)});
  const options = {
    layer: choice(_("Layer"), [], index("layer")),
    reduce: choice(_("Heads"), REDUCE, chosen("reduce")),
    head: choice(_("Head"), [], index("head")),
    quantity: choice(_("Numbers"), QUANTITY, chosen("quantity")),
    special: choice(_("Special tokens"), SPECIAL, chosen("special")),
    merge: choice(_("Words"), MERGE, chosen("merge")),
    threshold: quantity(_("Threshold"), {max: 1, step: 0.01}, typed("threshold")),
    top: quantity(_("Top of each row, 0 for all"), {max: 99, step: 1, slides: false}, typed("top")),
    segments: choice(_("Between"), SEGMENTS, chosen("segments")),
    low: quantity(_("Colours from"), {max: 1, step: 0.01}, typed("low")),
    high: quantity(_("to"), {max: 1, step: 0.01}, typed("high")),
    scale: choice(_("Scale"), SCALE, chosen("scale"))
  };
  const metrics = [["", _("layer and head")], ...Object.entries(METRIC_NAMES)];
  const grid = {
    kind: choice(_("Attention"), [], chosen("kind")),
    metric: choice(_("Sorted by"), metrics, (metric) => emit({metric, least: 0})),
    least: quantity(_("at least"), {max: 999, step: 0.05, slides: false}, typed("least"))
  };
  byId("options").replaceChildren(...Object.values(options).map(({el}) => el));
  byId("kind").replaceChildren(...Object.values(grid).map(({el}) => el));

  return function update(state) {
    const {view, reduce, record, metric} = state;
    const model = page.models.find(({name}) => name === state.model);
    const {kinds = [], lacks = []} = model ?? {};
    const [nLayer, nHead] = model?.shapes[state.kind] ?? [1, 1];
    options.layer.fill(range(nLayer));
    const beside = state.shown.length - 1;
    options.reduce.fill(beside ? [["none", _("{n} chosen", {n: beside + 1})], ...REDUCE.slice(1)] : REDUCE);
    options.head.fill(range(nHead).map(([value, name]) => (beside && value === `${state.head}`
      ? [value, _("{head} and {n} more", {head: name, n: beside})] : [value, name])));
    grid.kind.fill(kinds.map((name) => [name, KIND_NAMES[name]]));
    const pairs = state.kind !== "cross" && record.qTokens.some(({segment}) => segment === 1);
    const isScores = record.quantity === "scores";
    const own = view !== "anatomy";
    const there = {
      head: reduce === "none", reduce: own, special: own, merge: own,
      quantity: (view === "matrix" || view === "table") && !lacks.includes("scores"),
      threshold: view === "lines", top: view === "lines", segments: view === "lines" && pairs,
      low: view === "matrix" && !isScores, high: view === "matrix" && !isScores,
      scale: view === "matrix" && !isScores,
      kind: kinds.length > 1, least: metric !== ""
    };
    for (const [key, part] of Object.entries({...options, ...grid})) {
      part.el.hidden = !(there[key] ?? true) || ("offline" in page && ASKED.includes(key));
      part.set(state[key]);
    }
  };
}

/** The views of one head, as tabs. */
export function mountTabs(views, panel, page, emit) {
  const tabs = views.map(({id, title}) => h("button", {
    type: "button", role: "tab", id: `tab-${id}`, "aria-controls": panel.id,
    onclick: () => emit({view: id})
  }, title));
  const list = h("div", {role: "tablist", "aria-label": _("Views of the head"), class: "tabs",
    onkeydown(event) {
      roving(event);
      const {id} = document.activeElement;
      if (event.defaultPrevented) emit({view: id.replace("tab-", "")});
    }}, ...tabs);
  byId("tabs").replaceChildren(list);
  panel.setAttribute("role", "tabpanel");

  return function update({view, model}) {
    const lacks = page.models.find(({name}) => name === model)?.lacks ?? [];
    for (const [i, tab] of tabs.entries()) {
      tab.hidden = views[i].id === "anatomy" && lacks.includes("q");
      const selected = views[i].id === view;
      tab.setAttribute("aria-selected", selected);
      tab.tabIndex = selected ? 0 : -1;
    }
    panel.setAttribute("aria-labelledby", `tab-${view}`);
  };
}

/** One button: the other theme. */
export function mountTheme(emit) {
  const button = h("button", {type: "button", class: "plain-button"});
  button.addEventListener("click", () => emit({theme: button.dataset.theme}));
  byId("theme").replaceChildren(button);

  return function update(shown) {
    const other = shown === "dark" ? "light" : "dark";
    button.dataset.theme = other;
    button.textContent = other === "dark" ? _("Dark") : _("Light");
    button.setAttribute("aria-label", other === "dark" ? _("Dark theme") : _("Light theme"));
  };
}
