// The API's documentation: Swagger UI, in the page's theme.

import {byId} from "../lib/dom.js";
import {mountHelp} from "../lib/help.js";
import {mountThemeAlone} from "../lib/theme.js";
import {rooted} from "../lib/root.js";
import * as url from "../lib/url.js";

globalThis.SwaggerUIBundle({url: rooted("/openapi.json"), dom_id: "#swagger", deepLinking: true});
url.linkLanguage(byId("language"));
mountHelp();
mountThemeAlone((shown) => { // as Swagger UI names it
  document.documentElement.classList.toggle("dark-mode", shown === "dark");
});
