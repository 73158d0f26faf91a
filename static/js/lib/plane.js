// Two vectors in a plane, to be dragged by the pointer or moved by the arrow keys.

import {svg} from "./dom.js";
import {_} from "./language.js";

const REACH = 3; // of an axis, both ways
const UNIT = 40; // CSS pixels of 1
const STEP = 0.1;
const HALF = (REACH + 0.5) * UNIT;
const KEYS = {ArrowRight: [STEP, 0], ArrowLeft: [-STEP, 0], ArrowUp: [0, STEP],
  ArrowDown: [0, -STEP]};

const within = (value) => Math.round(Math.max(-REACH, Math.min(REACH, value)) / STEP) * STEP;
const rounded = (values) => values.map((value) => Number(within(value).toFixed(1)));

/**
 * @param {HTMLElement} root  @param {string[]} names  of the vectors
 * @param {(name: string, place: [number, number], isDone: boolean) => void} change
 *   `isDone` when the hand lets go
 * @returns {(vectors: Object<string, number[]>) => void}  draws the first two dimensions of each
 */
export function mountPlane(root, names, change) {
  const places = {};
  const picture = svg("svg", {class: "plane", width: 2 * HALF, height: 2 * HALF,
    viewBox: `${-HALF} ${-HALF} ${2 * HALF} ${2 * HALF}`, role: "group",
    "aria-label": _("Dimensions 0 and 1 of the vectors")}, ...grid());
  const parts = Object.fromEntries(names.map((name, i) => [name, vector(name, i)]));
  picture.append(...names.map((name) => parts[name].el));
  root.append(picture);

  function vector(name, i) {
    const line = svg("line", {class: "plane-line"});
    const text = svg("text", {}, name);
    const handle = svg("g", {class: "plane-handle", tabindex: 0, role: "slider",
      "aria-label": _("{name}, dimensions 0 and 1", {name}), "aria-valuemin": -REACH,
        "aria-valuemax": REACH},
    svg("circle", {r: 22, class: "plane-touch"}), svg("circle", {r: 7}), text);
    onDrag(handle, picture, (place, isDone) => change(name, rounded(place), isDone));
    handle.addEventListener("keydown", (event) => {
      const move = KEYS[event.key];
      if (!move) return;
      event.preventDefault();
      change(name, rounded(places[name].map((value, d) => value + move[d])), true);
    });
    return {el: svg("g", {class: `plane-vector plane-${i}`}, line, handle), line, handle, text};
  }

  return function draw(vectors) {
    for (const name of names) {
      const [a, b] = vectors[name];
      places[name] = [a, b];
      const [x, y] = [a * UNIT, -b * UNIT];
      const {line, handle, text} = parts[name];
      for (const [key, value] of Object.entries({x2: x, y2: y})) line.setAttribute(key, value);
      handle.setAttribute("transform", `translate(${x} ${y})`);
      handle.setAttribute("aria-valuenow", a);
      handle.setAttribute("aria-valuetext", `${a.toFixed(1)}, ${b.toFixed(1)}`);
      text.setAttribute("x", a < 0 ? -20 : 12);
      text.setAttribute("y", b < 0 ? 18 : -8);
    }
  };
}

/** Call back with a place in the plane while a handle is dragged, and once it is let go. */
function onDrag(handle, picture, callback) {
  let isHeld = false;
  const follow = (event, isDone) => {
    const box = picture.getBoundingClientRect();
    const scale = (2 * HALF) / box.width;
    const x = ((event.clientX - box.left) * scale - HALF) / UNIT;
    const y = (HALF - (event.clientY - box.top) * scale) / UNIT;
    callback([x, y], isDone);
  };
  handle.addEventListener("pointerdown", (event) => {
    isHeld = true;
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => isHeld && follow(event, false));
  handle.addEventListener("pointerup", (event) => {
    if (isHeld) follow(event, true);
    isHeld = false;
  });
  handle.addEventListener("pointercancel", () => {
    isHeld = false;
  });
}

function grid() {
  const marks = Array.from({length: 2 * REACH + 1}, (none, i) => (i - REACH) * UNIT);
  const line = (at, isAxis) => [
    svg("line", {x1: at, x2: at, y1: -HALF, y2: HALF, class: isAxis ? "plane-axis" : "plane-grid"}),
    svg("line", {y1: at, y2: at, x1: -HALF, x2: HALF, class: isAxis ? "plane-axis" : "plane-grid"})
  ];
  const label = (at) => svg("text", {x: at, y: 14, class: "plane-mark", "text-anchor": "middle"},
    `${at / UNIT}`);
  return [...marks.flatMap((at) => line(at, at === 0)),
    ...marks.filter((at) => at !== 0).map(label)];
}
