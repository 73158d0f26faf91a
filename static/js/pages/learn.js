// The course: a step's figure comes alive, predictions are made before it, questions answered.

import {anatomy, attention, metrics, overview, pictureSize} from "../lib/api.js";
import {diagram} from "../lib/diagram.js";
import {pageData, pick} from "../lib/data.js";
import {byId, h} from "../lib/dom.js";
import {mountSoftmax, mountVectors} from "../lib/hand.js";
import {mountHelp} from "../lib/help.js";
import {_} from "../lib/language.js";
import {mountLeader} from "../lib/leader.js";
import {showCurves, showMap} from "../lib/numbers.js";
import {forget, markAnswer, markSeen, progress} from "../lib/progress.js";
import {mountThemeAlone} from "../lib/theme.js";
import * as url from "../lib/url.js";
import {frame} from "../lib/view.js";
import * as anatomyView from "../views/anatomy.js";
import * as grid from "../views/grid.js";
import * as lines from "../views/lines.js";
import * as matrix from "../views/matrix.js";
import * as table from "../views/table.js";
import * as tokens from "../views/tokens.js";

const VIEWS = {lines: [lines], matrix: [matrix], tokens: [tokens], table: [table],
  anatomy: [anatomyView], scores: [matrix], grid: [grid, matrix]};
const PLAY = 1100; // ms that each query of a moving figure is shown
const INPUTS = ["model", "text", "textPair", "target", "kind"];
const options = {signal: new AbortController().signal};

const page = pageData();
const article = document.querySelector("article.learn");
const figure = page.step?.figure ?? null;

// Heads, in the app's own views.

/** One panel: the chosen head, until the reader chooses another token or head. */
function mountPanel(panel, root, draw, onChange) {
  let state = {...pick(panel, ["layer", "head", "query"]), side: "query", theme: "light"};
  let parts = null;
  const emit = (patch) => update({...patch});
  root.replaceChildren();
  const views = VIEWS[draw].map(({mount}) => mount(root.appendChild(h("div")), emit));

  async function update(patch) {
    const before = state;
    state = {...state, ...patch};
    const isSame = parts && before.layer === state.layer && before.head === state.head
      && (draw !== "anatomy" || before.query === state.query);
    if (!isSame) parts = await fetchPanel(panel, state, draw);
    const drawn = frame({...parts, ...state});
    await Promise.all(views.map((view) => view.update(drawn)));
    onChange(state);
  }

  return {update, get: () => state, length: () => parts?.record?.qTokens.length ?? 0};
}

/** What a panel's view needs. */
async function fetchPanel(panel, {layer, head, query}, draw) {
  const inputs = pick(panel, INPUTS);
  if (draw === "anatomy") {
    return {anatomy: await anatomy({...inputs, layer, head, query}, options), layer, head};
  }
  const quantity = draw === "scores" ? {quantity: "scores"} : {};
  const record = await attention({...inputs, layer, head, ...quantity}, options);
  if (draw !== "grid") return {record};
  const [every, measured] = await Promise.all([
    overview({...inputs, size: pictureSize(64)}, options), metrics(inputs, options)]);
  return {record, overview: every, metrics: measured};
}

/** The tokens of a figure that moves, one after another: what was written by then is looked at. */
function mountPlay(panel, root) {
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = _("Play");
  };
  const next = () => {
    const query = panel.get().query + 1;
    if (query >= panel.length()) stop();
    else panel.update({query, side: "query"});
  };
  const start = () => {
    panel.update({query: 0, side: "query"});
    timer = setInterval(next, PLAY);
    button.textContent = _("Stop");
  };
  const button = h("button", {type: "button", class: "play", onclick: () => (timer ? stop()
    : start())}, _("Play"));
  root.before(h("p", {class: "player"}, button,
    h("button", {type: "button", class: "play", onclick: () => {
      stop();
      next();
    }}, _("Next token"))));
}

// Numbers, drawn.

const wordsOf = () => ({title: page.step.title, provenance: "Attention Atlas",
  file: ["learn", `${page.chapter}`, page.step.id]});

function drawNumbers({draw, numbers}, root, theme) {
  const {columns, rows, options: how} = numbers;
  if (draw === "curves") {
    root.classList.add("plot");
    root.parentElement.querySelector(":scope > .scroll")?.remove(); // its own numbers are beneath
    const x = rows.map(([value]) => value);
    const line = (name, i) => ({name, column: name, x, y: rows.map((row) => row[i + 1]),
      chosen: i === (how.chosen ?? 0)});
    return showCurves(root, {lines: columns.slice(1).map(line), x: columns[0], dashes: true,
      sheet: "x", ...how}, wordsOf());
  }
  if (draw === "map") {
    const z = rows.map((row) => row.slice(1));
    return showMap(root, {z, qLabels: rows.map(([name]) => `${name}`), theme,
      kLabels: columns.slice(1), locked: null, sheet: {value: "value"}, ...how}, wordsOf());
  }
  return null; // a table, which is on the page
}

const HANDS = {vectors: mountVectors, softmax: mountSoftmax};

/** Numbers that the reader's hand moves. */
function mountHand({numbers: {options: {hand, ...initial}}}, root) {
  const [controls, result] = [h("div", {class: "hand"}), h("div", {class: "scroll"})];
  root.replaceChildren(controls, result);
  let state = initial;
  const draw = HANDS[hand](controls, result, (patch) => {
    state = {...state, ...patch};
    draw(state);
  });
  draw(state);
}

function drawModel({model}, root) {
  const to = (path, more = {}) => url.pageOf(path, {model: model.name, ...more});
  root.replaceChildren(h("div", {class: "diagrams"}, ...diagram(model, to)));
}

// The figure as a whole.

function targetOf(root, draw, panels) {
  if (figure.panels.length && panels.some((panel, i) =>
    panel.get().query !== figure.panels[i].query)) return null;
  if (draw === "bars") return root.querySelector("tr.most .bar");
  if (draw === "anatomy") {
    const shares = [...root.querySelectorAll("tr:not(:has(.special)) .anatomy-attn")];
    const share = (cell) => Number(cell.style.getPropertyValue("--attn"));
    return shares.reduce((best, cell) => (share(cell) > share(best) ? cell : best), shares[0]);
  }
  return root.querySelector("[aria-pressed='true'][data-index], .shapelayer path");
}

function mountFigure() {
  const root = document.querySelector(".picture");
  const {draw} = figure;
  const mounts = [...root.querySelectorAll(".mount")];
  const note = document.querySelector(".annotation");
  let redraw = () => {};
  const panels = figure.panels.map((panel, i) =>
    mountPanel(panel, mounts[i], draw, () => requestAnimationFrame(redraw)));
  redraw = mountLeader(byId("figure"), note, () => targetOf(root, draw, panels));
  if (figure.plays) mountPlay(panels[0], root);
  if (draw === "diagram") drawModel(figure, mounts[0]);
  if (draw === "hand") mountHand(figure, mounts[0]);
  return async (theme) => {
    if (figure.numbers) await drawNumbers(figure, mounts[0], theme);
    await Promise.all(panels.map((panel) => panel.update({theme}))).catch(showProblem);
    redraw();
    root.dataset.ready = "";
  };
}

function showProblem(error) {
  byId("figure-problem").textContent = error.message;
}

/** Draw the figure once it is seen: at once, or when its prediction is made. */
function whenSeen(mount) {
  const reveal = document.querySelector(".reveal");
  let draw = null;
  let theme = "light";
  const show = () => {
    draw ??= mount();
    return draw(theme);
  };
  reveal?.addEventListener("toggle", () => reveal.open && show());
  return (next) => {
    theme = next;
    if (!reveal || reveal.open) show();
  };
}

// Predictions and questions.

function mountPredict() {
  const box = document.querySelector(".predict");
  if (!box) return;
  const [group, verdict] = [box.querySelector(".predict-options"), box.querySelector(".verdict")];
  const reveal = document.querySelector(".reveal");
  const {options: choices, answer} = figure;
  const number = (value) => value.toFixed(value < 10 ? 2 : 0);
  const commit = (i) => {
    for (const [j, button] of [...group.children].entries()) {
      button.setAttribute("aria-pressed", i === j);
      button.classList.toggle("right", j === answer);
      button.disabled = true;
    }
    const [chosen, best] = [choices[i], choices[answer]];
    verdict.textContent = i === answer
      ? _("Right: {word} ({value}).", {word: best.word, value: number(best.value)})
      : _("You chose {word} ({value}). The largest is {best} ({most}).",
        {word: chosen.word, value: number(chosen.value), best: best.word,
          most: number(best.value)});
    reveal.open = true;
  };
  group.replaceChildren(...choices.map(({word}, i) =>
    h("button", {type: "button", "aria-pressed": false, onclick: () => commit(i)},
      h("bdi", {}, word))));
}

function mountQuestions() {
  const {answers} = progress();
  for (const item of document.querySelectorAll(".question")) {
    const {question, answer} = item.dataset;
    const verdict = item.querySelector(".verdict");
    if (question in answers) item.classList.add(answers[question] ? "was-right" : "was-wrong");
    item.addEventListener("change", ({target}) => {
      const isRight = target.value === answer;
      verdict.textContent = isRight ? _("Right.") : _("Not right.");
      markAnswer(question, isRight);
      item.querySelector(".answer").open = true;
      for (const input of item.querySelectorAll("input")) input.disabled = true;
    });
  }
}

// Formulas light up the part of the picture that a symbol stands for.

function mountTerms() {
  const root = document.querySelector(".learn-columns");
  const light = (event) => {
    const term = event.target.closest?.("[data-term]")?.dataset.term ?? "";
    if (root.dataset.lit === term) return;
    root.dataset.lit = term;
    for (const el of root.querySelectorAll("[data-term]")) {
      el.classList.toggle("lit", el.dataset.term === term);
    }
  };
  for (const name of ["pointerover", "focusin"]) root.addEventListener(name, light);
  root.addEventListener("pointerleave", light);
}

// Keys, progress.

/** Left and right turn the page, but not in a control or a picture that has arrow keys itself. */
function mountKeys() {
  document.addEventListener("keydown", (event) => {
    const {target, key} = event;
    const isPlain = target === document.body || target.closest?.(".steps, .turn");
    if (!isPlain || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const rel = {ArrowRight: "next", ArrowLeft: "prev", PageDown: "next", PageUp: "prev"}[key];
    if (rel) document.querySelector(`.turn [rel='${rel}']`)?.click();
    else if (key === "Enter" && article?.matches(".present")) revealNext(event);
  });
}

/** In a presentation, Enter shows the next answer that is still hidden. */
function revealNext(event) {
  const hidden = document.querySelector(".learn details:not([open])");
  if (!hidden) return;
  event.preventDefault();
  hidden.open = true;
}

function mountProgress() {
  if (page.step) markSeen(`${page.chapter}/${page.step.id}`);
  const {seen} = progress();
  for (const link of document.querySelectorAll("[data-seen]")) {
    link.classList.toggle("seen", seen.includes(link.dataset.seen));
  }
  const resume = document.querySelector(".learn-resume");
  const last = seen.at(-1);
  const link = last && document.querySelector(`.chapter-steps [data-seen="${last}"]`);
  if (resume && link) {
    resume.append(h("a", {href: link.href}, _("Go on where you were: {title}",
      {title: link.textContent})));
  }
  const button = byId("forget");
  if (!button) return;
  button.hidden = !seen.length;
  button.addEventListener("click", () => {
    forget();
    for (const shown of document.querySelectorAll(".seen")) shown.classList.remove("seen");
    button.hidden = true;
    resume.replaceChildren();
  });
}

const printButton = byId("print");
if (printButton) {
  printButton.hidden = false;
  printButton.addEventListener("click", () => globalThis.print());
}
if (byId("language")) url.linkLanguage(byId("language"));
mountHelp();
mountKeys();
mountProgress();
mountQuestions();
if (page.step) mountTerms();
const isDrawn = figure && !figure.problem;
if (isDrawn) mountPredict();
const drawFigure = isDrawn ? whenSeen(mountFigure) : () => {};
mountThemeAlone((theme) => drawFigure(theme));
