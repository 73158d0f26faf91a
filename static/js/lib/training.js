// Where a text leaves the length that its model was trained on: in words, and as a dashed line.

import {svg} from "./dom.js";
import {_} from "./language.js";

const NAMES = {source: _("the text"), target: _("the target")};
export const DASH = [4, 3]; // CSS pixels drawn and left out

/**
 * That a text is longer than any in its model's training; empty if it is not, or that is not known.
 * @param {{name: string, trainedLength: number|null}|undefined} model
 * @param {Object<string, import("./view.js").Token[]>} sequences  by name: source, target
 */
export function beyondTraining(model, sequences) {
  const most = model?.trainedLength ?? null;
  if (most === null) return "";
  return Object.entries(sequences).filter(([, tokens]) => tokens.length > most)
    .map(([name, {length: n}]) => _("{model} was trained on texts of at most {most} tokens, and {which} has {n}: later positions are new to it. A dashed line marks where training ended.",
      {model: model.name, most, which: NAMES[name], n})).join(" ");
}

/** What the dashed line in a picture stands for; null where there is none. */
export const endName = ({qTrained = null, kTrained = null}) =>
  (qTrained === null && kTrained === null ? null : _("end of the trained length"));

/**
 * The dashed lines over a heat map of a record, as shares of its width and height:
 * [[x0, y0, x1, y1], …], those of keys upright, those of queries level.
 */
export function endLines({qTrained = null, kTrained = null, qTokens, kTokens}) {
  const [x, y] = [kTrained / kTokens.length, qTrained / qTokens.length];
  return [...(kTrained === null ? [] : [[x, 0, x, 1]]), ...(qTrained === null ? []
    : [[0, y, 1, y]])];
}

/** The same on a canvas, over a picture at x, y, in the canvas's pixels. */
export function strokeEnds(context, record, {x, y, width, height}, color) {
  const ratio = globalThis.devicePixelRatio || 1;
  context.strokeStyle = color;
  context.lineWidth = 1.5 * ratio;
  context.setLineDash(DASH.map((length) => length * ratio));
  for (const [x0, y0, x1, y1] of endLines(record)) {
    context.beginPath();
    context.moveTo(x + x0 * width, y + y0 * height);
    context.lineTo(x + x1 * width, y + y1 * height);
    context.stroke();
  }
}

/** The same in a figure. */
export const endsSvg = (record, {x = 0, y = 0, width, height}, stroke) =>
  endLines(record).map(([x0, y0, x1, y1]) => svg("line", {class: "trained-end", stroke,
    "stroke-width": 1.5, "stroke-dasharray": DASH.join(" "), x1: x + x0 * width,
    y1: y + y0 * height, x2: x + x1 * width, y2: y + y1 * height}));
