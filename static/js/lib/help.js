// The page's own keys, and the dialog that names them.

import {byId} from "./dom.js";
import {keep, kept} from "./storage.js";

const main = () => byId("main");

function focusFirstText() {
  const fields = main().querySelectorAll("textarea, input:not([type]), input[type='text']");
  [...fields].find((field) => field.checkVisibility())?.focus();
}

function fullScreenOfAll() {
  if (document.fullscreenElement) document.exitFullscreen();
  else main().requestFullscreen?.();
}

/** @param {{focusText?: () => void, fullScreen?: () => void}} acts */
export function mountHelp({focusText = focusFirstText, fullScreen = fullScreenOfAll} = {}) {
  const dialog = byId("help");
  const open = () => dialog.open || dialog.showModal();
  const keys = {"?": open, "/": focusText, f: fullScreen, p: () => byId("present")?.click()};
  const isOn = byId("keys-on");
  isOn.checked = kept("keys") !== false;
  isOn.addEventListener("change", () => keep("keys", isOn.checked));
  byId("help-open").addEventListener("click", open);
  byId("full-screen")?.addEventListener("click", fullScreen);
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest?.("input, textarea, select");
    if (!isOn.checked || isTyping || event.ctrlKey || event.metaKey || event.altKey
      || dialog.open) return;
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
