// The notebook around a figure: whether it is light or dark, and its keys.

/** A colour as CSS has it, in sRGB bytes: [red, green, blue, alpha]. */
function bytes(color) {
  const context = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}

const isLight = ([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b > 127;

/** By the background that an element stands on, else by the colour of the text. */
export function hostTheme(el) {
  for (let node = el; node instanceof Element; node = node.parentNode?.host ?? node.parentNode) {
    const background = bytes(getComputedStyle(node).backgroundColor);
    if (background[3] > 127) return isLight(background) ? "light" : "dark";
  }
  return isLight(bytes(getComputedStyle(el).color)) ? "dark" : "light";
}

const SETTLED = 400; // ms in which a notebook loads the styles of another theme

/** Call back when the notebook, or the system, may have another theme. */
export function onHostTheme(callback, signal) {
  let timer = 0;
  const later = () => {
    callback();
    clearTimeout(timer);
    timer = setTimeout(callback, SETTLED);
  };
  const observer = new MutationObserver(later);
  for (const el of [document.documentElement, document.body]) {
    observer.observe(el, {attributes: true, attributeFilter: ["class", "style", "data-theme",
      "data-jp-theme-light", "data-jp-theme-name", "data-vscode-theme-kind"]});
  }
  observer.observe(document.head, {childList: true});
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later, {signal});
  signal.addEventListener("abort", () => {
    observer.disconnect();
    clearTimeout(timer);
  });
}

/** The keys that a figure answers to are not the notebook's shortcuts too. */
export function keepKeys(el) {
  el.dataset.lmSuppressShortcuts = "true"; // JupyterLab and Notebook look for this first
  el.addEventListener("keydown", (event) => event.defaultPrevented && event.stopPropagation());
}
