import {rooted} from "./root.js";

/** @param {Document|ShadowRoot} root */
export const byId = (id, root = document) => root.getElementById(id);

/** h("button", {class: "head", onclick: pick}, "H3"): children are text or nodes, never markup. */
export function h(tag, props = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") el.toggleAttribute(name, value);
    else el.setAttribute(name, name === "href" ? rooted(value) : value);
  }
  el.append(...children);
  return el;
}

/** An element of an SVG picture; what is undefined is left out. */
export function svg(tag, props = {}, ...children) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(props)) {
    if (value !== undefined) el.setAttribute(name, name === "href" ? rooted(value) : value);
  }
  el.append(...children);
  return el;
}

/** A canvas as sharp as the screen; answers its pixels for one CSS pixel. */
export function fitCanvas(canvas, width, height) {
  const ratio = globalThis.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  return ratio;
}

/** How much larger an element is drawn than its own CSS pixels: 1 but for the presenter. */
export const zoomOf = (el) => (el.offsetWidth && el.getBoundingClientRect().width
  / el.offsetWidth) || 1;

/** Call back when the element changes its size; answers a function that stops it. */
export function onResize(el, callback) {
  let last = "";
  const observer = new ResizeObserver(() => {
    const size = `${el.clientWidth}×${el.clientHeight}`;
    if (size === last) return;
    last = size;
    callback();
  });
  observer.observe(el);
  return () => observer.disconnect();
}

const FORWARD = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1};

/** Keys of a group of buttons that is one stop of Tab: arrows, Home and End move the focus. */
export function roving(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const i = buttons.indexOf(event.target);
  const n = buttons.length;
  const to = {Home: 0, End: n - 1}[event.key] ?? (i + FORWARD[event.key] + n) % n;
  if (i < 0 || Number.isNaN(to)) return;
  event.preventDefault();
  focusIn(buttons, to);
}

/** The one of the buttons that Tab finds; it gets the focus. */
export function focusIn(buttons, i) {
  for (const [j, button] of buttons.entries()) button.tabIndex = j === i ? 0 : -1;
  buttons[i].focus();
}

/**
 * Enter submits a form from any of its fields, and Shift+Enter is a new line. The Enter that ends
 * a composition does neither; Safari tells that one by its key code alone.
 */
export function submitOnEnter(form) {
  form.addEventListener("keydown", (event) => {
    if (!isEnter(event) || event.defaultPrevented
      || !event.target.matches("input, textarea")) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

const COMPOSING = 229;

/** Enter by itself. @param {KeyboardEvent} event */
export const isEnter = ({key, shiftKey, isComposing, keyCode}) =>
  key === "Enter" && !shiftKey && !isComposing && keyCode !== COMPOSING;

/** A select's options, replaced only if they are others, which it answers; its value stays where
 *  it can. */
export function fillSelect(select, entries) {
  const same = entries.map(([value, text]) => `${value}\t${text}`).join("\n")
    === Array.from(select.options, ({value, textContent}) => `${value}\t${textContent}`).join("\n");
  if (same) return false;
  const {value} = select;
  select.replaceChildren(...entries.map(([name, text]) => h("option", {value: name}, text)));
  if (entries.some(([name]) => `${name}` === value)) select.value = value;
  return true;
}
