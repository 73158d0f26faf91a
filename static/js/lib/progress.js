// How far a reader is in the course: kept in this browser alone, and never sent.

const KEY = "learn";
const EMPTY = {seen: [], answers: {}};

/** @returns {{seen: string[], answers: Object<string, boolean>}} "2/scores"; question -> right */
export function progress() {
  try {
    return {...EMPTY, ...JSON.parse(localStorage.getItem(KEY) ?? "{}")};
  } catch {
    return EMPTY; // another program's value, or no storage
  }
}

function keep(value) {
  try {
    localStorage.setItem(KEY, JSON.stringify(value));
  } catch {
    // storage may be full or forbidden: the course works without it
  }
}

export function markSeen(step) {
  const {seen, answers} = progress();
  keep({seen: [...seen.filter((other) => other !== step), step], answers});
}

export function markAnswer(question, isRight) {
  const {seen, answers} = progress();
  keep({seen, answers: {...answers, [question]: isRight}});
}

export function forget() {
  localStorage.removeItem(KEY);
}
