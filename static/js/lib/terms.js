// Pointing at a symbol of a formula, or focusing its name, lights the cells that it is about.

const NTH = (n) => `.numbers tbody td:nth-child(${n})`;
const NAMES = ".numbers tbody th";
const ROW = (n) => `.numbers tbody tr:nth-child(${n}) > *`;

/** By the figure's name: a glossary entry -> its cells. Views that CSS lights are not here. */
const CELLS = {
  rows: {query: "tbody th", key: "thead th", attention: "tbody td"},
  alignment: {score: ".heatmaplayer"},
  context: {context: ".anatomy-own + .anatomy-own", state: ".anatomy-strip.v canvas"},
  vectors: {query: ".plane-0", key: ".plane-1", d_head: ".sums-vector"},
  temperature: {score: ".sums-vector", temperature: ".hand .choice", key: "tbody th"},
  shapes: {residual: ROW(1), query: ROW(3), key: ROW(3), value: ROW(3), d_head: ROW(3),
    softmax: ROW(4), output: ROW(5)},
  "softmax-row": {key: NAMES, query: NAMES, score: NTH(2)},
  values: {key: NAMES, query: NAMES, attention: NTH(2), value: NTH(3), output: NTH(4)},
  causal: {mask: ".heatmaplayer"},
  infinity: {key: NAMES, query: NTH(2), d_head: NTH(2), mask: NTH(3), attention: NTH(4),
    softmax: NTH(4)},
  scores: {d_head: ".heatmaplayer"},
  qkv: {residual: ".anatomy tbody th"},
  lengths: {residual: ".scatterlayer .trace:first-child"},
  sines: {position: ".ytick", d_model: ".xtick"},
  tied: {residual: NTH(3), softmax: NTH(2)}
};

/** @param {() => string} nameOf  the figure that is on the page now */
export function mountTerms(nameOf) {
  const root = document.querySelector(".learn-columns");
  const light = (event) => {
    const term = event.target.closest?.("[data-term]")?.dataset.term ?? "";
    if (root.dataset.lit === term) return;
    root.dataset.lit = term;
    const cells = term && CELLS[nameOf()]?.[term];
    for (const el of root.querySelectorAll(".lit, .lit-cell")) {
      el.classList.remove("lit", "lit-cell");
    }
    for (const el of term ? root.querySelectorAll(`[data-term="${term}"]`) : []) {
      el.classList.add(el.closest(".picture") ? "lit-cell" : "lit");
    }
    for (const el of cells ? root.querySelectorAll(`.picture :is(${cells})`) : []) {
      el.classList.add("lit-cell");
    }
  };
  for (const name of ["pointerover", "focusin"]) root.addEventListener(name, light);
  root.addEventListener("pointerleave", light);
}
