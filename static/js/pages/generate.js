// The Generate page: a text that goes on token by token, and what each token was drawn from.

import {address, fewShot, generate, nextToken} from "../lib/api.js";
import {fillHeads} from "../lib/context.js";
import {modelIn, pageData} from "../lib/data.js";
import {byId, h} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {showCurves, showMap} from "../lib/numbers.js";
import {placeName} from "../lib/reading.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {sortable} from "../lib/tables.js";
import {label} from "../lib/token.js";
import * as url from "../lib/url.js";
import {candidatesTable, drawTokens, mostOf, replaceContent, within} from "../lib/decoding.js";
import {mountPage} from "./engine.js";

const FILTERS = ["temperature", "topK", "topP"];
const N_PROMPT = 32; // prompts that an accuracy is measured over
const SEEDS = 2 ** 31 - 1;

const data = pageData();
const form = document.querySelector(".work");
const modelOf = (name) => modelIn(data.models, name) ?? data.models[0];
const given = {...data, shade: "attention"};

const specOf = ({model, text, maxNewTokens, temperature, topK, topP, seed, forced}) =>
  ({model, text, maxNewTokens, temperature, topK, topP, seed, forced: forced || null});

let stop = () => {}; // go on with no more than what has come

async function answer(wanted, options) {
  const spec = specOf(wanted);
  const rows = []; // where each step looked: (L, Tk) each
  const said = [];
  let prompt = [];
  let isEnough = false;
  const halt = () => said.length && page.want({maxNewTokens: said.length}); // the same, so far
  stop = () => {
    isEnough = true;
    halt();
  };
  byId("stop").hidden = false;
  const onEvent = (name, event) => {
    if (name === "start") ({prompt} = event);
    if (name === "token") {
      rows.push(event.attn);
      said.push(event.token);
    }
    drawTokens(byId("said"), {tokens: [...prompt, ...said],
      theme: document.documentElement.dataset.theme,
      marks: prompt.map(() => "given")});
    if (isEnough) halt();
  };
  try {
    const [generation, reading] = await Promise.all([generate(spec, {...options, onEvent}),
      nextToken({model: wanted.model, text: wanted.text, top: 1}, options)]);
    return {found: {generation, reading, rows, spec},
      ...within("step", wanted.step, generation.steps.length)};
  } finally {
    if (!options.signal.aborted) byId("stop").hidden = true; // a newer one shows it for itself
  }
}

// Drawing.

function drawText({found: {generation, rows}, shade}, step, layer, theme) {
  const {prompt, tokens, steps, forced} = generation;
  const T = prompt.length;
  const most = Math.log(modelOf(generation.model).vocabSize);
  const values = shade === "entropy" ? [...prompt.map(() => 0),
    ...steps.map(({entropy}) => entropy / most)]
    : rows[step]?.[layer] ?? [];
  const titles = [...prompt.map(() => ""), ...steps.map(({probability, entropy}) =>
    _("probability {p}, entropy {e} nats", {p: probability.toFixed(3), e: entropy.toFixed(2)}))];
  drawTokens(byId("said"), {tokens: [...prompt, ...tokens], theme, values, titles, from: T,
    current: T + step,
    pick: (i) => page.want({step: i - T}),
    marks: [...prompt.map(() => "given"), ...steps.map((one) => (one.forced ? "forced" : ""))]});
  byId("unbranch").hidden = !page.get().forced;
  return forced;
}

function drawStep({found: {generation, rows}}, step, layer, theme) {
  const {prompt, tokens, steps} = generation;
  const one = steps[step];
  if (!one) return;
  const before = [...prompt, ...tokens.slice(0, step)];
  const row = rows[step];
  const values = {token: label(one.token), p: one.probability.toFixed(3),
    own: Math.exp(one.logProbability).toFixed(3),
    rank: one.rank + 1, e: one.entropy.toFixed(2), n: one.nKept.topP,
    most: mostOf(before, row[layer])};
  byId("step-said").textContent = one.forced
    ? _("{token}: taken by hand; the model gave it {own} (rank {rank}). In layer {layer} its query looks most at {most}", {...values, layer})
    : _("{token}: drawn with probability {p} of {n} tokens left; {own} before the filters (rank {rank}, entropy {e} nats). In layer {layer} its query looks most at {most}", {...values, layer});
  replaceContent(byId("candidates"), candidatesTable(one, {filters: FILTERS, pick: branch,
    caption: _("The most probable tokens, and what each filter leaves of them")}));
  const title = `${_("Where this step looks, layer by layer")}: ${label(one.token)}`;
  showMap(byId("rows-plot"), {z: row, name: _("attention"),
    range: {low: 0, high: 1, scale: "linear"}, qLabels: row.map((none, i) => `${i}`),
    kLabels: before, axes: [_("layer"), _("token")],
    sheet: {axes: ["layer", "key"], value: "attn"}, theme,
    locked: {side: "query", index: layer}}, wordsOf(generation, title, `step${step}`));
}

/** The text on screen up to this step, and another token here. */
function branch(id) {
  const {found: {generation, spec}, step} = page.get();
  const ids = generation.tokens.slice(0, Math.min(step, generation.steps.length - 1)).map((token) =>
    token.id);
  page.want({...spec, forced: [...ids, id].join()});
}

function drawSure({found: {generation, reading}}) {
  const steps = [...reading.tokens.map((token, i) => ({token, entropy: reading.entropies[i],
    surprise: reading.logProbabilities[i] === null ? null : -reading.logProbabilities[i],
      made: false})),
  ...generation.steps.map(({token, entropy, logProbability}) =>
    ({token, entropy, surprise: -logProbability, made: true}))];
  const told = steps.filter(({entropy}) => entropy !== null);
  const x = told.map((none, i) => i + 1);
  showCurves(byId("sure-plot"), {sheet: "token",
    lines: [{name: _("entropy"), column: "entropy", x, y: told.map(({entropy}) => entropy),
      chosen: true},
    {name: _("surprise"), column: "surprise", x, y: told.map(({surprise}) => surprise),
      chosen: false}],
  x: _("token, from {n} on the model's own", {n: reading.tokens.length}), y: _("nats"),
    dashes: true}, wordsOf(generation, _("Where the model is guessing"), "guessing"));
  byId("sure-table").replaceChildren(sortable({caption: _("Each token as the model saw it coming"),
    columns: [[_("token")], [_("entropy"), 2], [_("surprise"), 2], [_("whose")]],
    rows: told.map(({token, entropy, surprise, made}) =>
      [token, entropy, surprise, made ? _("the model's") : _("yours")])}));
}

/** What a plot is of, and where its numbers come from. */
function wordsOf({model, provenance: {sha256, version}}, title, part) {
  const weights = _("weights {sha}", {sha: sha256.slice(0, 8)});
  const provenance = `${model} · ${weights} · Attention Atlas ${version}`;
  return {title, provenance, file: ["generate", model, part]};
}

function drawFoot(state) {
  const {generation} = state.found;
  byId("foot").replaceChildren(h("span", {}, wordsOf(generation, "", "").provenance),
    waysOut({links: [["json", address("generate", specOf(state))],
      [_("Explore"), url.pageOf("explore", {model: state.model, text: state.text
        + generation.continuation})]],
      actions: [[_("Copy link"), () => copyLink(url.href())]]}));
}

function draw(state, theme) {
  const {generation} = state.found;
  const {nLayer} = modelOf(state.model);
  const step = Math.max(0, Math.min(state.step, generation.steps.length - 1));
  const layer = Math.min(state.layer, nLayer - 1);
  form.elements.step.max = Math.max(0, generation.steps.length - 1);
  fillHeads(form, [nLayer, 0]);
  byId("pattern-said").textContent = _(data.patterns[state.pattern]);
  drawText(state, step, layer, theme);
  drawStep(state, step, layer, theme);
  drawSure(state);
  drawFoot(state);
  drawShots(state.shots);
}

const page = mountPage({step: ({step, found}, by) => ({
  step: Math.max(0, Math.min(found.generation.steps.length - 1, Number(step) + by))}),
  data, fields: url.GENERATE, form, busy: byId("work"), given,
  local: ["step", "layer", "shade", "pattern", "nMax"], more: {shots: null}, isLive: true, answer,
    draw,
  texts: ({model, found: {generation: {prompt, tokens}}}) =>
    [{model, sequences: {source: [...prompt, ...tokens]}}],
  retype: (wanted, before) => (wanted.text === before.text && wanted.model === before.model ? wanted
    : {...wanted, forced: "", step: 0}),
  plain: {forced: "", step: 0}});

byId("stop").addEventListener("click", () => stop());
byId("again").addEventListener("click", () =>
  page.want({seed: Math.floor(Math.random() * SEEDS), forced: ""}));
byId("unbranch").addEventListener("click", () => page.want({forced: ""}));
// Examples in the prompt.

const NAMES = {none: _("all heads"), induction: _("without 3 induction heads"),
  previousToken: _("without 3 previous-token heads"), others: _("without 3 others")};

/** A measurement of what is chosen now; `onShot` sees each number of examples as it is done. */
async function measure(nPrompt, onShot) {
  const {model, pattern, nMax, seed} = page.get();
  const spec = {model, pattern, nMax, nPrompt, seed};
  const buttons = [byId("build"), byId("measure")];
  for (const button of buttons) button.disabled = true;
  try {
    const onEvent = (name, event) => name === "shot" && onShot(event, spec);
    return {spec, ...await fewShot(spec, {signal: new AbortController().signal, onEvent})};
  } catch (error) {
    page.patch({problem: error.message});
    return null;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

byId("build").addEventListener("click", async () => {
  const field = form.elements.text;
  const before = field.value;
  const found = await measure(2, () => {});
  if (!found || field.value !== before) return; // something else was typed meanwhile
  const {prompt, answer: next} = found.shots.at(-1);
  field.value = prompt;
  field.focus();
  await page.want({text: prompt, forced: "", step: 0});
  page.patch({notice: _("The prompt's right next word is “{next}”.", {next: next.trim()})});
});

byId("measure").addEventListener("click", async () => {
  const shots = [];
  const show = (result) => {
    page.patch({shots: result});
    drawShots(result);
  };
  const found = await measure(N_PROMPT, (shot, spec) => {
    shots.push(shot);
    show({spec, shots: [...shots]});
  });
  if (found) show(found);
});

/** A measurement, under the name of its own pattern. */
function drawShots(result) {
  byId("shots-result").hidden = !result;
  if (!result) return;
  const {shots, spec} = result;
  const name = PATTERN_NAMES[spec.pattern];
  byId("shots-title").textContent = `${name} · ${spec.model} · ${_("Seed")} ${spec.seed}`;
  const x = shots.map(({n}) => n);
  const names = Object.keys(NAMES);
  showCurves(byId("shots-plot"), {lines: names.map((off) => ({name: NAMES[off], column: off, x,
    y: shots.map(({accuracy}) => accuracy[off].value), chosen: off === "none"})),
  x: _("examples in the prompt"), y: _("accuracy"), dashes: true, sheet: "examples"},
  {...wordsOf(page.get().found.generation, `${_("accuracy by examples")}: ${name}`, spec.pattern),
    links: [["json", address("few-shot", spec)]]});
  replaceContent(byId("shots-table"), sortable({
    caption: _("How often the most probable next token is right, with the 95 % interval of all heads"),
    columns: [[_("examples"), 0], ...names.map((off) => [NAMES[off], 2]), [_("95 % interval")]],
    rows: shots.map(({n, accuracy}) => [n, ...names.map((off) => accuracy[off].value),
      `${accuracy.none.low.toFixed(2)}–${accuracy.none.high.toFixed(2)}`])}));
  byId("heads-said").replaceChildren();
  if (result.off) drawHeads(result);
}

const PATTERN_NAMES = Object.fromEntries(Array.from(form.elements.pattern.options,
  ({value, textContent}) => [value, textContent]));

/** Which heads were switched off, how they score, and what the scores are. */
function drawHeads({off, scores, definitions, model}) {
  const link = (name) => ({layer, head}) => [" ", h("a",
    {href: url.pageOf("explore", {model, text: page.get().text, layer, head})},
    `${placeName(layer, head)} ${scores[name][layer][head].toFixed(2)}`)];
  byId("heads-said").replaceChildren(
    `${_("Induction heads")}:`, ...off.induction.flatMap(link("induction")), `. ${
      _(definitions.induction)} `,
    `${_("Previous-token heads")}:`, ...off.previousToken.flatMap(link("previousToken")),
    `. ${_(definitions.previousToken)} ${_("Measured on random tokens said twice.")}`);
}
