// How far a reader is in the course: kept in this browser alone, and never sent.

import {keep, kept} from "./storage.js";

const NAME = "learn";
const EMPTY = {seen: [], answers: {}};

/** @returns {{seen: string[], answers: Object<string, boolean>}} "2/scores"; question -> right */
export function progress() {
  return {...EMPTY, ...kept(NAME)};
}

export function markSeen(step) {
  const {seen, answers} = progress();
  keep(NAME, {seen: [...seen.filter((other) => other !== step), step], answers});
}

export function markAnswer(question, isRight) {
  const {seen, answers} = progress();
  keep(NAME, {seen, answers: {...answers, [question]: isRight}});
}

export function forget() {
  keep(NAME, null);
}
