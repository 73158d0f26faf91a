// The words around the picture: the head's numbers, the predictions, what went wrong, provenance.

import {POWER, absent, css, stops} from "./color.js";
import {h} from "./dom.js";
import {distance, entropy, firstToken, previousToken} from "./metrics.js";
import {headOf} from "./tensor.js";
import {tokenNode} from "./token.js";

const byId = (id) => document.getElementById(id);
const strong = (text) => h("b", {}, text);
const quote = (text) => `“${text.length > 80 ? `${text.slice(0, 79)}…` : text}”`;

/** Scale, head title and numbers, predictions and provenance of what is drawn. */
export function showPicture(state, theme, links) {
  const {record, run} = state;
  const [layer, head] = [record.layers[0], record.heads[0]];
  byId("head-title").textContent = `Layer ${layer} · Head ${head}`;
  byId("stats").replaceChildren(...stats(record));
  byId("predictions").replaceChildren(...predictions(run));
  byId("legend").replaceChildren(...legend(theme, record));
  byId("foot").hidden = false;
  byId("foot").replaceChildren(h("span", {}, provenance(state, layer, head)), links);
}

/** The scale is labelled in attention; its colours follow the power. */
function legend(theme, {mask}) {
  const bar = h("span", {class: "scale"});
  const colors = stops(theme).map(([, color]) => color);
  bar.style.background = `linear-gradient(90deg, ${colors.join(", ")})`;
  const swatch = h("span", {class: "scale swatch"});
  swatch.style.background = css(absent(theme));
  const masked = mask.data.includes(0) ? [swatch, "masked"] : [];
  return ["0", bar, "1", h("span", {class: "power"}, `colour = attention^${POWER}`), ...masked];
}

function stats(record) {
  const {attn} = headOf(record);
  const numbers = [["entropy", entropy(attn).toFixed(2), " nats"]];
  if (record.kind !== "cross") { // positions of two sequences have no distance
    numbers.push(["distance", distance(attn).toFixed(1), ""]);
    numbers.push(["previous token", previousToken(attn).toFixed(2), ""]);
  }
  numbers.push(["first token", firstToken(attn).toFixed(2), ""]);
  return numbers.map(([name, value, unit]) => h("span", {}, `${name} `, strong(value), unit));
}

function predictions({predictions: found, target, targetDecoded}) {
  if ("nextToken" in found) return ["Next token ", ...candidates(found.nextToken)];
  if ("translation" in found) {
    const how = targetDecoded ? "decoded by the model" : "given";
    const logProbability = found.logProbability.toFixed(2);
    const said = h("bdi", {class: "said"}, targetDecoded ? found.translation : target);
    return ["Translation ", said, ` ${how}, log-probability `, strong(logProbability)];
  }
  const masks = found.masks.flatMap(({position, candidates: best}) =>
    [`[MASK] at ${position} `, ...candidates(best)]);
  const next = found.isNext ?? null;
  const follows =
    next === null ? [] : ["The second sentence follows the first ", strong(next.toFixed(2))];
  const hint = "Write [MASK] in the text and the model fills it in.";
  return masks.length || follows.length ? [...masks, ...follows] : [hint];
}

function candidates(best) {
  return best.slice(0, 5).map(({token, text, probability}) => h("span", {class: "candidate"},
    tokenNode({raw: token, text}), " ", h("span", {class: "n"}, probability.toFixed(2))));
}

function provenance({run, special, merge}, layer, head) {
  const {model, sha256, dtype} = run.provenance;
  const hidden = "special tokens hidden, rows sum to less than 1";
  const parts = [model, `weights ${sha256.slice(0, 8)}`, dtype, `layer ${layer}, head ${head}`];
  if (merge === "words") parts.push("pieces merged into words");
  return [...parts, special === "hide" ? hidden : "rows sum to 1"].join(" · ");
}

/** What went wrong, and what there is to know: both are read aloud when they change. */
export function showMessages({problem, draft, record, text, notice, ignored}) {
  say("problem", problem ?? "");
  const isStale = problem && draft && record;
  const stale = isStale ? `The picture is of the earlier text: ${quote(text)}` : "";
  const skipped = ignored.length ? `Ignored from the address: ${ignored.join(", ")}.` : "";
  say("notice", [notice, stale, skipped].filter(Boolean).join(" "));
  byId("picture").classList.toggle("stale", stale !== "");
}

function say(id, text) {
  const el = byId(id);
  if (el.textContent !== text) el.textContent = text;
}

/** The ways out: the address of this picture, and its numbers in each format. */
export function waysOut(links, copy) {
  const said = h("span", {role: "status"});
  const button = h("button", {type: "button", class: "plain-button", onclick: async () => {
    said.textContent = (await copy()) ? "copied" : "copy it from the address bar";
  }}, "Copy link");
  const anchors = links.map(([name, href]) => h("a", {href}, name));
  return h("span", {class: "ways"}, said, button, ...anchors);
}
