// A model's card, and the page of all models: their plots and the theme.

import {contextOf, showBadge} from "../lib/context.js";
import {pageData} from "../lib/data.js";
import {byId} from "../lib/dom.js";
import {mountHelp} from "../lib/help.js";
import {_} from "../lib/language.js";
import {curves} from "../lib/plot.js";
import {METRIC_NAMES} from "../lib/reading.js";
import {mountThemeAlone} from "../lib/theme.js";
import * as url from "../lib/url.js";

const page = pageData();

/** Loss by tokens seen: the batches' own, and on text that is held out. */
function drawCurve() {
  const {curve} = page.card;
  const x = curve.map(({tokens}) => tokens);
  const line = (name, key, chosen) => ({name, x, y: curve.map((row) => row[key]), chosen});
  return curves(byId("curve"), {
    lines: [line(_("training"), "loss", false), line(_("held out"), "heldOutLoss", true)],
    x: _("tokens seen"),
    y: _("loss, nats")
  });
}

/** Every head's score as training went on; the one that ends highest stands out. */
function drawForming() {
  const {metric} = page;
  const forming = page.forming.filter(({tokens}) => tokens > 0); // the axis is logarithmic
  const {layer, head, scores} = forming.at(-1);
  const x = forming.map(({tokens}) => tokens);
  const lines = scores.flatMap((row, l) => row.map((score, h) => ({
    name: `L${l} H${h}`, x, y: forming.map((step) => step.scores[l][h]),
    chosen: l === layer && h === head
  })));
  return curves(byId("forming"), {
    lines, x: _("tokens seen"), y: METRIC_NAMES[metric] ?? metric.replaceAll("_", " "), log: true
  });
}

showBadge(contextOf("/models", url.search()));
url.linkLanguage(byId("language"));
mountHelp();
mountThemeAlone((shown, theme) => {
  for (const link of document.querySelectorAll(".choose a")) {
    if (theme !== "auto") link.href = url.themed(link.href, theme);
  }
  if (page.card?.curve.length) drawCurve();
  if (page.forming?.length) drawForming();
});
