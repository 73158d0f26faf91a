// What a person chooses with beside the form: the kind, the options, the tabs.

import {modelIn} from "./data.js";
import {byId, fillSelect, h, roving} from "./dom.js";
import {_} from "./language.js";
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

/** A label and its choices. */
function choice(name, entries, onchange) {
  const select = h("select", {}, ...entries.map(([value, text]) => h("option", {value}, text)));
  return chosenIn(h("label", {class: "choice"}, `${name} `, select), onchange);
}

/** The same as a row of buttons, for a few short choices that exclude each other. */
function segments(group, name, entries, onchange) {
  const radios = entries.map(([value]) => h("input", {type: "radio", name: group, value,
    onchange: () => onchange(value)}));
  const texts = entries.map(([, text]) => h("span", {}, text));
  const row = h("span", {class: "segments", role: "radiogroup", "aria-label": name},
    ...radios.map((radio, i) => h("label", {}, radio, texts[i])));
  const set = (chosen) => {
    for (const radio of radios) radio.checked = radio.value === `${chosen}`;
  };
  const fill = (options) => {
    for (const [i, [, text]] of options.entries()) texts[i].textContent = text;
  };
  return {el: h("span", {class: "choice"}, h("span", {}, name), row), set, fill};
}

/** The same in the context bar, where the page has one; else made here. */
function barChoice(key, name, onchange, root) {
  const select = root.querySelector(`.context select[name=${key}]`);
  return select ? chosenIn(select.closest("label"), onchange) : choice(name, [], onchange);
}

function chosenIn(el, onchange) {
  const select = el.querySelector("select");
  select.addEventListener("change", () => onchange(select.value));
  const set = (value) => {
    if (select.value !== `${value}`) select.value = value;
  };
  return {el, set, fill: (options) => fillSelect(select, options)};
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
  let current = null;
  const set = (value) => {
    current = value;
    for (const input of [field, slider]) {
      if (input.valueAsNumber !== value) input.value = value;
    }
  };
  field.addEventListener("change", () => set(current)); // what cannot be taken gives way
  return {el, set};
}

const range = (n) => Array.from({length: n}, (none, i) => [`${i}`, `${i}`]);

/**
 * @param {(patch: Object, how?: Object) => void} emit
 * @param {Document|ShadowRoot} root  where the options are
 */
export function mountOptions(page, emit, root = document) {
  const parts = optionsOf(emit, root);
  const all = {...parts.options, ...parts.grid};
  const inBar = ({el}) => el.closest(".context");
  root.querySelector(".context-head .context-badge")?.before(parts.options.reduce.el);
  byId("options", root).replaceChildren(...Object.values(parts.options)
    .filter((part) => !inBar(part)).map(({el}) => el));
  byId("kind", root).replaceChildren(...Object.values(parts.grid).map(({el}) => el));

  return function update(state) {
    const model = modelIn(page.models, state.model);
    fillOptions(all, state, model);
    const applies = applying(state, model);
    for (const [key, part] of Object.entries(all)) {
      part.el.hidden = !(applies[key] ?? true) || ("offline" in page && ASKED.includes(key));
      part.set(state[key]);
    }
  };
}

/** Every option of the picture, and of the grid. */
function optionsOf(emit, root) {
  const typed = (key) => (value) => emit({[key]: value}, {typing: true});
  const chosen = (key) => (value) => emit({[key]: value});
  const index = (key) => (value) => emit({[key]: Number(value)});
  const options = {
    layer: barChoice("layer", _("Layer"), index("layer"), root),
    reduce: segments("several", _("Several heads"), REDUCE, chosen("reduce")),
    head: barChoice("head", _("Head"), index("head"), root),
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
  return {options, grid};
}

/** The layers, heads and kinds that a model has; the chosen head says how many are beside it. */
function fillOptions({layer, head, reduce, kind}, state, model) {
  const [nLayer, nHead] = model?.shapes[state.kind] ?? [1, 1];
  const n = state.shown.length - 1;
  const chosen = [["none", _("{n} chosen", {n: n + 1})], ...REDUCE.slice(1)];
  layer.fill(range(nLayer));
  reduce.fill(n ? chosen : REDUCE);
  head.fill(range(nHead).map(([value, name]) => (n && value === `${state.head}`
    ? [value, _("{head} and {n} more", {head: name, n})] : [value, name])));
  kind.fill((model?.kinds ?? []).map((name) => [name, KIND_NAMES[name]]));
}

/** Which options change what is drawn; those left out always do. */
function applying({view, reduce, record, metric, kind}, model) {
  const {kinds = [], lacks = []} = model ?? {};
  const pairs = kind !== "cross" && record.qTokens.some(({segment}) => segment === 1);
  const isColoured = view === "matrix" && record.quantity !== "scores";
  const isTokens = view !== "anatomy"; // which shows a head's own tokens
  return {
    head: reduce === "none", reduce: isTokens, special: isTokens, merge: isTokens,
    quantity: (view === "matrix" || view === "table") && !lacks.includes("scores"),
    threshold: view === "lines", top: view === "lines", segments: view === "lines" && pairs,
    low: isColoured, high: isColoured, scale: isColoured,
    kind: kinds.length > 1, least: metric !== ""
  };
}

/** The views of one head, as tabs. */
export function mountTabs(views, panel, page, emit) {
  const root = panel.getRootNode();
  const tabs = views.map(({id, title}) => h("button", {
    type: "button", role: "tab", id: `tab-${id}`, "aria-controls": panel.id,
    onclick: () => emit({view: id})
  }, title));
  const list = h("div", {role: "tablist", "aria-label": _("Views of the head"), class: "tabs",
    onkeydown(event) {
      roving(event);
      const {id} = root.activeElement;
      if (event.defaultPrevented) emit({view: id.replace("tab-", "")});
    }}, ...tabs);
  byId("tabs", root).replaceChildren(list);
  panel.setAttribute("role", "tabpanel");

  return function update({view, model}) {
    const lacks = modelIn(page.models, model)?.lacks ?? [];
    for (const [i, tab] of tabs.entries()) {
      tab.hidden = views[i].id === "anatomy" && lacks.includes("q");
      const selected = views[i].id === view;
      tab.setAttribute("aria-selected", selected);
      tab.tabIndex = selected ? 0 : -1;
    }
    panel.setAttribute("aria-labelledby", `tab-${view}`);
  };
}
