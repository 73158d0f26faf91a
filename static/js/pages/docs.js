// The API's documentation: Swagger UI, in the page's theme.

import {mountTheme} from "../lib/controls.js";
import {mountHelp} from "../lib/help.js";
import * as url from "../lib/url.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
let {theme} = url.current().state;
const shown = () => (theme === "auto" ? (dark.matches ? "dark" : "light") : theme);
const updateTheme = mountTheme((patch) => {
  theme = patch.theme;
  url.setTheme(theme);
  render();
});

function render() {
  const root = document.documentElement;
  root.dataset.theme = shown();
  root.classList.toggle("dark-mode", shown() === "dark"); // as Swagger UI names it
  updateTheme(shown());
}

globalThis.SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger", deepLinking: true});
url.linkLanguage(document.getElementById("language"));
mountHelp();
dark.addEventListener("change", render);
render();
