// A step's figure: heads in the app's own views, numbers drawn, and a prediction made before it.

import {anatomy, attention, metrics, overview} from "./api.js";
import {diagram} from "./diagram.js";
import {pick} from "./data.js";
import {byId, h} from "./dom.js";
import {mountSoftmax, mountVectors} from "./hand.js";
import {_} from "./language.js";
import {mountLeader} from "./leader.js";
import {showCurves, showMap} from "./numbers.js";
import {pictureSize} from "./picture.js";
import {mountPreference} from "./preference.js";
import {pageOf} from "./url.js";
import {frame} from "./view.js";

const PLAY = 1100; // ms that each query of a moving figure is shown
const INPUTS = ["model", "text", "textPair", "target", "kind"];

// Heads, in the app's own views.

/**
 * One panel: the chosen head, until the reader chooses another token or head.
 * @param {{draw: string, mounts: Function[], options: Object, onChange: () => void}} how
 */
function mountPanel(panel, root, {draw, mounts, options, onChange}) {
  let state = {...pick(panel, ["layer", "head", "query"]), side: "query", theme: "light"};
  let parts = null;
  const emit = (patch) => update({...patch});
  root.replaceChildren();
  const views = mounts.map((mount) => mount(root.appendChild(h("div")), emit));

  async function update(patch) {
    const before = state;
    state = {...state, ...patch};
    const isSame = parts && before.layer === state.layer && before.head === state.head
      && (draw !== "anatomy" || before.query === state.query);
    if (!isSame) parts = await fetchPanel(panel, state, draw, options);
    const drawn = frame({...parts, ...state});
    await Promise.all(views.map((view) => view.update(drawn)));
    onChange();
  }

  return {update, get: () => state, length: () => parts?.record?.qTokens.length ?? 0,
    destroy: () => views.forEach((view) => view.destroy())};
}

/** What a panel's view needs. */
async function fetchPanel(panel, {layer, head, query}, draw, options) {
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
  return stop;
}

// Numbers, drawn.

const wordsOf = (page) => ({title: page.step.title, provenance: "Attention Atlas",
  file: ["learn", `${page.chapter}`, page.step.id]});

function drawNumbers(page, root, theme) {
  const {draw, numbers} = page.step.figure;
  const {columns, rows, options: how} = numbers;
  if (draw === "curves") {
    root.classList.add("plot");
    root.parentElement.querySelector(":scope > .scroll")?.remove(); // its own numbers are beneath
    const x = rows.map(([value]) => value);
    const line = (name, i) => ({name, column: name, x, y: rows.map((row) => row[i + 1]),
      chosen: i === (how.chosen ?? 0)});
    return showCurves(root, {lines: columns.slice(1).map(line), x: columns[0], dashes: true,
      sheet: "x", ...how}, wordsOf(page));
  }
  if (draw === "map") {
    const z = rows.map((row) => row.slice(1));
    return showMap(root, {z, qLabels: rows.map(([name]) => `${name}`), theme,
      kLabels: columns.slice(1), locked: null, sheet: {value: "value"}, ...how}, wordsOf(page));
  }
  return null; // a table, which is on the page
}

const HANDS = {vectors: mountVectors, softmax: mountSoftmax, preference: mountPreference};

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
  const to = (path, more = {}) => pageOf(path, {model: model.name, ...more});
  root.replaceChildren(h("div", {class: "diagrams"}, ...diagram(model, to)));
}

// The figure as a whole.

function targetOf(root, figure, panels) {
  const {draw} = figure;
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

/** The picture, drawn in a theme as often as asked; `leave` stops what it has running. */
function mountPicture(page, views, options) {
  const {figure} = page.step;
  const {draw} = figure;
  const root = document.querySelector(".picture");
  const mounts = [...root.querySelectorAll(".mount")];
  const note = document.querySelector(".annotation");
  let redraw = () => {};
  const panels = figure.panels.map((panel, i) => mountPanel(panel, mounts[i],
    {draw, options, mounts: views[draw].map(({mount}) => mount),
      onChange: () => requestAnimationFrame(redraw)}));
  redraw = mountLeader(byId("figure-body"), note, () => targetOf(root, figure, panels));
  const stop = figure.plays ? mountPlay(panels[0], root) : () => {};
  if (draw === "diagram") drawModel(figure, mounts[0]);
  if (draw === "hand") mountHand(figure, mounts[0]);
  return {
    async show(theme) {
      root.ariaBusy = true;
      if (figure.numbers) await drawNumbers(page, mounts[0], theme);
      await Promise.all(panels.map((panel) => panel.update({theme}))).catch((error) =>
        options.signal.aborted || showProblem(error));
      if (options.signal.aborted) return;
      redraw();
      root.dataset.ready = "";
      root.ariaBusy = null;
    },
    leave() {
      stop();
      for (const panel of panels) panel.destroy();
    }
  };
}

export function showProblem(error) {
  byId("figure-problem").textContent = error.message;
}

/**
 * A step's figure, drawn once it is seen: at once, or when its prediction is made.
 * @param {Object} page  what the server wrote of the step
 * @param {Object<string, Object[]>} views  by the name of a figure's drawing
 * @param {boolean} isSeen  the picture was open before: a new sentence is not predicted again
 */
export function mountFigure(page, views, isSeen = false) {
  const stop = new AbortController();
  const reveal = document.querySelector(".reveal");
  let picture = null;
  let theme = "light";
  const show = () => {
    picture ??= mountPicture(page, views, {signal: stop.signal});
    return picture.show(theme);
  };
  mountPredict(page.step.figure, isSeen);
  reveal?.addEventListener("toggle", () => reveal.open && show());
  return {
    draw(next) {
      theme = next;
      return !reveal || reveal.open ? show() : undefined;
    },
    leave() {
      stop.abort();
      picture?.leave();
    }
  };
}

// Predictions.

const inWords = (value) => value.toFixed(value < 10 ? 2 : 0);

function mountPredict({options: choices, answer, numbers}, isSeen) {
  const box = document.querySelector(".predict");
  if (!box) return;
  const isRight = numbers?.options.verdict === "right"; // a choice is right, not the largest
  const [group, verdict] = [box.querySelector(".predict-options"), box.querySelector(".verdict")];
  const settle = (i) => {
    for (const [j, button] of [...group.children].entries()) {
      button.setAttribute("aria-pressed", i === j);
      button.classList.toggle("right", j === answer);
      button.disabled = true;
    }
    const sentence = isRight ? rightOf : largestOf;
    verdict.textContent = choices.length ? sentence(choices[i], choices[answer]) : "";
    document.querySelector(".reveal").open = true;
  };
  group.replaceChildren(...choices.map(({word}, i) =>
    h("button", {type: "button", "aria-pressed": false, onclick: () => settle(i)},
      h("bdi", {}, word))));
  if (isSeen) settle(-1);
}

/** What is said of a choice; none was made where the picture was seen before. */
function largestOf(chosen, best) {
  const [word, most] = [best.word, inWords(best.value)];
  if (!chosen) return _("Here the largest is {word} ({value}).", {word, value: most});
  if (chosen === best) return _("Right: {word} ({value}).", {word, value: most});
  return _("You chose {word} ({value}). The largest is {best} ({most}).",
    {word: chosen.word, value: inWords(chosen.value), best: word, most});
}

function rightOf(chosen, {word: best}) {
  if (!chosen) return _("Here it is: {best}.", {best});
  if (chosen.word === best) return _("Right: {best}.", {best});
  return _("You chose: {word}. It is: {best}.", {word: chosen.word, best});
}
