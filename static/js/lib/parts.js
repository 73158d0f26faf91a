// What a head writes into a prediction beside where it looks, and the parts that a logit difference
// is the sum of.

import {byId, h} from "./dom.js";
import {valueText} from "./effects.js";
import {_} from "./language.js";
import {barOf} from "./outcome.js";
import {KIND_NAMES} from "./reading.js";
import {showTable} from "./tablepicture.js";
import {tokenNode, visible} from "./token.js";

/** Of each key its attention and what the head writes from it, in the order of the text. */
export function drawWrites(writes, theme, words) {
  const {chosen, problem, metric} = writes;
  byId("writes").hidden = !chosen;
  byId("writes-part").hidden = !chosen && !problem;
  byId("writes-said").textContent = chosen ? saidOf(chosen, metric) : problem ?? "";
  if (!chosen) return;
  const {kTokens, attn, writes: values, looks, largest} = chosen;
  const ends = [Math.min(0, ...values), Math.max(0, ...values)];
  const mark = (i, most) => (i === most ? {class: "n lab-most"} : {class: "n"});
  const row = (token, i) => h("tr", {}, h("th", {scope: "row"}, tokenNode(token)),
    barOf([0, attn[i]], [0, Math.max(...attn)], theme),
    h("td", mark(i, looks), attn[i].toFixed(2)),
    barOf([0, values[i]], ends, theme), h("td", mark(i, largest), valueText(values[i])));
  const heading = (text) => h("th", {scope: "col", colspan: "2"}, text);
  showTable(byId("writes"), h("table", {class: "numbers lab-bars"},
    h("thead", {}, h("tr", {}, h("td"), heading(_("looks at: attention")),
      heading(_("writes: into the difference")))), h("tbody", {}, ...kTokens.map(row))),
  {words, part: "writes", sheet: () => ({columns: ["key", "key_token", "attention", "write"],
    rows: kTokens.map(({text}, i) => [i, text, attn[i], values[i]])})});
}

/** Where the head looks most, and what it writes from where. */
function saidOf({kTokens, attn, writes, looks, largest, differ, against, total}, {answer, other}) {
  const values = {looks: visible(kTokens[looks]), attn: attn[looks].toFixed(2),
    largest: visible(kTokens[largest]), write: valueText(writes[largest]), total: valueText(total),
    answer: visible(answer), other: visible(other)};
  const said = [differ
    ? _("It looks most at “{looks}” ({attn}), but writes most from “{largest}” ({write}).", values)
    : _("It looks most at “{looks}” ({attn}), and writes most from there ({write}).", values),
  _("In all it writes {total} straight into the logit of “{answer}” minus that of “{other}”.", values)];
  if (against) said.push(_("What it writes from the token that it looks at favours the other token."));
  return said.join(" ");
}

/** The parts in the order in which they are added. @returns {{name, value, row: string[]}[]} */
function partsOf({kind, heads, otherHeads, mlps, embedding, bias}) {
  const kinds = Object.entries({[kind]: heads, ...otherHeads});
  const sum = (row) => row.reduce((total, value) => total + value, 0);
  const layers = mlps.flatMap((mlp, layer) => [
    ...kinds.map(([name, rows]) => ({name: kinds.length > 1
      ? _("layer {layer}, {kind} attention", {layer, kind: KIND_NAMES[name]})
      : _("layer {layer}, attention", {layer}), value: sum(rows[layer]),
    row: ["attention", name, layer]})),
    {name: _("layer {layer}, MLP", {layer}), value: mlp, row: ["mlp", "", layer]}]);
  return [{name: _("embedding"), value: embedding, row: ["embedding", "", NaN]}, ...layers,
    {name: _("biases"), value: bias, row: ["bias", "", NaN]}];
}

const N_READ = 3; // candidates of a layer

/** What would be predicted if the model ended after each layer. */
export function drawLens({readings, problem, metric}, theme, words) {
  byId("lens-said").textContent = problem ?? _("The last norm and the prediction head, applied after each layer: a reading of what is there so far. Later layers may read it otherwise.");
  byId("lens-table").hidden = Boolean(problem);
  if (problem) return;
  const values = readings.map(({difference}) => difference);
  const ends = [Math.min(0, ...values), Math.max(0, ...values)];
  const heading = (text, columns = "1") => h("th", {scope: "col", colspan: columns}, text);
  const names = {answer: visible(metric.answer), other: visible(metric.other)};
  const row = ({candidates, rank, otherRank, difference}, i) => h("tr", {},
    h("th", {scope: "row"}, i ? _("Layer {layer}", {layer: i - 1}) : _("embedding")),
    h("td", {}, ...candidates.slice(0, N_READ).flatMap(({token: raw, text, probability}, n) =>
      [n ? " · " : "", tokenNode({raw, text}), ` ${probability.toFixed(2)}`])),
    h("td", {class: "n"}, `${rank + 1}`), h("td", {class: "n"}, `${otherRank + 1}`),
    barOf([0, difference], ends, theme), h("td", {class: "n"}, valueText(difference)));
  showTable(byId("lens-table"), h("table", {class: "numbers lab-bars"}, h("thead", {},
    h("tr", {}, h("td"), heading(_("Top candidates")), heading(_("rank of “{answer}”", names)),
      heading(_("rank of “{other}”", names)), heading(_("difference"), "2"))),
  h("tbody", {}, ...readings.map(row))), {words, part: "lens", sheet: () => sheetOfLens(readings)});
}

/** After the embedding and after each layer; ranks are from 1, as on the page. */
function sheetOfLens(readings) {
  const places = Array.from({length: N_READ}, (none, n) => n);
  const best = places.flatMap((n) => [`candidate_${n + 1}`, `probability_${n + 1}`]);
  return {columns: ["after", "rank_answer", "rank_other", "difference", ...best],
    rows: readings.map(({candidates, rank, otherRank, difference}, i) => [
      i ? `layer ${i - 1}` : "embedding", rank + 1, otherRank + 1, difference,
      ...places.flatMap((n) => [candidates[n].token ?? candidates[n].text,
        candidates[n].probability])])};
}

/** Each part where the ones before it end, down to the whole. */
export function drawParts(writes, theme, words) {
  byId("parts").hidden = Boolean(writes.problem);
  if (writes.problem) return;
  const parts = partsOf(writes);
  let before = 0;
  const steps = parts.map(({name, value}) => {
    const from = before;
    before += value;
    return [name, from, before, value];
  });
  const all = steps.flatMap(([, from, to]) => [from, to]);
  const ends = [Math.min(0, ...all), Math.max(0, ...all)];
  const row = ([name, from, to, value], isTotal) => h("tr", isTotal ? {class: "lab-total"} : {},
    h("th", {scope: "row"}, name), barOf([from, to], ends, theme),
    h("td", {class: "n"}, valueText(value)));
  showTable(byId("parts-table"), h("table", {class: "numbers lab-bars"},
    h("caption", {}, _("What each part adds to the difference, in the clean text")),
    h("tbody", {}, ...steps.map((step) => row(step, false)),
      row([_("the difference"), 0, writes.total, writes.total], true))),
  {words, part: "parts", sheet: () => ({columns: ["part", "kind", "layer", "write"],
    rows: parts.map(({row: cells, value}) => [...cells, value])})});
}
