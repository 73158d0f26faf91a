// The reader's own sentence in a step: its figure is replaced in place, the page stays where it is.

import {stepPage} from "./api.js";
import {dataOf} from "./data.js";
import {byId} from "./dom.js";
import * as url from "./url.js";

const fieldsOf = (form) => [...form.querySelectorAll("input[name^='text']")];

/**
 * Show another sentence when the form is sent, when the step's own is asked for, and on Back.
 * @param {(page: Object, isSeen: boolean) => Promise<void>|undefined} mount  an answer's figure
 */
export function mountSentence(mount) {
  const form = document.querySelector("form.own");
  if (!form) return;
  let request = new AbortController();
  let shown = url.path();

  async function load(address) {
    request.abort();
    shown = address;
    request = new AbortController();
    const {signal} = request;
    byId("figure-body").setAttribute("aria-busy", "true");
    try {
      replace(await stepPage(address, signal), mount);
    } catch (error) {
      if (!signal.aborted) showOnly(error.message);
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const texts = fieldsOf(form).map(({name, value, dataset}) =>
      [name, value.trim() && value !== dataset.own ? value : null]);
    url.goTo(texts);
    load(url.path());
  });
  byId("figure").addEventListener("click", (event) => {
    if (!event.target.closest(".own-default")) return;
    event.preventDefault();
    for (const field of fieldsOf(form)) field.value = field.dataset.own;
    form.requestSubmit();
    fieldsOf(form)[0].focus();
  });
  url.onMove(() => {
    if (url.path() === shown) return; // another place of the same page
    const given = url.texts();
    for (const field of fieldsOf(form)) field.value = given.get(field.name) || field.dataset.own;
    load(url.path());
  });
}

/** The figure of a page that was fetched, in place of the one that is shown. */
function replace(page, mount) {
  const isSeen = document.querySelector(".reveal")?.open ?? false;
  const body = document.importNode(page.getElementById("figure-body"), true);
  body.style.minHeight = `${byId("figure-body").offsetHeight}px`; // or the page would move
  byId("figure-body").replaceWith(body);
  for (const selector of ["link[rel=alternate]", "a.twin"]) {
    const [here, there] = [document, page].map((where) => where.querySelector(selector));
    here.setAttribute("href", there.getAttribute("href"));
  }
  Promise.resolve(mount(dataOf(page), isSeen)).finally(() => {
    body.style.minHeight = "";
  });
}

/** What went wrong, and no picture: what was shown belongs to another sentence. */
function showOnly(message) {
  const body = byId("figure-body");
  const problem = byId("figure-problem");
  problem.textContent = message;
  body.replaceChildren(problem);
  body.setAttribute("aria-busy", "false");
}
