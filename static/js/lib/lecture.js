// A step in a presentation: one screen without scrolling, one question or piece of code at a time.

import {h} from "./dom.js";

const LEAST = 0.5; // no smaller than this, whatever does not fit
const STEP = 0.05;
const EDGE = 12; // CSS pixels beneath the step
const ONE_BY_ONE = ".question, .learn-text > .code";
const HIDDEN = ".learn .reveal:not([open]), .question:not([hidden]) .answer:not([open])";

/** @returns {{move: (by: number) => boolean, reveal: () => boolean}} whether there was a part */
export function mountLecture(article) {
  const parts = [...article.querySelectorAll(ONE_BY_ONE)];
  const place = h("span", {class: "lecture-place", role: "status"});
  article.querySelector(".learn-tools").prepend(place);
  let index = 0;
  let frame = 0;

  function show() {
    for (const [i, part] of parts.entries()) part.hidden = i !== index;
    place.textContent = parts.length > 1 ? `${index + 1} / ${parts.length}` : "";
    fit(article);
  }

  const later = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => fit(article));
  };
  new MutationObserver(later).observe(article, {subtree: true, attributes: true,
    attributeFilter: ["open", "data-ready", "disabled"]});
  addEventListener("resize", later);
  const grown = new ResizeObserver(later); // a map is drawn again when its place has another width
  for (const column of article.querySelectorAll(".learn-columns > *")) grown.observe(column);
  document.fonts?.ready.then(later);
  show();

  return {
    move(by) {
      if (!(index + by in parts)) return false;
      index += by;
      show();
      return true;
    },
    reveal() {
      const next = document.querySelector(HIDDEN);
      if (next) next.open = true;
      return Boolean(next);
    }
  };
}

/** Each column as large as fits on the screen beside the other; at most its own size. */
function fit(article) {
  const columns = article.querySelectorAll(".learn-columns > *");
  const top = Math.max(...[...columns].map((column) => column.getBoundingClientRect().top))
    + scrollY;
  for (const column of columns) {
    const scrolling = [...column.querySelectorAll("*")].filter(mayScroll);
    for (let zoom = 1; zoom >= LEAST; zoom -= STEP) {
      column.style.zoom = zoom.toFixed(2);
      const {height} = column.getBoundingClientRect();
      if (top + height + EDGE <= innerHeight && !scrolling.some(scrolls)) break;
    }
  }
}

const SCROLL = /auto|scroll/;

const mayScroll = (el) => el instanceof HTMLElement
  && SCROLL.test(getComputedStyle(el).overflow) && el.getClientRects().length > 0;

function scrolls(el) {
  const {overflowX, overflowY} = getComputedStyle(el);
  return (SCROLL.test(overflowX) && el.scrollWidth > el.clientWidth + 1)
    || (SCROLL.test(overflowY) && el.scrollHeight > el.clientHeight + 1);
}
