// Attention beside what each token contributes to a prediction by other methods, and a sentence on
// whether they agree.

import {attributions} from "./api.js";
import {css, signedColor, textOn} from "./color.js";
import {byId, h} from "./dom.js";
import {verdictOfTau} from "./honesty.js";
import {_} from "./language.js";
import {toCamel} from "./names.js";
import {showTable} from "./tablepicture.js";
import {label, tokenNode} from "./token.js";

/** What a method is called, and the property that it satisfies. */
const METHODS = {
  leaveOneOut: [_("leave one out"), _("the change when the token is deleted: the yardstick")],
  attention: [_("attention of the head"), _("sums to 1")],
  rollout: [_("attention rollout"), _("sums to 1")],
  flow: [_("attention flow"), _("within the capacity of two cuts")],
  norms: [_("norms of what the head writes"), _("the vectors sum to the head's output")],
  gradientAttention: [_("gradient × attention"), _("equals the slope of the largest cell")],
  gradientInput: [_("gradient × input"), _("sums to the slope along the input")],
  integratedGradients: [_("integrated gradients"), _("sums to the difference from an empty input")],
  valueZeroing: [_("value zeroing"), _("0 for masked keys")]
};
const REASONS = {
  "too-long": _("the text is too long for it"),
  "no-output-map": _("the head's output map was not found"),
  "edits-name-positions": _("edits name positions, which deleting moves"),
  "property-fails": _("its property does not hold here, so it is not drawn")
};

/**
 * Ask for them; each method is shown as it comes.
 * @param {Object} spec  @param {import("./view.js").Token[]} tokens
 * @param {(attributed: {key: string, tokens: Object[], methods: Object}) => void} show
 */
export async function attribute(spec, tokens, show) {
  const key = JSON.stringify(spec);
  let methods = {};
  const onEvent = (name, event) => {
    if (name !== "method") return;
    methods = {...methods, [toCamel(event.name)]: event};
    show({key, tokens, methods});
  };
  const [button, part] = ["attribute", "attributions-part"].map((id) => byId(id));
  button.disabled = true;
  part.ariaBusy = true;
  try {
    const {signal} = new AbortController();
    ({methods} = await attributions(spec, {signal, onEvent}));
    show({key, tokens, methods});
  } finally {
    button.disabled = false;
    part.ariaBusy = null;
  }
}

/** Those of the head on screen; those of another give way to the button that asks for them. */
export function showAttributions(attributed, spec, theme, words) {
  const isOwn = attributed?.key === JSON.stringify(spec);
  byId("attributions-part").hidden = !spec;
  byId("attribute").hidden = isOwn;
  byId("attributions").hidden = !isOwn;
  byId("agreement-said").hidden = !isOwn;
  if (isOwn) drawAttributions(attributed, theme, words);
}

/** One row for each method that has come, each scaled by its own largest value. */
function drawAttributions({tokens, methods}, theme, words) {
  const names = Object.keys(METHODS).filter((name) => methods[name]);
  const heading = (content) => h("th", {scope: "col"}, content);
  showTable(byId("attributions"), h("table", {class: "numbers lab-methods"},
    h("thead", {}, h("tr", {}, h("td"), ...tokens.map((token) => heading(tokenNode(token))),
      heading("τ"), heading(_("property")))),
    h("tbody", {}, ...names.map((name) => rowOf(name, methods[name], tokens, theme)))),
  {words, part: "attributions", sheet: () => sheetOf(names, methods, tokens)});
  byId("agreement-said").textContent = agreementOf(methods);
}

/** Tidy: a row for each method and token. */
const sheetOf = (names, methods, tokens) => ({
  columns: ["method", "position", "token", "value", "tau"],
  rows: names.flatMap((name) => methods[name].values.map((value, i) =>
    [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), i, tokens[i].text,
      value ?? NaN, methods[name].tau ?? NaN]))});

function rowOf(name, {values, complete, reason, tau}, tokens, theme) {
  const [title, property] = METHODS[name];
  const most = Math.max(1e-12, ...values.map((value) => Math.abs(value ?? 0)));
  const cell = (value, i) => {
    const td = h("td", {class: "n", title: label(tokens[i])}, value === null ? ""
      : value.toFixed(2).replace("-0.00", "0.00").replace("-", "−"));
    const bytes = signedColor((value ?? 0) / most, theme);
    td.style.background = css(bytes);
    td.style.color = textOn(bytes);
    return td;
  };
  const cells = values.length ? values.map(cell)
    : [h("td", {colspan: tokens.length}, REASONS[reason] ?? reason)];
  const distance = complete ? `${property} (${complete.number.toExponential(0)
    .replace("-", "−")})` : property;
  return h("tr", {}, h("th", {scope: "row"}, title), ...cells,
    h("td", {class: "n"}, tau === null ? "" : tau.toFixed(2).replace("-", "−")),
    h("td", {}, distance));
}

/** Whether the head's attention and the effect of deleting a token agree. */
function agreementOf({attention}) {
  const tau = attention?.tau ?? null;
  if (tau === null) return "";
  const values = {tau: tau.toFixed(2).replace("-", "−")};
  if (verdictOfTau(tau) === "agree") {
    return _("Attention and effect agree here: the tokens this head looks at most are those whose deletion changes the prediction most (Kendall's τ = {tau}).", values);
  }
  return verdictOfTau(tau) === "differ"
    ? _("Attention and effect do not agree here: where this head looks says little about which tokens the prediction depends on (Kendall's τ = {tau}).", values)
    : _("Attention and effect agree in part here (Kendall's τ = {tau}, 1 is the same order).", values);
}
