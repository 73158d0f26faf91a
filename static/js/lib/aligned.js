// Source–target alignment: the best head by each reading of cross-attention, and what it says.

import {attention} from "./api.js";
import {placeOf, rowOf} from "./decoding.js";
import {h} from "./dom.js";
import {_} from "./language.js";
import {placeName} from "./reading.js";
import {sortable} from "./tables.js";
import {headOf} from "./tensor.js";

const READINGS = {output: _("as output"), input: _("as input")};
const STEPS_LATER = {output: 0, input: 1}; // the row of a token after the one that chose it

/** The best head as the fields of the page have it: of the first reading, else the last mean. */
export function bestPlace({aligners: [first], shapes: {cross: [nLayer]}}) {
  return first ? {layer: first.layer, head: `${first.head ?? "mean"}`}
    : {layer: nLayer - 1, head: "mean"};
}

/** Cross-attention of each reading's best head. @returns {Promise<Object<string, Object>>} */
export async function readingRecords({aligners}, spec, options) {
  const records = await Promise.all(aligners.map(({layer, head}) =>
    attention({...spec, ...placeOf(layer, head ?? "mean")}, options)));
  return Object.fromEntries(aligners.map(({reading}, i) => [reading, records[i]]));
}

const nameOf = ({layer, head}) => (head === null ? _("L{layer}, mean of its heads", {layer})
  : placeName(layer, head));

/** In words: which head reads best, how well, and on what that was measured; a click shows it. */
export function drawReadings(el, {layer, head}, {name, aligners, family}, pick) {
  const button = (place) => h("button", {type: "button", class: "work-button",
    "aria-pressed": `${place.layer === Number(layer) && `${place.head ?? "mean"}` === `${head}`}`,
    onclick: () => pick({layer: place.layer, head: `${place.head ?? "mean"}`})}, nameOf(place));
  const known = aligners.flatMap((one, i) => [`${READINGS[one.reading]} `, button(one),
    ` ${_("F1 {score} ({low} to {high}), over {n} pairs", {...one, score: one.score.toFixed(2),
      low: one.low.toFixed(2), high: one.high.toFixed(2)})}`,
    i < aligners.length - 1 ? _("; ") : _(". ")]);
  const measured = aligners.map(({reading}) => reading);
  const possible = family === "recurrent" ? ["output"] : ["output", "input"];
  const missing = possible.filter((reading) => !measured.includes(reading))
    .map((reading) => _("{reading}: not measured by {model}'s card; the head shown is read.",
      {reading: READINGS[reading], model: name}));
  el.replaceChildren(_("Best head by the model's card:"), " ", ...known, missing.join(" "));
}

/** A table: each target token's source token, by each reading's best head. */
export function drawDrove(el, {translation, readings, records: {cross}}) {
  const columns = Object.keys(READINGS).map((reading) => ({reading,
    record: readings[reading] ?? cross}));
  const rows = translation.tokens.map((token, n) => [token, ...columns.flatMap(
    ({reading, record}) => mostAt(record, n + STEPS_LATER[reading]))]);
  el.replaceChildren(sortable({
    caption: _("The source token that each target token's query looks at most"),
    columns: [[_("token")], ...columns.flatMap(({reading, record}) =>
      [[`${READINGS[reading]}, ${headName(record)}`], [_("attention"), 3]])],
    rows
  }));
}

const headName = ({layers, heads, reduce}) => nameOf({layer: layers.at(-1),
  head: reduce === "none" ? heads[0] : null});

/** The source token that a row has most of its attention on. */
function mostAt(record, q) {
  const {attn} = headOf(record);
  if (q >= attn.shape[0]) return ["", ""];
  const row = rowOf(attn, q);
  const k = row.indexOf(Math.max(...row));
  return [record.kTokens[k], row[k]];
}
