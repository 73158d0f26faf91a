// What a form has beside its fields: a picker that opens models, fields that only some models take.

import {modelIn} from "./data.js";
import {h} from "./dom.js";
import {_} from "./language.js";
import {fillLanguages} from "./languages.js";
import {mountOpening} from "./opening.js";
import {takenBy} from "./picture.js";

/**
 * @param {HTMLFormElement} form  @param {Object} page  @param {() => void} retyped
 * @returns {(wanted: Object, decoded: string|null) => void}
 */
export function mountInputs(form, page, retyped) {
  const {model} = form.elements;
  const isOpen = () => Boolean(modelIn(page.models, model.value));
  let shown = model.value;
  const open = mountOpening(form, (found) => {
    page.models.push(found);
    const option = [...model.options].find(({value}) => value === found.name)
      ?? model.appendChild(h("option", {value: found.name}));
    option.textContent = modelLabel(found);
    model.value = found.name;
    retyped();
  });
  for (const type of ["input", "change"]) {
    model.addEventListener(type, (event) => isOpen() || event.stopPropagation());
  }
  model.addEventListener("change", async () => {
    const {value} = model;
    if (!isOpen() && !await open(value) && model.value === value) model.value = shown;
  });

  return function update(wanted, decoded) {
    const chosen = modelIn(page.models, wanted.model);
    const takes = takenBy(chosen);
    fillLanguages(form, chosen, wanted);
    shown = wanted.model;
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
