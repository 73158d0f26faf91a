// A line from an annotation to what it is about, over a picture.

import {onResize, svg, zoomOf} from "./dom.js";

/** Where an element is, in the CSS pixels of a frame that is zoomed. */
function boxOf(el, zoom) {
  const {left, right, top, bottom, width} = el.getBoundingClientRect();
  return {left: left / zoom, right: right / zoom, top: top / zoom, bottom: bottom / zoom,
    width: width / zoom};
}

/**
 * @param {HTMLElement} frame  holds both, and is positioned
 * @param {HTMLElement} note  @param {() => Element|null} targetOf  null draws no line
 * @returns {() => void}  draws it again
 */
export function mountLeader(frame, note, targetOf) {
  const path = svg("path", {class: "leader-line"});
  const dot = svg("circle", {class: "leader-dot", r: 3});
  const overlay = svg("svg", {class: "leader", "aria-hidden": "true"}, path, dot);
  frame.append(overlay);

  function draw() {
    const target = targetOf();
    overlay.toggleAttribute("hidden", !target);
    if (!target) return;
    const zoom = zoomOf(frame);
    const [origin, from, to] = [frame, note, target].map((el) => boxOf(el, zoom));
    const x1 = to.left - origin.left + Math.min(to.width / 2, 40);
    const [least, most] = [from.left - origin.left + 12, from.right - origin.left - 12];
    const [x0, y0] = [Math.max(least, Math.min(most, x1)), from.bottom - origin.top];
    const y1 = Math.max(y0 + 4, to.top - origin.top);
    const bend = (y1 - y0) / 2;
    path.setAttribute("d",
      `M${x0} ${y0} C${x0} ${y0 + bend} ${x1} ${y1 - bend} ${x1} ${y1}`);
    dot.setAttribute("cx", x1);
    dot.setAttribute("cy", y1);
  }

  onResize(frame, draw);
  return draw;
}
