// The course: a step's figure on the reader's sentence, questions, formulas, keys, progress.

import {pageData} from "../lib/data.js";
import {byId, h} from "../lib/dom.js";
import {mountHelp} from "../lib/help.js";
import {_} from "../lib/language.js";
import {mountLecture} from "../lib/lecture.js";
import {forget, markAnswer, markSeen, progress} from "../lib/progress.js";
import {mountSentence} from "../lib/sentence.js";
import {mountFigure} from "../lib/step.js";
import {mountTerms} from "../lib/terms.js";
import {mountThemeAlone} from "../lib/theme.js";
import * as url from "../lib/url.js";
import * as anatomyView from "../views/anatomy.js";
import * as grid from "../views/grid.js";
import * as lines from "../views/lines.js";
import * as matrix from "../views/matrix.js";
import * as table from "../views/table.js";
import * as tokens from "../views/tokens.js";

const VIEWS = {lines: [lines], matrix: [matrix], tokens: [tokens], table: [table],
  anatomy: [anatomyView], scores: [matrix], grid: [grid, matrix]};

const page = pageData();
const article = document.querySelector("article.learn");

// Questions.

function mountQuestions() {
  const {answers} = progress();
  for (const item of document.querySelectorAll(".question")) {
    const {question, answer} = item.dataset;
    const verdict = item.querySelector(".verdict");
    if (question in answers) item.classList.add(answers[question] ? "was-right" : "was-wrong");
    item.addEventListener("change", ({target}) => {
      const isRight = target.value === answer;
      verdict.textContent = isRight ? _("Right.") : _("Not right.");
      markAnswer(question, isRight);
      item.querySelector(".answer").open = true;
      for (const input of item.querySelectorAll("input")) input.disabled = true;
    });
  }
}

// Keys, progress.

const MOVES = {ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1};

/**
 * Left and right turn the page, but not in a control or a picture that has arrow keys itself. In a
 * presentation they first go through what is shown one at a time, and Enter shows what is hidden.
 */
function mountKeys() {
  const lecture = article?.matches(".present") ? mountLecture(article) : null;
  document.addEventListener("keydown", (event) => {
    const {target, key} = event;
    const isPlain = target === document.body || target.closest?.(".steps, .turn");
    if (!isPlain || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const by = MOVES[key];
    if (by) {
      event.preventDefault();
      const turn = document.querySelector(`.turn [rel='${by > 0 ? "next" : "prev"}']`);
      if (!lecture?.move(by)) turn?.click();
    } else if (key === "Enter" && lecture?.reveal()) event.preventDefault();
  });
}

function mountProgress() {
  if (page.step) markSeen(`${page.chapter}/${page.step.id}`);
  const {seen} = progress();
  for (const link of document.querySelectorAll("[data-seen]")) {
    link.classList.toggle("seen", seen.includes(link.dataset.seen));
  }
  const resume = document.querySelector(".learn-resume");
  const last = seen.at(-1);
  const link = last && document.querySelector(`.chapter-steps [data-seen="${last}"]`);
  if (resume && link) {
    resume.append(h("a", {href: link.href}, _("Go on where you were: {title}",
      {title: link.textContent})));
  }
  const button = byId("forget");
  if (!button) return;
  button.hidden = !seen.length;
  button.addEventListener("click", () => {
    forget();
    for (const shown of document.querySelectorAll(".seen")) shown.classList.remove("seen");
    button.hidden = true;
    resume.replaceChildren();
  });
}

const printButton = byId("print");
if (printButton) {
  printButton.hidden = false;
  printButton.addEventListener("click", () => globalThis.print());
}
if (byId("language")) url.linkLanguage(byId("language"));
mountHelp();
mountKeys();
mountProgress();
mountQuestions();
if (page.step) mountTerms(() => page.step.figure?.name);
mountThemeAlone(mountStep());

/** The step's figure, which another sentence replaces; it is drawn in the page's theme. */
function mountStep() {
  let figure = null;
  let theme = "light";
  const mount = (made, isSeen = false) => {
    figure?.leave();
    const isDrawn = made.step?.figure && !made.step.figure.problem;
    figure = isDrawn ? mountFigure(made, VIEWS, isSeen) : null;
    return figure?.draw(theme);
  };
  mount(page);
  mountSentence(mount);
  return (next) => {
    theme = next;
    figure?.draw(theme);
  };
}
