// The Fill in page: hidden words and guesses, sentences that follow, and the noise of training.

import {address, attention, corruption, fillMask, nextSentence} from "../lib/api.js";
import {fillHeads} from "../lib/context.js";
import {modelIn, pageData} from "../lib/data.js";
import {byId, h} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {sortable} from "../lib/tables.js";
import {headOf} from "../lib/tensor.js";
import {label} from "../lib/token.js";
import * as url from "../lib/url.js";
import {frame} from "../lib/view.js";
import * as lines from "../views/lines.js";
import {candidatesTable, drawTokens, mostOf, placeOf, replaceContent, rowOf,
  within} from "../lib/decoding.js";
import {mountPage} from "./engine.js";

const SEEDS = 2 ** 31 - 1;
const FATES = {masked: _("masked"), replaced: _("replaced"), kept: _("kept")};

const data = pageData();
const form = document.querySelector(".work");
const modelOf = (name) => modelIn(data.models, name) ?? data.models[0];
const given = {...data,
  head: `${data.head ?? "mean"}`, textPair: data.textPair ?? "", mask: 0};
const UNLOCKED = {query: null, side: "query"};

const maskOf = (name) => modelOf(name).mask ?? "[MASK]";

function fit(wanted) {
  const {nLayer, nHead} = modelOf(wanted.model);
  const head = wanted.head === "mean" || Number(wanted.head) < nHead ? wanted.head : "mean";
  return {...wanted, head, layer: Math.max(0, Math.min(Number(wanted.layer) || 0, nLayer - 1))};
}

/** In other texts the numbers are of other words. */
function retype(wanted, before) {
  const first = wanted.text !== before.text;
  const second = wanted.textPair !== before.textPair;
  return {...wanted, ...(first ? {words: ""} : {}), ...(second ? {wordsPair: ""} : {}),
    ...(first || second ? {mask: 0, ...UNLOCKED} : {})};
}

const specOf = ({model, text, textPair}) => ({model, text, textPair: textPair || null});

async function answer(wanted, options) {
  const spec = specOf(wanted);
  const hasMask = wanted.words || wanted.wordsPair
    || `${wanted.text} ${wanted.textPair}`.includes(maskOf(wanted.model));
  const pairs = modelOf(wanted.model).tasks.includes("next-sentence") && wanted.textPair;
  const [filled, noise, next] = await Promise.all([
    hasMask ? fillMask({...spec, words: wanted.words || null, wordsPair: wanted.wordsPair || null},
      options) : null,
    corruption({...spec, seed: wanted.seed}, options),
    pairs ? nextSentence(spec, options) : null
  ]);
  const read = filled ? {text: filled.masked, textPair: filled.maskedPair} : {};
  const record = await attention({...spec, ...read, ...placeOf(wanted.layer, wanted.head)},
    options);
  const apart = pairs ? await attention({...spec, ...placeOf(wanted.layer, wanted.head)}, options)
    : null;
  return {found: {filled, noise, next, record, apart},
    ...within("mask", wanted.mask, filled?.masks.length ?? 0)};
}

// Drawing.

/** The [MASK] whose attention is shown: the one chosen, else the first. */
const placeIn = ({masks}, mask) => masks[Math.min(mask, masks.length - 1)].position;

function drawSentence({found: {filled, noise, record}, mask, layer}, theme) {
  const tokens = filled?.tokens ?? noise.tokens;
  const words = filled?.words ?? tokens.map(({word}) => word);
  const place = filled ? placeIn(filled, mask) : null;
  const values = filled ? rowOf(headOf(record).attn, place) : [];
  const own = maskOf(page.get().model);
  drawTokens(byId("sentence"), {tokens, theme, values, current: place,
    pick: (i) => toggle(tokens[i].segment, words[i]), canPick: (i) => words[i] !== null,
    marks: tokens.map(({raw}) => (raw === own ? "masked" : ""))});
  const what = filled ? _("{mask} at {position} looks most at {most}, in layer {layer}",
    {mask: own, position: place, most: mostOf(tokens, values), layer}) : _("No word is hidden.");
  byId("mask-said").textContent = what;
}

/** Hide a word, or show it again. */
function toggle(segment, word) {
  const key = segment === 0 ? "words" : "wordsPair";
  const hidden = new Set((page.get()[key] || "").split(",").filter(Boolean).map(Number));
  if (!hidden.delete(word)) hidden.add(word);
  page.want({[key]: [...hidden].sort((a, b) => a - b).join(), mask: 0});
}

function drawMasks({found: {filled}, mask}) {
  const tables = (filled?.masks ?? []).map(({position, entropy, candidates}, i) => h("div", {},
    candidatesTable({candidates}, {caption: _("{mask} at {position}: entropy {e} nats",
      {mask: maskOf(page.get().model), position, e: entropy.toFixed(2)})}),
    h("button", {type: "button", class: "work-button", "aria-pressed": `${i === mask}`,
      onclick: () => page.want({mask: i})}, _("Show where it looks"))));
  replaceContent(byId("masks"), ...tables);
}

const view = lines.mount(byId("across-view"), ({query, side = "query"}) =>
  query !== undefined && page.want({query, side}));

function drawPair({found: {next, apart}, layer, query, side}, theme) {
  const section = byId("next-table");
  byId("across-view").hidden = !apart;
  byId("swap").disabled = !page.get().textPair;
  if (!next || !apart) {
    section.replaceChildren();
    const tells = modelOf(page.get().model).tasks.includes("next-sentence");
    byId("across-said").textContent = tells ? _("Type a second sentence.")
      : _("This model has no head that tells whether a sentence follows.");
    return;
  }
  section.replaceChildren(sortable({caption: _(
    "Probability, as next-sentence prediction was trained"),
    columns: [[_("order")], [_("probability"), 3]],
    rows: [[_("the second follows the first"), next.isNext], [_("swapped"), next.swapped]]}));
  const {attn} = headOf(apart);
  const of = (segment) => apart.qTokens.map((token, i) => [token, i])
    .filter(([token]) => token.segment === segment && !token.special).map(([, i]) => i);
  const share = (from, to) => from.reduce((sum, q) => sum
    + to.reduce((own, k) => own + attn.data[q * attn.shape[1] + k], 0), 0) / Math.max(1,
      from.length);
  const [a, b] = [of(0), of(1)];
  byId("across-said").textContent = _("Attention across [SEP], in layer {layer}: the words of the first sentence give {ab} to those of the second, which give {ba} back.",
    {layer, ab: share(a, b).toFixed(2), ba: share(b, a).toFixed(2)});
  const head = apart.heads[0];
  const locked = query !== null && query < apart.qTokens.length ? query : null;
  view.update(frame({record: apart, layer, head, query: locked, side, theme}));
}

function drawNoise({found: {noise}}, theme) {
  const fate = new Map(noise.chosen.map((place) => [place.position, place]));
  const shown = noise.tokens.map((token, i) =>
    (fate.has(i) ? {...token, text: fate.get(i).shown, raw: fate.get(i).shown} : token));
  drawTokens(byId("noisy"), {tokens: shown, theme,
    marks: noise.tokens.map((none, i) => fate.get(i)?.fate),
    titles: noise.tokens.map((token, i) => (fate.has(i)
      ? `${label(token)}: ${FATES[fate.get(i).fate]}` : ""))});
  const rows = noise.chosen.map(({position, fate: name, shown: text, probability, loss,
    candidates: [first]}) =>
    [noise.tokens[position], FATES[name], text, probability, loss, first.text]);
  byId("noise-table").replaceChildren(sortable(
    {caption: _("The chosen tokens, and what the model makes of each"),
    columns: [[_("token")], [_("what happened")], [_("read as")],
      [_("probability of the token"), 4], [_("loss"), 2],
      [_("its first guess")]], rows}));
  byId("noise-said").textContent = noise.loss === null ? _("There is no word that could be chosen.")
    : `${_("Mean loss")} ${noise.loss.toFixed(2)} ${_("nats")}`;
}

function drawFoot(state) {
  const {sha256, version} = state.found.noise.provenance;
  const weights = _("weights {sha}", {sha: sha256.slice(0, 8)});
  const spec = specOf(state);
  const {filled} = state.found;
  const pair = state.textPair ? {text_pair: filled?.maskedPair ?? state.textPair} : {};
  const place = state.head === "mean" ? {layer: state.layer}
    : {layer: state.layer, head: state.head};
  const links = [...(filled ? [["json", address("fill-mask", {...spec, words: state.words || null,
    wordsPair: state.wordsPair || null})]] : []),
  [_("Explore"), url.pageOf("explore", {model: state.model, text: filled?.masked ?? state.text,
    ...pair, ...place})]];
  byId("foot").replaceChildren(
    h("span", {}, `${state.model} · ${weights} · Attention Atlas ${version}`),
    waysOut({links, actions: [[_("Copy link"), () => copyLink(url.href())]]}));
}

function draw(state, theme) {
  const {nLayer, nHead} = modelOf(state.model);
  fillHeads(form, [nLayer, nHead]);
  drawSentence(state, theme);
  drawMasks(state);
  drawPair(state, theme);
  drawNoise(state, theme);
  drawFoot(state);
}

const page = mountPage({data, fields: url.FILL, form, busy: byId("work"), given,
  local: ["mask", "query", "side"], fit, retype, answer, draw,
  texts: ({model, found: {noise}}) => [{model, sequences: {source: noise.tokens}}],
  plain: {textPair: "", words: "", wordsPair: "", mask: 0, ...UNLOCKED}});

byId("again").addEventListener("click", () => page.want({seed: Math.floor(Math.random() * SEEDS)}));
byId("swap").addEventListener("click", () => {
  const {text, textPair} = page.get();
  const {words, wordsPair} = page.get();
  page.want({text: textPair, textPair: text, words: wordsPair, wordsPair: words, mask: 0,
    ...UNLOCKED});
});
byId("partner").addEventListener("click", () => {
  const others = data.partners.filter((text) => text !== page.get().textPair);
  page.want({textPair: others[Math.floor(Math.random() * others.length)], wordsPair: "", mask: 0,
    ...UNLOCKED});
});
