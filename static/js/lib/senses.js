// A word beside reference sentences of two senses: the verdict in words, and the lines to draw.

import {byId, h} from "./dom.js";
import {_} from "./language.js";
import {curves} from "./plot.js";
import {stateNames, stateTicks} from "./reading.js";
import {sortable} from "./tables.js";

const LISTS = [_("first list"), _("second list")];
// a key of an answer is in camelCase, a value as it is
const SENSES = {first_sense: LISTS[0], second_sense: LISTS[1],
  firstSense: LISTS[0], secondSense: LISTS[1]};
const senseName = (sense) => SENSES[sense] ?? _(sense);

/** The sense that A's word and B's word are nearer to, in a sentence. */
function verdictOf({similarity, references, a, b}) {
  if (!similarity) {
    return a.model === b.model ? _("This model has no layers of hidden states.")
      : _("Two models have two spaces: their hidden states cannot be compared.");
  }
  if (!references) {
    return _("For this word there are no reference sentences: type your own, one list for each sense. The chart has the cosine of A and B alone.");
  }
  const {verdictA, verdictB} = references;
  const since = (verdict) => (verdict.since < 2 ? _("in every layer")
    : _("from layer {layer} on", {layer: verdict.since - 1}));
  const values = {word: a.qWords[a.word].text, a: senseName(verdictA.sense),
    b: senseName(verdictB.sense), since_a: since(verdictA), since_b: since(verdictB)};
  return verdictA.sense === verdictB.sense
    ? _("The same sense: “{word}” is nearer the “{a}” sentences in A ({since_a}) and in B ({since_b}).", values)
    : _("Two senses: in A “{word}” is nearer the “{a}” sentences ({since_a}), in B nearer the “{b}” sentences ({since_b}).", values);
}

/** What the margins are of. */
const ofBoth = ({n}) => Object.keys(n).map(senseName);

/** How much nearer A's and B's word are to the one sense than to the other, by layer: curves. */
function marginCurves({verdictA, verdictB, n}) {
  const [first, second] = ofBoth({n});
  const line = (name, {sense, margins}, chosen) => ({chosen, y: margins,
    x: margins.map((value, i) => i),
    name: _("{name}: nearer {sense}", {name, sense: senseName(sense)})});
  return {lines: [line("A", verdictA, true), line("B", verdictB, false)], zero: false,
    middle: true, x: _("hidden state: embedding, then each layer"),
    y: _("cosine with {first} minus {second}", {first, second}),
    ticks: stateTicks(verdictA.margins.length)};
}

/** What stands under them. */
function marginNote({n, source}) {
  const [first, second] = ofBoth({n});
  const all = Object.values(n).reduce((sum, k) => sum + k, 0);
  return source === "of the request"
    ? _("Above 0 the word is nearer the {first} sentences, below 0 nearer the {second} ones: mean cosine with {n} sentences of your own.", {first, second, n: all})
    : _("Above 0 the word is nearer the {first} sentences, below 0 nearer the {second} ones: mean cosine with {n} reference sentences ({source}).", {first, second, n: all, source: _(source)});
}

/** The cosines themselves: of A and B, and what same and different senses come to. */
function pairLines({similarity, references}) {
  const x = similarity.map((value, i) => i);
  const line = (name, y, chosen = false) => ({name, x, y, chosen});
  const senses = references ? Object.keys(references.within) : [];
  const pairs = references ? [
    ...senses.map((sense) => line(_("two of sense {sense}", {sense: senseName(sense)}),
      references.within[sense])),
    line(_("two of different senses"), references.between)
  ] : [];
  return [line(_("A and B"), similarity, true), ...pairs];
}

/** The words nearest to A's or B's, by layer, as a table. */
function nearestTable(name, found) {
  const words = ({text, sense, cosine}) => `${text}${sense
    ? ` (${senseName(sense)})` : ""} ${cosine.toFixed(3)}`;
  const rows = found.map((row, i) => [stateNames(found.length)[i], ...row.map(words)]);
  const columns = [[_("Layer")], ...(found[0] ?? []).map((none, i) => [`${i + 1}`])];
  return sortable({caption: _("Nearest to the word in {name}", {name}), columns, rows});
}

function drawMargins({references}) {
  byId("margins").hidden = !references;
  byId("curve-note").textContent = references ? marginNote(references) : "";
  if (references) curves(byId("margins"), marginCurves(references));
  else byId("pairs").open = true;
}

function drawPairs({similarity, references}) {
  if (!similarity || !byId("pairs").open) return;
  curves(byId("curve"), {lines: pairLines({similarity, references}), zero: false, dashes: true,
    x: _("hidden state: embedding, then each layer"), y: _("cosine"),
    ticks: stateTicks(similarity.length)});
}

/** The word's hidden states by layer: the verdict, the senses, and the cosines in a fold. */
export function drawSenses(comparison) {
  const {similarity, references} = comparison;
  byId("verdict").textContent = verdictOf(comparison);
  byId("pairs").hidden = !similarity;
  drawMargins(comparison);
  if (!similarity) {
    byId("by-layer-table").replaceChildren();
    return;
  }
  drawPairs(comparison);
  byId("pairs").ontoggle = () => drawPairs(comparison);
  const drawn = pairLines(comparison);
  const margins = references ? [["A", references.verdictA], ["B", references.verdictB]] : [];
  const rows = stateNames(similarity.length).map((name, i) => [name,
    ...margins.map(([, verdict]) => verdict.margins[i]), ...drawn.map(({y}) => y[i])]);
  const columns = [[_("Layer")], ...margins.map(([name]) => [name, 3]),
    ...drawn.map(({name}) => [name, 3])];
  byId("by-layer-table").replaceChildren(
    more(_("The numbers"), sortable({caption: _("Cosine of the word's hidden states in A and B"),
      columns, rows})),
    more(_("The nearest words, layer by layer"), nearestTable("A", comparison.nearestA),
      nearestTable("B", comparison.nearestB)));
}

const more = (name, ...content) => h("details", {class: "compare-more"}, h("summary", {}, name),
  h("div", {class: "scroll", tabindex: "0", role: "group", "aria-label": name}, ...content));
