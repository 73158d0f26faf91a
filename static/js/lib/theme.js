// Light or dark: as chosen, else as the system is.

import {byId, h} from "./dom.js";
import {_} from "./language.js";
import * as url from "./url.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** @returns {"light"|"dark"} */
export const themeOf = ({theme}) => (theme === "auto" ? (dark.matches ? "dark" : "light") : theme);

/** Call back when the system changes. */
export const onSystemTheme = (callback) => dark.addEventListener("change", callback);

/**
 * One button: the other theme.
 * @param {(patch: {theme: string}) => void} emit
 * @returns {(shown: "light"|"dark") => void}  the page, and the button, in a theme
 */
export function mountTheme(emit) {
  const button = h("button", {type: "button", class: "plain-button"});
  button.addEventListener("click", () => emit({theme: button.dataset.theme}));
  byId("theme").replaceChildren(button);

  return function update(shown) {
    const other = shown === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = shown;
    button.dataset.theme = other;
    button.textContent = other === "dark" ? _("Dark") : _("Light");
    button.setAttribute("aria-label", other === "dark" ? _("Dark theme") : _("Light theme"));
  };
}

/**
 * The theme of a page whose other choices the server reads: it is in the address alone.
 * @param {(shown: "light"|"dark", theme: string) => void} draw  at first, and in another theme
 */
export function mountThemeAlone(draw) {
  let {theme} = url.current().state;
  const update = mountTheme((patch) => {
    ({theme} = patch);
    url.setTheme(theme);
    render();
  });

  function render() {
    const shown = themeOf({theme});
    update(shown);
    draw(shown, theme);
  }

  onSystemTheme(render);
  render();
}
