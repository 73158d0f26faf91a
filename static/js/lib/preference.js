// A reward and its penalty under the reader's hand: the distributions come from the server.

import {h, svg} from "./dom.js";
import {_} from "./language.js";

/**
 * A rule, a slider for β, and the next token's probabilities before and after.
 * @param {HTMLElement} root  @param {HTMLElement} result
 * @param {(patch: Object) => void} change
 * @returns {(state: {rules: Object[], betas: number[], rule: number, beta: number}) => void}
 */
export function mountPreference(root, result, change) {
  const rule = h("select", {onchange: () => change({rule: Number(rule.value)})});
  const beta = h("input", {type: "range", min: 0, step: 1,
    oninput: () => change({beta: beta.valueAsNumber})});
  const value = h("output");
  root.classList.add("preference");
  root.replaceChildren(h("label", {class: "choice"}, `${_("reward r")} `, rule),
    h("label", {class: "choice"}, "β ", beta, " ", value));
  return (state) => {
    if (!rule.options.length) {
      rule.append(...state.rules.map(({name}, i) => h("option", {value: i}, name)));
      beta.max = state.betas.length - 1;
    }
    rule.value = state.rule;
    beta.value = state.beta;
    value.textContent = `${state.betas[state.beta]}`;
    beta.setAttribute("aria-valuetext", value.textContent);
    result.replaceChildren(...drawn(state.rules[state.rule], state.beta, state.betas));
  };
}

function drawn({tokens, rewards, before, after, reward, means, kl}, i, betas) {
  const gain = (means[i] - betas[i] * kl[i]).toFixed(2);
  const most = Math.max(...before, ...after[i]);
  const best = after[i].indexOf(Math.max(...after[i]));
  const rows = tokens.map((token, k) => h("tr", k === best ? {class: "most"} : {},
    h("th", {scope: "row"}, h("bdi", {}, token)), h("td", {class: "n"}, rewards[k].toFixed(1)),
    bar(before[k], most), bar(after[i][k], most)));
  const headings = [_("candidate"), "r", "π₀", "π"].map((name, k) =>
    h("th", k === 1 ? {scope: "col", class: "n"} : {scope: "col"}, name));
  return [
    h("p", {class: "preference-sums", role: "status"},
      _("mean reward {before} → {after} · KL {kl} nats · r − β · KL = {gain}",
        {before: reward.toFixed(2), after: means[i].toFixed(2), kl: kl[i].toFixed(2), gain})),
    h("table", {class: "numbers bars"}, h("thead", {}, h("tr", {}, ...headings)),
      h("tbody", {}, ...rows))
  ];
}

function bar(value, most) {
  const share = svg("svg", {class: "share", viewBox: "0 0 1 1", preserveAspectRatio: "none",
    "aria-hidden": true}, svg("rect", {width: value / most, height: 1}));
  return h("td", {class: "n bar"}, share, value.toFixed(3));
}
