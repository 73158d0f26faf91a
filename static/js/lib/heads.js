// Several heads at once, as the address writes them: "2.3,0.1". The chosen head is always the
// first.

export const MOST = 8; // more could not be told apart

/** "2.3,0.1" -> [[2, 3], [0, 1]]. */
export function parseHeads(text) {
  return text ? text.split(",").map((place) => place.split(".").map(Number)) : [];
}

const write = (places) => places.map((place) => place.join(".")).join();
const same = ([a, b]) => ([c, d]) => a === c && b === d;

/** All that is shown: the chosen head, then those beside it, each once, at most MOST. */
export function shownHeads({layer, head, heads}) {
  const chosen = [layer, head];
  const beside = parseHeads(heads).filter((place) => !same(chosen)(place));
  return [chosen, ...beside].slice(0, MOST);
}

/** The patch that shows just these; the first becomes the chosen one. */
export function choose([[layer, head], ...rest]) {
  return {layer, head, heads: write(rest.slice(0, MOST - 1))};
}

/** The patch that adds a head to those shown, or takes it away; the last one stays. */
export function toggle(state, place) {
  const shown = shownHeads(state);
  const without = shown.filter((other) => !same(place)(other));
  if (without.length < shown.length) return choose(without.length ? without : shown);
  return choose([...shown.slice(0, MOST - 1), place]);
}
