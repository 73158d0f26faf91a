// The whole model as a drawing: every part leads to its numbers.

import {svg} from "./dom.js";
import {_} from "./language.js";

const WIDE = 326; // CSS pixels of a stack: it fits a phone
const HIGH = 46; // of a box and its edge: a finger's 44
const GAP = 14;
const SIDE = 22; // left of a block, for what goes round it

/**
 * @typedef {{text: string, href: string, note?: string}} Part
 * @param {Object} model  of /models  @param {(page: string, more?: Object) => string} to  the
 * address of a page
 * @returns {SVGElement[]}  a picture of each stack
 */
export function diagram(model, to) {
  const {family} = model;
  if (family === "encoder-decoder") {
    return [stack(_("Encoder"), model, to, {kinds: ["encoder"], activation: "ReLU",
      output: {text: _("the encoder's output"), href: to("explore", {kind: "cross"})}}),
    stack(_("Decoder"), model, to, {kinds: ["decoder", "cross"], activation: "ReLU",
      output: likely(to)})];
  }
  const isDecoder = family === "decoder";
  return [stack(model.name, model, to, {kinds: [isDecoder ? "decoder" : "encoder"],
    activation: "GELU",
    isNormFirst: isDecoder, output: isDecoder ? likely(to)
      : {text: _("the words behind [MASK]"), href: to("explore")}})];
}

const likely = (to) => ({text: _("how likely each next token is"), href: to("explore")});

/** One stack from its words to its output, downwards. */
function stack(name, {kinds: [here], nLayer, dModel, dFf, nHead, dHead, positions, vocabSize}, to,
  {kinds, activation, isNormFirst, output}) {
  const pen = {y: 0, parts: []};
  const isHere = kinds.includes(here); // what the page shows below is of the first stack
  const block = isHere ? "#block" : to("explore", {kind: kinds[0]});
  const norm = {text: _("layer norm"), href: block};
  const add = {text: isNormFirst ? _("add") : _("add, layer norm"), href: block};
  box(pen, {text: _("words"), note: `${vocabSize} × ${dModel}`, href: to("positions")});
  plus(pen);
  box(pen, {text: _("position"), note: positions === "learned" ? _("learned") : "sin, cos",
    href: to("positions")});
  arrow(pen);
  const top = pen.y;
  pen.y += 28;
  for (const kind of kinds) {
    around(pen, add, () => {
      if (isNormFirst) then(pen, norm);
      attention(pen, kind, {nHead, dHead, isHere}, to);
    });
    arrow(pen);
  }
  around(pen, add, () => {
    if (isNormFirst) then(pen, norm);
    box(pen, {text: _("feed-forward, {name}", {name: activation}),
      note: `${dModel} → ${dFf} → ${dModel}`,
      href: block}, SIDE);
  });
  pen.y += 8;
  const layers = [svg("rect", {class: "diagram-frame", x: 1, y: top, width: WIDE - 2,
    height: pen.y - top, rx: 10}),
    svg("text", {class: "diagram-note", x: WIDE - 12, y: top + 18, "text-anchor": "end"},
      _("{n} layers like this", {n: nLayer}))];
  arrow(pen);
  if (isNormFirst) then(pen, norm, 0);
  box(pen, output);
  const height = pen.y + 2;
  return svg("svg", {class: "diagram", width: WIDE, height,
    viewBox: `0 0 ${WIDE} ${height}`, role: "group",
    "aria-label": name}, ...layers, ...pen.parts);
}

/** The parts of attention, in the order in which they are computed. */
function attention(pen, kind, {nHead, dHead, isHere}, to) {
  const title = {encoder: _("self-attention"), decoder: _("self-attention, causal"),
    cross: _("cross-attention: k, v of the encoder's output")}[kind];
  const top = pen.y;
  pen.y += 24;
  const steps = to("explore", {kind, view: "anatomy"});
  const rows = [
    [{text: "q, k, v", note: `${nHead} × ${dHead}`, href: isHere ? "#qkv" : steps}],
    [{text: _("scores"), note: "q·k", href: isHere ? "#anatomy" : steps},
      {text: "1/√d", href: "#scale"}],
    [{text: _("mask"), href: to("masks", {kind})}, {text: "softmax", href: steps}],
    [{text: _("attention, head by head"), href: to("explore", {kind})}],
    [{text: _("heads together, W_O"), href: isHere ? "#heads" : to("explore", {kind})}]
  ];
  for (const row of rows) {
    const width = (WIDE - 2 * SIDE - 16 - 8 * (row.length - 1)) / row.length;
    for (const [i, part] of row.entries()) link(pen, part, SIDE + 8 + i * (width + 8), width);
    pen.y += HIGH + 6;
  }
  pen.y += 2;
  pen.parts.unshift(svg("rect", {class: "diagram-inner", x: SIDE, y: top, width: WIDE - 2 * SIDE,
    height: pen.y - top, rx: 8}));
  pen.parts.push(svg("text", {class: "diagram-note", x: SIDE + 10, y: top + 17}, title));
}

/** A block, and the way round it to where both are added. */
function around(pen, add, block) {
  const from = pen.y;
  pen.y += 8;
  block();
  arrow(pen);
  const to = pen.y + HIGH / 2;
  pen.parts.push(svg("path", {class: "diagram-line",
    d: `M${WIDE / 2} ${from} H14 Q8 ${from} 8 ${from + 6} V${to - 6} Q8 ${to} 14 ${to} H${SIDE}`}),
  svg("path", {class: "diagram-line", d: `M${WIDE / 2} ${from} v8`}),
  svg("path", {class: "diagram-tip", d: `M${SIDE} ${to} l-6 -4 v8 z`}));
  box(pen, add, SIDE);
}

function then(pen, part, side = SIDE) {
  box(pen, part, side);
  arrow(pen);
}

function box(pen, part, side = 0) {
  link(pen, part, side, WIDE - 2 * side);
  pen.y += HIGH;
}

function link(pen, {text, note, href}, x, width) {
  const words = [svg("text", {x: x + 12, y: pen.y + 27}, text)];
  if (note) {
    words.push(svg("text", {class: "diagram-note", x: x + width - 12, y: pen.y + 27,
      "text-anchor": "end"}, note));
  }
  pen.parts.push(svg("a", {href},
    svg("rect", {x: x + 1, y: pen.y + 1, width: width - 2, height: HIGH - 2, rx: 6}), ...words));
}

function arrow(pen) {
  const [x, y] = [WIDE / 2, pen.y + GAP];
  pen.parts.push(svg("path", {class: "diagram-line", d: `M${x} ${pen.y} V${y - 4}`}),
    svg("path", {class: "diagram-tip", d: `M${x} ${y} l-4 -6 h8 z`}));
  pen.y = y;
}

function plus(pen) {
  pen.parts.push(svg("text", {class: "diagram-note", x: WIDE / 2, y: pen.y + 13,
    "text-anchor": "middle"}, "+"));
  pen.y += 18;
}
