// Every layer × every head as a small picture, all on one canvas; the one under hand enlarged.

import {paint, palette} from "../color.js";
import {fitCanvas, h, onResize} from "../dom.js";
import {headOf} from "../tensor.js";

export const id = "grid";
export const title = "All heads";

const EDGE = {x: 24, y: 20}; // room for the headings
const GAP = 6;
const PREVIEW = 176;
const STEPS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};

/** @type {import("../view.js").Mount} */
export function mount(root, emit) {
  const canvas = h("canvas", {"aria-hidden": "true"});
  const chosen = h("div", {class: "grid-chosen"});
  const cell = h("div", {id: "grid-cell", role: "gridcell", class: "grid-cursor"});
  const row = h("div", {role: "row"}, cell);
  const picture = h("canvas", {"aria-hidden": "true"});
  const caption = h("p", {"aria-live": "polite"});
  const preview = h("div", {class: "grid-preview", hidden: true}, picture, caption);
  const grid = h("div", {role: "grid", tabindex: "0", "aria-activedescendant": cell.id,
    onkeydown: step, onfocus: () => show(frame.layer, frame.head), onblur: hide,
    onpointermove: point, onpointerleave: hide, onclick: choose}, canvas, chosen, row);
  const el = root.appendChild(h("div", {class: "grid"}, grid, preview));
  const stopResize = onResize(el, () => frame && draw());
  let frame;

  function update(next) {
    const stale = next.overview !== frame?.overview || next.theme !== frame.theme;
    frame = next;
    if (stale) draw();
    mark(chosen, frame.layer, frame.head);
    if (preview.hidden) name(frame.layer, frame.head);
    else show(Number(cell.dataset.layer), Number(cell.dataset.head));
  }

  function draw() {
    const {overview, theme} = frame;
    const {width, height, place, cellWidth, cellHeight} = geometry(overview, el.clientWidth);
    const ratio = fitCanvas(canvas, width, height);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    headings(context, ratio, overview, {place, cellWidth, cellHeight});
    const pixels = [Math.round(cellWidth * ratio), Math.round(cellHeight * ratio)];
    const image = context.createImageData(...pixels);
    for (const layer of overview.layers) {
      for (const head of overview.heads) {
        paint(image, headOf(overview, layer, head), palette(theme));
        const [x, y] = place(layer, head);
        context.putImageData(image, Math.round(x * ratio), Math.round(y * ratio));
      }
    }
    const {layers: {length: L}, heads: {length: H}} = overview;
    const name = `All heads: ${L} layers by ${H} heads. Arrow keys, then Enter.`;
    grid.setAttribute("aria-label", name);
    grid.setAttribute("aria-rowcount", L);
    grid.setAttribute("aria-colcount", H);
    mark(chosen, frame.layer, frame.head);
  }

  function mark(box, layer, head) {
    const {place, cellWidth, cellHeight} = geometry(frame.overview, el.clientWidth);
    const [x, y] = place(layer, head);
    box.style.transform = `translate(${x}px, ${y}px)`;
    box.style.width = `${cellWidth}px`;
    box.style.height = `${cellHeight}px`;
  }

  /** What a screen reader finds in the grid: the head under the cursor. */
  function name(layer, head) {
    const isChosen = layer === frame.layer && head === frame.head;
    Object.assign(cell.dataset, {layer, head});
    row.setAttribute("aria-rowindex", layer + 1);
    cell.setAttribute("aria-colindex", head + 1);
    cell.setAttribute("aria-selected", isChosen);
    caption.textContent = `L${layer} H${head}`;
    cell.setAttribute("aria-label", `layer ${layer}, head ${head}${isChosen ? ", chosen" : ""}`);
    mark(cell, layer, head);
  }

  function show(layer, head) {
    const {overview, theme} = frame;
    name(layer, head);
    preview.hidden = false;
    cell.classList.add("shown");
    const [, , n, m] = overview.attn.shape;
    const scale = PREVIEW / Math.max(n, m);
    fitCanvas(picture, Math.round(m * scale), Math.round(n * scale));
    const context = picture.getContext("2d");
    const image = context.createImageData(picture.width, picture.height);
    paint(image, headOf(overview, layer, head), palette(theme));
    context.putImageData(image, 0, 0);
    placeBeside(preview, cell, el);
  }

  function hide() {
    if (grid.matches(":focus-visible")) return;
    preview.hidden = true;
    cell.classList.remove("shown");
    name(frame.layer, frame.head);
  }

  function under(event) {
    const {left, top} = grid.getBoundingClientRect();
    return geometry(frame.overview, el.clientWidth).find(event.clientX - left, event.clientY - top);
  }

  function point(event) {
    const found = under(event);
    if (!found) return hide();
    const [layer, head] = found;
    if (preview.hidden || cell.dataset.layer !== `${layer}` || cell.dataset.head !== `${head}`) {
      show(layer, head);
    }
  }

  function choose(event) {
    const found = under(event);
    if (found) emit({layer: found[0], head: found[1]});
  }

  function step(event) {
    const {layers, heads} = frame.overview;
    const [layer, head] = [Number(cell.dataset.layer), Number(cell.dataset.head)];
    if (event.key === "Enter" || event.key === " ") emit({layer, head});
    else if (event.key in STEPS) {
      const [down, across] = STEPS[event.key];
      show(clamp(layer + down, layers.length), clamp(head + across, heads.length));
    } else return;
    event.preventDefault();
  }

  return {
    update,
    destroy() {
      stopResize();
      el.remove();
    }
  };
}

const clamp = (i, n) => Math.min(n - 1, Math.max(0, i));

/** Where each head is, in CSS pixels; a head keeps the shape of its text where that is sane. */
function geometry({layers, heads, attn: {shape: [, , n, m]}}, width) {
  const cellWidth = Math.max(8, Math.floor((width - EDGE.x - 2) / heads.length) - GAP);
  const cellHeight = Math.round(cellWidth * Math.min(1.5, Math.max(0.5, n / m)));
  const [dx, dy] = [cellWidth + GAP, cellHeight + GAP];
  return {
    width,
    height: EDGE.y + layers.length * dy,
    cellWidth,
    cellHeight,
    place: (layer, head) => [EDGE.x + head * dx, EDGE.y + layer * dy],
    find(x, y) {
      const [layer, head] = [Math.floor((y - EDGE.y) / dy), Math.floor((x - EDGE.x) / dx)];
      return layers.includes(layer) && heads.includes(head) ? [layer, head] : null;
    }
  };
}

function headings(context, ratio, {layers, heads}, {place, cellWidth, cellHeight}) {
  const style = getComputedStyle(context.canvas);
  context.font = `${12 * ratio}px ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  for (const head of heads) {
    context.fillText(head, (place(0, head)[0] + cellWidth / 2) * ratio, 12 * ratio);
  }
  context.textAlign = "left";
  context.textBaseline = "middle";
  for (const layer of layers) {
    context.fillText(layer, 2 * ratio, (place(layer, 0)[1] + cellHeight / 2) * ratio);
  }
}

/** Next to the head, inside the grid's width: under it, or over it in the lower half. */
function placeBeside(preview, cell, el) {
  const [box, head, outer] = [preview, cell, el].map((node) => node.getBoundingClientRect());
  const x = Math.min(head.left - outer.left, outer.width - box.width);
  const below = head.bottom - outer.top + 8;
  const above = head.top - outer.top - box.height - 8;
  const y = above >= 0 ? above : below;
  preview.style.transform = `translate(${Math.max(0, x)}px, ${y}px)`;
}
