// What is wrong with the value of a form's field, in the page's language.

import {_} from "./language.js";

/** A field's name on screen. */
const nameOf = (el) => el.labels?.[0]?.textContent.trim() || el.ariaLabel || el.name;

/** Whether a value may still become one: nothing is typed yet, or not all of it. */
export const isUnfinished = ({validity: {valueMissing, patternMismatch}}) =>
  valueMissing || patternMismatch;

/** Why a field's value cannot be taken; null where it can. @param {HTMLInputElement} el */
export function complaint(el) {
  if (el.checkValidity()) return null;
  const {min, max, step, value, title, validity} = el;
  const name = nameOf(el);
  if (validity.badInput) return _("{name}: that is no number.", {name});
  if (validity.valueMissing) return _("{name} is empty: type a value.", {name});
  if (validity.patternMismatch) return _("{name}: {value} cannot be read; {format}.",
    {name, value, format: title});
  if (validity.stepMismatch) return stepText({name, value, step: Number(step) || 1});
  return max === "" ? _("{name}: {value} is less than {min}.", {name, value, min})
    : _("{name}: {value} is not between {min} and {max}.", {name, value, min, max});
}

const stepText = ({name, value, step}) => (step === 1
  ? _("{name}: {value} is not a whole number.", {name, value})
  : _("{name}: {value} is not a multiple of {step}.", {name, value, step}));
