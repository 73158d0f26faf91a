// A model that is not in memory: opened by its name, with how far that is, and why it cannot be; or
// a file of attention, which is sent.

import {openModel, sendRecord} from "./api.js";
import {h, isEnter} from "./dom.js";
import {_} from "./language.js";
import {keepForTab, keptForTab} from "./storage.js";
import * as url from "./url.js";

const TOKEN = "open-token"; // in the tab's session storage, and nowhere else
const NO_TOKEN = 401;
const STAGES = {
  looking: ({name}) => _("Looking for {name}", {name}),
  downloading: ({file}) => _("Fetching {file}", {file}),
  converting: ({file}) => _("Unpacking {file}, this once; it takes up to a minute", {file}),
  loading: ({megabytes}) => _("Loading {megabytes} MB of weights", {megabytes}),
  trying: () => _("Trying it on a few tokens")
};
const REASONS = {
  "not-found": _("Not found"),
  offline: _("No connection"),
  "no-safetensors": _("No safetensors"),
  "no-tokenizer": _("No tokenizer"),
  "missing-package": _("Package missing"),
  damaged: _("Damaged"),
  "remote-code": _("Needs code of its own"),
  "too-large": _("Too large"),
  "no-memory": _("Not enough memory"),
  "no-space": _("No space"),
  "too-slow": _("Too slow"),
  "not-text": _("Not a text model"),
  unsupported: _("Not supported")
};

/**
 * The line below the form, alive.
 * @param {(model: Object) => void} onOpened  gets the model's summary
 * @returns {(name: string) => Promise<boolean>} open a model; whether it is open
 */
export function mountOpening(form, onOpened) {
  const part = form.querySelector(".open-model");
  const line = form.querySelector(".opening");
  const [said, bar] = [line.querySelector("[role=status]"), line.querySelector("progress")];
  let pending = new AbortController();

  function tell({stage, file = "", bytes = 0, total = 0}, name) {
    const text = `${STAGES[stage]({name, file, megabytes: (total / 1e6).toFixed(0)})} …`;
    if (said.textContent !== text) said.textContent = text; // not read aloud for every byte
    bar.hidden = !total || stage !== "downloading";
    bar.max = total || 1;
    bar.value = bytes;
  }

  async function open(name) {
    pending.abort();
    pending = new AbortController();
    const {signal} = pending;
    line.hidden = false;
    line.classList.remove("refused");
    tell({stage: "looking"}, name);
    try {
      const token = keptForTab(TOKEN);
      const onProgress = (step) => tell(step, name);
      const model = await openModel(name, {signal, onProgress, token});
      said.textContent = "";
      line.hidden = true;
      onOpened(model);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      const reason = REASONS[error.reason];
      said.textContent = reason ? `${reason}: ${error.message}` : error.message;
      bar.hidden = true;
      line.classList.add("refused");
      if (part && error.status === NO_TOKEN) askToken(part, name);
      return false;
    }
  }

  if (part) listen(part, open, line);
  return open;
}

/** A file of attention is sent when it is chosen, and its page opened. */
function mountSending(part, line) {
  const [said, bar] = [line.querySelector("[role=status]"), line.querySelector("progress")];
  const chosen = part.querySelector("input[type=file]");

  async function send(file) {
    line.hidden = false;
    line.classList.remove("refused");
    bar.hidden = true;
    said.textContent = `${file.name} …`;
    try {
      const {signal} = new AbortController();
      const {record, text} = await sendRecord(file, {signal, token: keptForTab(TOKEN)});
      h("a", {href: url.pageOf("explore", {model: record, text})}).click();
    } catch (error) {
      said.textContent = error.message;
      line.classList.add("refused");
      if (error.status === NO_TOKEN) askToken(part, "");
    }
  }

  chosen.addEventListener("change", async () => {
    const [file] = chosen.files;
    if (file) await send(file);
    chosen.value = "";
  });
}

/** Show the field for the token; what was sent is forgotten, since it was refused. */
function askToken(part, name) {
  const [field, token] = part.querySelectorAll("input");
  keepForTab(TOKEN, "");
  field.value ||= name;
  part.open = true;
  token.closest("label").hidden = false;
  token.value = "";
  token.focus();
}

/** The field for a name, and its button; that for the token, if the server asks for one. */
function listen(part, open, line) {
  mountSending(part, line);
  const [field, token] = part.querySelectorAll("input");
  const act = async () => {
    const name = field.value.trim();
    if (token.value) keepForTab(TOKEN, token.value.trim());
    if (name && await open(name)) {
      field.value = token.value = "";
      token.closest("label").hidden = true;
      part.open = false;
    }
  };
  part.hidden = false;
  if (url.hash() === "#own") {
    part.open = true;
    // once the browser has gone to that part of the page, which takes the focus away
    addEventListener("load", () => setTimeout(() => field.focus()));
  }
  part.querySelector("button").addEventListener("click", act);
  for (const input of [field, token]) {
    input.addEventListener("keydown", (event) => {
      if (!isEnter(event)) return;
      event.preventDefault();
      act();
    });
  }
}
