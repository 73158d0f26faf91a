// The cells of the Lab's map: layers down; heads, or tokens, across, and the MLPs beside the heads.

import {nameOf, placeOf, placesIn} from "./interventions.js";

/** Layer and column of the largest effect of those that have come. */
export function largest(effect) {
  const cells = effect.flatMap((row, layer) => (row ?? []).map((value, i) => [value, layer, i]));
  return cells.sort(([a], [b]) => Math.abs(b) - Math.abs(a));
}

/** The cell that is looked at: the chosen one, else the head of the largest effect. */
export function cellOf(state) {
  const {layer, head, query, over, found: {sweep: {effect}}} = state;
  const column = over === "heads" ? head ?? widthOf(state) : query;
  if (layer !== null && column !== null && column < (rowsOf(state)[layer]?.length ?? 0)) {
    return [layer, column];
  }
  const [, ...cell] = largest(effect)[0] ?? [0, 0, 0];
  return cell;
}

/** The place that is looked at. @returns {import("../lib/interventions.js").Place} */
export function chosen(state) {
  return placeAt(state, ...cellOf(state));
}

/** The effects as they are drawn: over heads, the layer's MLP beside them. */
export const rowsOf = ({found: {sweep: {effect, mlps = []}}}) =>
  effect.map((row, layer) => (row && (mlps[layer] ?? null) !== null ? [...row, mlps[layer]] : row));

/** How many heads, or tokens, a row has. */
export const widthOf = ({over, found: {sweep, shape: [, nHead]}}) => (over === "heads" ? nHead
  : Math.max(...sweep.effect.map((row) => row?.length ?? 0)));

export function placeAt(state, layer, column) {
  const {over, kind} = state;
  if (over !== "heads") {
    return placeOf({kind, layer, query: column, part: over === "positions" ? "heads" : "mlp"});
  }
  return column < widthOf(state) ? placeOf({kind, layer, head: column})
    : placeOf({kind, layer, part: "mlp"});
}

export const tokensOf = ({kind, found: {sweep, effects}}) => {
  const {source = [], target} = effects?.sequences ?? {};
  if (sweep.tokens.length) return sweep.tokens;
  return kind === "encoder" ? source : target ?? source;
};

/** A place in words; cross-attention has its keys in the source. */
export function nameIn(state, place) {
  const {source = [], target = source} = state.found.effects?.sequences ?? {};
  const [queries, keys] = {encoder: [source, source], decoder: [target, target],
    cross: [target, source]}[place.kind];
  return nameOf(place, place.act === "replace" ? tokensOf(state) : queries, keys);
}

/** The cells of the map that are edits. */
export function markedOf(state) {
  const {edits, kind, over} = state;
  const columnOf = ({part, head, query}) => {
    if (over !== "heads") return part === (over === "positions" ? "heads" : "mlp") ? query : null;
    return part === "mlp" ? (query === null ? widthOf(state) : null) : head;
  };
  return placesIn(edits).filter((place) => place.kind === kind && place.act === "replace")
    .map((place) => [place.layer, columnOf(place)]).filter(([, column]) => column !== null);
}
