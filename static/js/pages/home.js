// The first page: a picture that follows the pointer, and the way back to where the reader was.

import {attention} from "../lib/api.js";
import {pageData} from "../lib/data.js";
import {byId} from "../lib/dom.js";
import {mountHelp} from "../lib/help.js";
import {lastPage} from "../lib/last.js";
import {mountThemeAlone} from "../lib/theme.js";
import * as url from "../lib/url.js";
import {frame} from "../lib/view.js";
import * as lines from "../views/lines.js";
import * as tokens from "../views/tokens.js";

const data = pageData();
const narrow = matchMedia("(max-width: 760px)");

function showLast() {
  const last = lastPage();
  const link = byId("again").querySelector("a");
  byId("again").hidden = !last;
  if (!last) return;
  link.href = last.href;
  link.textContent = last.title.replace(" · Attention Atlas", "");
}

/** The picture: a click locks a word, here as in the explorer. */
async function mountPicture() {
  const {model, text, kind, layer, head, query} = data;
  const panel = byId("view");
  panel.ariaBusy = true;
  const record = await attention({model, text, kind, layer, head}, {}).finally(() => {
    panel.ariaBusy = null;
  });
  let state = {record, layer, head, query, side: "query", threshold: 0.05, theme: "light"};
  panel.replaceChildren();
  const view = (narrow.matches ? tokens : lines).mount(panel, (patch) => draw(patch));
  const draw = (patch) => {
    state = {...state, ...patch};
    view.update(frame(state));
  };
  return draw;
}

showLast();
url.linkLanguage(byId("language"));
mountHelp();
const picture = data.problem ? null : mountPicture();
mountThemeAlone((theme) => picture?.then((draw) => draw({theme})).catch((error) => {
  byId("problem").textContent = error.message;
}));
