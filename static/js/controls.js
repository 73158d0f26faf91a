// What a person chooses with: the sentence, the model, the kind, the options, the tabs, the theme.

import {h} from "./dom.js";

const SPECIAL = [
  ["keep", "shown"],
  ["hide", "hidden"],
  ["renormalise", "hidden, rows renormalised"]
];
const MERGE = [["none", "in pieces"], ["words", "whole"]];
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

  for (const [, field] of fields) {
    field.addEventListener("input", (event) => event.isComposing || emit(typed(), {typing: true}));
    field.addEventListener("compositionend", () => emit(typed(), {typing: true}));
    field.addEventListener("change", settle);
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      settle();
    });
  }
  model.addEventListener("change", settle);
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
    const tasks = page.models.find(({name}) => name === wanted.model)?.tasks ?? [];
    if (model.value !== wanted.model) model.value = wanted.model;
    for (const [key, field] of fields) {
      const value = wanted[key] ?? "";
      if (field.value !== value) field.value = value;
    }
    for (const part of form.querySelectorAll("[data-task]")) {
      part.hidden = !tasks.includes(part.dataset.task);
      part.querySelector("input").disabled = part.hidden;
    }
    form.elements.target.placeholder = decoded ? `${decoded} (decoded by the model)` : "";
  };
}

/** "Words whole": a label in muted ink, and its value, which a click opens. */
function choice(name, entries, onchange) {
  const select = h("select", {onchange: () => onchange(select.value)},
    ...entries.map(([value, text]) => h("option", {value}, text)));
  const el = h("label", {class: "choice"}, `${name} `, select);
  return {el, select};
}

/** @param {(patch: Object, how?: Object) => void} emit */
export function mountOptions(page, emit) {
  const special = choice("Special tokens", SPECIAL, (value) => emit({special: value}));
  const merge = choice("Words", MERGE, (value) => emit({merge: value}));
  const threshold = h("input", {
    type: "number", min: 0, max: 1, step: 0.01, inputmode: "decimal",
    oninput() {
      const value = threshold.valueAsNumber;
      if (value >= 0 && value <= 1) emit({threshold: value}, {typing: true});
    }
  });
  const limit = h("label", {class: "choice"}, "Threshold ", threshold);
  const kinds = choice("Attention", [], (kind) => emit({kind}));
  byId("options").replaceChildren(limit, special.el, merge.el);
  byId("kind").replaceChildren(kinds.el);

  return function update(state) {
    special.select.value = state.special;
    merge.select.value = state.merge;
    limit.hidden = state.view !== "lines";
    if (threshold.valueAsNumber !== state.threshold) threshold.value = state.threshold;
    const names = page.models.find(({name}) => name === state.model)?.kinds ?? [];
    const listed = Array.from(kinds.select.options, ({value}) => value);
    if (names.join() !== listed.join()) {
      kinds.select.replaceChildren(...names.map((name) => h("option", {value: name}, name)));
    }
    kinds.select.value = state.kind;
    kinds.el.hidden = names.length < 2;
  };
}

/** The views of one head, as tabs. */
export function mountTabs(views, panel, emit) {
  const tabs = views.map(({id, title}) => h("button", {
    type: "button", role: "tab", id: `tab-${id}`, "aria-controls": panel.id,
    onclick: () => emit({view: id})
  }, title));
  const list = h("div", {role: "tablist", "aria-label": "Views of the head", class: "tabs"}, ...tabs);
  byId("tabs").replaceChildren(list);
  panel.setAttribute("role", "tabpanel");
  list.addEventListener("keydown", (event) => {
    const i = tabs.indexOf(event.target);
    const n = tabs.length;
    const [before, after] = [(i + n - 1) % n, (i + 1) % n];
    const next = {ArrowLeft: before, ArrowRight: after, Home: 0, End: n - 1}[event.key];
    if (next === undefined) return;
    event.preventDefault();
    tabs[next].focus();
    emit({view: views[next].id});
  });

  return function update({view}) {
    for (const [i, tab] of tabs.entries()) {
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
    button.textContent = other === "dark" ? "Dark" : "Light";
    button.setAttribute("aria-label", `${button.textContent} theme`);
  };
}
