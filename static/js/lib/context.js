// The context that travels from page to page: sentence, model, kind, layer, head and token. It is
// read from a page's address and written into another page's. Its twin is app/context.py, which
// also hands over the table of names.

import {byId, fillSelect} from "./dom.js";
import {roleText} from "./reading.js";
import * as url from "./url.js";

const table = JSON.parse(byId("context")?.textContent ?? "null");

const pageAt = (path) => table.pages[path] ?? table.elsewhere;
const nameIn = ({names}, key) => names[key] ?? key;
const isNumber = (value) => /^\d+$/.test(value);

/** The context of a page's address. @returns {Object<string, string>} */
export function contextOf(path, search) {
  const page = pageAt(path);
  const params = new URLSearchParams(search);
  const values = Object.fromEntries(table.keys.map((key) =>
    [key, params.get(nameIn(page, key)) ?? ""]));
  if (page.is_batch) values.text = values.text.split("\n")[Number(params.get("row") ?? 0)] ?? "";
  for (const key of ["layer", "head", "query"]) if (!isNumber(values[key])) values[key] = "";
  return page.kind && page.kind !== "first" ? {...values, kind: page.kind} : values;
}

/** The pages on which the head of a context has a meaning. */
function seenIn({model, kind}) {
  const kinds = table.suited[model] ?? {};
  return kinds[kind || Object.keys(kinds)[0]] ?? [];
}

/** A page's address in a context; a head goes along where it has a meaning. */
export function addressIn(context, path) {
  const page = pageAt(path);
  const keepsHead = !page.has_head || seenIn(context).includes(path);
  const parts = table.keys.filter((key) => {
    const name = nameIn(page, key);
    const isLeft = !context[key] || !name || (table.head.includes(key) && !keepsHead)
      || (key === "kind" && page.kind) || (name === "word" && context.side === "key");
    return !isLeft;
  }).map((key) => [nameIn(page, key), page.is_batch && key === "text"
    ? `${context[key]}\n${table.batch}` : context[key]]);
  return url.inThisLanguage(path, Object.fromEntries(parts));
}

/** The top bar leads into the context of the address, from when something was chosen. */
export function refreshBar() {
  if (!table) return;
  const isChosen = pageAt(table.path).keeps_first || !url.isUntouched();
  const context = isChosen ? contextOf(table.path, url.search()) : {};
  for (const link of document.querySelectorAll("a[data-page]")) {
    link.href = addressIn(context, link.dataset.page);
  }
}

/**
 * The links of "see in" lead to the head on screen, on the pages where it has a meaning.
 * @param {string} search  what is on screen, as the page's address has it
 * @param {Object<string, string>} more  what of it no address has
 */
export function refreshSeeIn(search, {token = "", ...more}) {
  if (!table) return;
  const shown = {...contextOf(table.path, search), ...more};
  if (byId("context-token")) byId("context-token").textContent = token;
  showBadge(shown);
  const paths = seenIn(shown);
  for (const link of document.querySelectorAll("a[data-see]")) {
    link.hidden = !paths.includes(link.dataset.see);
    link.href = addressIn(shown, link.dataset.see);
  }
}

/** What the model's card calls the head of a context, in the bar. */
export function showBadge({model, kind, layer, head}) {
  const slot = byId("badge");
  if (!slot || !table) return;
  const kinds = table.badges[model] ?? {};
  const first = Object.keys(table.suited[model] ?? {})[0];
  const role = layer === "" || head === "" ? null : kinds[kind || first]?.[`${layer}.${head}`];
  const {text, title} = role ? roleText(role, table.definitions) : {text: "", title: ""};
  slot.textContent = text;
  slot.title = title;
}

const range = (n) => Array.from({length: n}, (none, i) => [`${i}`, `${i}`]);

/** The layers and heads that a model has, in the fields of the context bar. */
export function fillHeads({elements: {layer, head}}, [nLayer, nHead]) {
  if (layer) fillSelect(layer, range(nLayer));
  const mean = [...head?.options ?? []].filter(({value}) => value === "mean")
    .map(({value, textContent}) => [value, textContent]);
  if (head) fillSelect(head, [...mean, ...range(nHead)]);
}
