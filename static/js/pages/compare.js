// The Compare page: two runs beside each other. Reads the page's data, keeps it up to date, draws
// it.

import {address, attention, compare} from "../lib/api.js";
import {colorOf, css, textOn} from "../lib/color.js";
import {listOf, mountContent} from "../lib/content.js";
import {modelIn, pageData} from "../lib/data.js";
import {byId, h} from "../lib/dom.js";
import {figure} from "../lib/figure.js";
import {linkToLab} from "../lib/interventions.js";
import {_} from "../lib/language.js";
import {legendLine} from "../lib/legend.js";
import {heatmap, mapLegend} from "../lib/plot.js";
import {KIND_NAMES, placeName} from "../lib/reading.js";
import {basesOf, drawPredicted} from "../lib/predicted.js";
import {fileName, saveBlob, svgBlob} from "../lib/save.js";
import {drawSenses} from "../lib/senses.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {sortable} from "../lib/tables.js";
import {visible} from "../lib/token.js";
import {drawWordLines, withClicked, withWords} from "../lib/wordpick.js";
import * as url from "../lib/url.js";
import {frame} from "../lib/view.js";
import * as lines from "../views/lines.js";
import {mountPage} from "./engine.js";

const LN2 = Math.log(2);
const LOCKS = {a: ["query", "side"], b: ["queryB", "sideB"]}; // keys of the address
// the compared word is locked
const WORD = {query: null, side: "query", queryB: null, sideB: "query"};
const FRESH = {layer: null, head: null, align: null, occurrenceA: null, occurrenceB: null, ...WORD};

const data = pageData();
const form = document.querySelector(".compare-ask");
const GIVEN = ["model", "text", "modelB", "textB", "word", "wordB", "firstSense", "secondSense",
  "off"];
const given = Object.fromEntries(GIVEN.map((key) => [key, data[key] ?? ""]));

/** What /compare is asked for. */
function specOf({model, text, modelB, textB, word, wordB, off, kind, layer, head, ...rest}) {
  const isHead = off && url.COMPARE.off.valid(off);
  const [offLayer, offHead] = isHead ? off.split(".").map(Number) : [];
  const edits = isHead ? {edits: [{op: "ablate", layer: offLayer, head: offHead}]} : {};
  const {align, occurrenceA, occurrenceB} = rest;
  const [firstSense, secondSense] = [rest.firstSense, rest.secondSense].map(sentencesOf);
  return {a: {model, text}, b: {model: modelB, text: textB, ...edits}, word, wordB: wordB || null,
    firstSense, secondSense, contentWords: rest.content !== "",
    functionWordList: listOf(rest.content),
    positionalLast: true,
    kind, layer, head, align, occurrenceA, occurrenceB};
}

/** One sentence a line, as a list in JSON; null where there is none. */
function sentencesOf(text) {
  const sentences = text.split("\n").filter((line) => line.trim());
  return sentences.length ? JSON.stringify(sentences) : null;
}

async function answer(wanted, options, before) {
  const spec = specOf(wanted);
  const ask = (other) => compare(specOf(other), options);
  const {comparison, words} = await withWords(ask, wanted, before?.comparison);
  const {a, b, layer, head} = comparison;
  const edits = spec.b.edits ? {edits: JSON.stringify(spec.b.edits)} : {};
  const records = await Promise.all([
    attention({...spec.a, kind: a.kind, layer, head}, options),
    attention({...spec.b, kind: b.kind, layer, head, ...edits}, options)
  ]);
  return {...words, asksWord: Boolean(words), pointed: null,
    found: {comparison, records: {a: records[0], b: records[1]}}};
}

const fit = (wanted) => {
  const both = {...wanted, modelB: wanted.modelB || wanted.model};
  return {...both, kind: bothHave(both)};
};

/** The kind of attention that is asked for, if both models have it. */
function bothHave({kind, model, modelB}) {
  const has = (name) => modelIn(data.models, name)?.kinds.includes(kind);
  return has(model) && has(modelB) ? kind : null;
}

/** The other word is the one that is wanted now, be its answer there or not. */
function pickWord(run, text) {
  const {draft, ...state} = page.get();
  page.want({...withClicked(run, text, {...state, ...draft}), ...FRESH});
}

// Drawing.

const headName = ({layer, head, positional}) =>
  (positional ? _("{name}, positional", {name: placeName(layer, head)}) : placeName(layer, head));

const drawContent = mountContent(data.models, (content) =>
  page.want({content, layer: null, head: null}));

/** Every head's divergence as a map of buttons; ln 2 is the most there can be. */
function drawMap({divergence, baseline, positional, layer, head, ranked, unalignedA, unalignedB},
  theme) {
  const follows = new Set(positional.map((place) => place.join(".")));
  const heading = (text) => h("th", {scope: "col"}, text);
  const cell = (value, l, k) => {
    const bytes = colorOf(value / LN2, theme);
    const isPositional = follows.has(`${l}.${k}`);
    const values = {layer: l, head: k, value: value.toFixed(3)};
    const button = h("button", {type: "button", "aria-pressed": `${l === layer && k === head}`,
      ...(isPositional ? {class: "positional"} : {}),
      "aria-label": isPositional
        ? _("layer {layer}, head {head}: divergence {value}, positional", values)
        : _("layer {layer}, head {head}: divergence {value}", values),
      title: _("on words without a partner: A {a}, B {b}",
        {a: unalignedA[l][k].toFixed(2), b: unalignedB[l][k].toFixed(2)}),
      onclick: () => pickHead(l, k)}, value.toFixed(2));
    button.style.background = css(bytes);
    button.style.color = textOn(bytes);
    return h("td", {}, button);
  };
  const focused = document.activeElement?.closest?.("#map")
    ? document.activeElement.getAttribute("aria-label") : null;
  byId("map").replaceChildren(h("table", {class: "compare-map"},
    h("caption", {class: "sr-only"}, _("Jensen-Shannon divergence of the word's attention, layers by heads")),
    h("thead", {}, h("tr", {}, h("td"), ...divergence[0].map((none, k) => heading(`${k}`)))),
    h("tbody", {}, ...divergence.map((row, l) => h("tr", {}, h("th", {scope: "row"}, `${l}`),
      ...row.map((value, k) => cell(value, l, k)))))));
  if (focused) byId("map").querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  drawRanked({ranked, baseline, positional});
}

/** The heads that differ most, beside what they differ between two texts of one sense. */
function drawRanked({ranked, baseline, positional}) {
  byId("positional-note").hidden = !positional.length;
  byId("baseline-note").hidden = !baseline;
  const rows = ranked.map((found) => [headName(found), found.divergence,
    ...(baseline ? [found.baseline] : []), found.aligned, found.a, found.attnA, found.b,
    found.attnB]);
  byId("ranked").replaceChildren(sortable({
    caption: _("Heads whose attention from the word differs most, largest first"),
    columns: [[_("Head")], [_("divergence"), 3],
      ...(baseline ? [[_("between two of one sense"), 3]] : []), [_("aligned words only"), 3],
      [_("A looks most at")],
      [_("attention"), 2], [_("B looks most at")], [_("attention"), 2]],
    rows,
    pick: ([place]) => {
      const [l, k] = place.match(/\d+/g).map(Number);
      page.want({layer: l, head: k});
    }
  }));
}

/** A head of the map is shown; or switched off in B, after "Pick on the map". */
function pickHead(layer, head) {
  if (!page.get().picksOff) return page.want({layer, head});
  page.patch({picksOff: false});
  return page.want({off: `${layer}.${head}`});
}

function drawPicking({picksOff, off, asksWord}) {
  byId("pick-off").hidden = false;
  byId("pick-off").setAttribute("aria-pressed", picksOff);
  byId("pick-off").textContent = picksOff ? _("Click a head of the map") : _("Pick on the map");
  byId("all-on").hidden = !off;
  byId("word-note").textContent = asksWord
    ? _("These texts do not have the word before: click the word to compare in each.") : "";
}

function drawKinds({model, modelB, kind}) {
  const kindsOf = (name) => modelIn(data.models, name)?.kinds ?? [];
  const both = kindsOf(model).filter((name) => kindsOf(modelB).includes(name));
  const select = h("select", {onchange: () => page.want({...FRESH, kind: select.value})},
    ...both.map((name) => h("option", {value: name}, KIND_NAMES[name])));
  select.value = kind ?? both[0] ?? "";
  byId("kind").replaceChildren(...(both.length > 1
    ? [h("label", {class: "choice"}, `${_("Attention")} `, select)] : []));
}

const mounted = {
  a: lines.mount(byId("view-a"), (patch) => lock("a", patch), (place) => point("a", place)),
  b: lines.mount(byId("view-b"), (patch) => lock("b", patch), (place) => point("b", place))
};

const otherOf = (run) => (run === "a" ? "b" : "a");
const wordOf = ({qWords, word}) => ({side: "query", index: qWords[word].tokens[0]});

/** The token of the other run that is in the same place, by the alignment; null where none is. */
function partner(run, {side, index}) {
  const {comparison} = page.get().found;
  const {[run]: own, [otherOf(run)]: other, alignment} = comparison;
  if (side === "query" && own.qWords[own.word].tokens.includes(index)) return wordOf(other);
  if (side === "query" && (own.kind === "cross" || other.kind === "cross")) return null;
  const words = side === "query" ? "qWords" : "kWords";
  const [mine, theirs] = run === "a" ? [0, 1] : [1, 0];
  const unit = own[words].findIndex(({tokens}) => tokens.includes(index));
  const pair = alignment.find((pair) => pair[mine] === unit);
  const twin = pair && other[words][pair[theirs]];
  return twin ? {side, index: twin.tokens[0]} : null;
}

/** The locked token of a run; null where none is. */
function lockOf(run, state) {
  const {comparison, records} = state.found;
  const [index, side] = LOCKS[run].map((key) => state[key]);
  if (index === "none") return null;
  if (index === null) return wordOf(comparison[run]);
  const tokens = records[run][side === "query" ? "qTokens" : "kTokens"];
  return index < tokens.length ? {side, index} : null;
}

const isSame = (a, b) => a?.side === b?.side && a?.index === b?.index;

/** A lock as the address has it. */
function locking(run, place) {
  const isWord = isSame(place, wordOf(page.get().found.comparison[run]));
  const [query, side] = LOCKS[run];
  return {[query]: isWord ? null : place?.index ?? "none", [side]: place?.side ?? "query"};
}

/**
 * Lock a token of a run, and its partner in the other; a lock without a partner is that run's
 * alone.
 */
function lock(run, {query, side = "query"}) {
  if (query === undefined) return;
  const state = page.get();
  const other = otherOf(run);
  const before = lockOf(run, state);
  const place = query === null ? null : {side, index: query};
  const twin = place && partner(run, place);
  const wasBoth = before && isSame(partner(run, before), lockOf(other, state));
  const isBoth = twin || (!place && wasBoth);
  page.want({...locking(run, place), ...(isBoth ? locking(other, twin) : {})});
}

function point(run, place) {
  const {pointed} = page.get();
  const now = place && {run, ...place};
  const same = pointed?.run === now?.run && pointed?.index === now?.index
    && pointed?.side === now?.side;
  if (same || (!now && pointed && pointed.run !== run)) return;
  page.patch({pointed: now});
}

/** A run's frame: the word's own row is locked in both unless another is. */
function frameOf(run, state, theme) {
  const {found: {records, comparison}, pointed, threshold} = state;
  const {layer, head} = comparison;
  const locked = lockOf(run, state);
  const link = pointed && pointed.run !== run ? partner(pointed.run, pointed) : null;
  const record = records[run];
  return frame({record, layer, head, query: locked?.index ?? null, side: locked?.side ?? "query",
    pointed: link, threshold, theme});
}

function drawDifference({difference, alignment, a, b}, theme) {
  const el = byId("difference");
  if (!difference?.length) {
    el.replaceChildren(h("p", {class: "note"}, difference ? _("No words are aligned.")
      : _("Between two sequences there is no such difference.")));
    return;
  }
  const names = alignment.map(([i, j]) => pairName(visible(a.kWords[i]), visible(b.kWords[j])));
  const most = Math.max(1e-6, ...difference.flat().map(Math.abs));
  if (el.firstChild?.tagName === "P") el.replaceChildren();
  const plot = el.firstChild ?? el.appendChild(h("div", {class: "matrix-plot"}));
  const key = el.children[1] ?? el.appendChild(h("div", {class: "note"}));
  const map = {z: difference, name: _("A minus B"), qLabels: names, kLabels: names,
    range: {low: -most, high: most, scale: "signed"}, theme, locked: null};
  key.replaceChildren(legendLine(mapLegend(map)), _("Blue: more in A; orange: more in B."));
  heatmap(plot, map);
}

const pairName = (a, b) => (plain(a) === plain(b) ? a : `${a}/${b}`);
const plain = (word) => word.normalize("NFC").toLowerCase();

/** Which word of B each word of A is aligned with; any can be changed. */
function drawAlignment({alignment, a, b}) {
  const partnerOf = new Map(alignment);
  const taken = new Set(alignment.map(([, j]) => j));
  const choices = a.kWords.map((word, i) => {
    const select = h("select", {onchange: () => align(i, select.value)},
      h("option", {value: ""}, "–"),
      ...b.kWords.map((other, j) => h("option", {value: j}, visible(other))));
    select.value = partnerOf.get(i) ?? "";
    const alone = partnerOf.has(i) ? "" : " alone";
    return h("label", {class: `choice${alone}`}, `${visible(word)} → `, select);
  });
  const alone = b.kWords.filter((word, j) => !taken.has(j)).map(visible);
  byId("alignment-note").textContent = _("{n} of {all} words of A have a partner in B; without one in B: {alone}.",
    {n: alignment.length, all: a.kWords.length, alone: alone.join(", ") || _("none")});
  byId("alignment").replaceChildren(h("div", {class: "compare-alignment"}, ...choices),
    h("button", {type: "button", class: "plain-button", onclick: () => page.want({align: null})},
      _("Align equal words again")));
}

function align(i, value) {
  const {alignment} = page.get().found.comparison;
  const others = alignment.filter(([x, y]) => x !== i && `${y}` !== value);
  const pairs = value === "" ? others : [...others, [i, Number(value)]];
  page.want({align: pairs.sort(([x], [y]) => x - y).map((pair) => pair.join("-")).join()});
}

const thresholdField = h("input", {type: "number", min: 0, max: 1, step: 0.01, oninput() {
  const value = thresholdField.valueAsNumber;
  if (value >= 0 && value <= 1) page.want({threshold: value}, {typing: true});
}});
byId("options").replaceChildren(h("label", {class: "choice"},
  `${_("Threshold")} `, thresholdField));

function drawHead(found) {
  const {layer, head} = found;
  byId("context-place").textContent = placeName(layer, head);
  byId("head-title").textContent = _("Layer {layer} · Head {head}", {layer, head});
  const stats = [[_("divergence"), found.divergence[layer][head]],
    ...(found.baseline ? [[_("between two of one sense"), found.baseline[layer][head]]] : []),
    [_("on aligned words"), found.divergenceAligned[layer][head]],
    [_("A on words without a partner"), found.unalignedA[layer][head]],
    [_("B on words without a partner"), found.unalignedB[layer][head]]];
  byId("stats").replaceChildren(...stats.map(([name, value]) =>
    h("span", {}, `${name} `, h("b", {}, value.toFixed(2)))));
}

function provenance({a, b}) {
  const side = (name, {model, provenance: {sha256, dtype}}) =>
    `${name}: ${model} · ${_("weights {sha}", {sha: sha256.slice(0, 8)})} · ${dtype}`;
  return [side("A", a), side("B", b), `Attention Atlas ${a.provenance.version}`].join(" · ");
}

function drawFoot(state, theme) {
  const {comparison: found} = state.found;
  const copy = () => copyLink(url.href());
  const save = (run) => {
    const own = found[run];
    const {layer, head} = found;
    const place = _("Layer {layer} · Head {head}", {layer, head});
    const words = {title: `${run.toUpperCase()} · ${place} · ${own.model}`,
      sentence: own.text, provenance: provenance(found)};
    const picture = figure("lines", frameOf(run, page.get(), theme), words);
    const name = fileName(["compare", run, own.model, `L${layer}H${head}`], "svg");
    saveBlob(svgBlob(picture), name);
    return name;
  };
  byId("foot").replaceChildren(h("span", {}, provenance(found)), waysOut({
    links: [["json", address("compare", specOf(state))]],
    actions: [[_("Copy link"), copy], [_("A as SVG"), () => save("a")],
      [_("B as SVG"), () => save("b")]]
  }));
}

let drawn = {};

function draw(state, theme) {
  const {found} = state;
  byId("comparison").hidden = false;
  if (drawn.found !== found || drawn.theme !== theme) {
    drawn = {found, theme};
    const {comparison} = found;
    drawKinds(state);
    drawWordLines(byId("word-lines"), comparison, pickWord);
    drawSenses(comparison);
    drawContent(state.content, comparison);
    drawMap(comparison, theme);
    drawHead(comparison);
    drawPredicted(comparison, basesOf(state, data.models));
    drawDifference(comparison, theme);
    drawAlignment(comparison);
    drawFoot(state, theme);
    linkToLab(byId("in-lab"), modelIn(data.models, state.modelB), state);
    document.title = `${state.word} · ${_("Compare")} · Attention Atlas`;
  }
  if (thresholdField.valueAsNumber !== state.threshold) thresholdField.value = state.threshold;
  for (const run of ["a", "b"]) mounted[run].update(frameOf(run, state, theme));
}

const page = mountPage({data, fields: url.COMPARE, form, busy: byId("comparison"), given, fit,
  more: {pointed: null, picksOff: false, asksWord: false}, // the token under the pointer
  controls: (wanted, state) => drawPicking(state),
  context: (state) => {
    const {layer, head, a: {kind, qWords, word}} = state.found.comparison;
    const {side = "query", index = ""} = lockOf("a", state) ?? {};
    const place = {kind, layer, head, query: index, side};
    return {...Object.fromEntries(Object.entries(place).map(([key, value]) => [key, `${value}`])),
      token: _("Token {token}", {token: visible(qWords[word])})};
  },
  local: ["threshold", ...Object.values(LOCKS).flat(), "pointed"],
  retype: (wanted) => ({...wanted, ...FRESH}), answer, draw,
  texts: ({found: {comparison, records}}) => ["a", "b"].map((side) =>
    ({model: comparison[side].model, sequences: {source: records[side].kTokens}})),
  plain: {modelB: "", wordB: "", firstSense: "", secondSense: "", off: "", content: "",
    ...FRESH, kind: null}});

byId("pick-off").addEventListener("click", () => page.patch({picksOff: !page.get().picksOff}));
byId("all-on").addEventListener("click", () => page.want({off: ""}));
