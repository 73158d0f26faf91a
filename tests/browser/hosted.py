"""Widgets in a page that is no notebook: what anywidget's front end does, with Python behind."""

from __future__ import annotations

import base64
import json
from typing import Any

from playwright.sync_api import Locator, Page

from attention_atlas.widget import SHARED, Widget

BYTES = ("_overview", "_attention", "_metrics")
MODEL = """async ([module, state, n]) => {
  const listeners = {};
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const tell = (name, ...values) => {
    for (const each of listeners[name] ?? []) each(...values);
  };
  const model = {
    get: (key) => state[key],
    set(key, value) {
      if (Object.is(state[key], value)) return;
      state[key] = value;
      tell(`change:${key}`);
    },
    save_changes: () => globalThis.saved(n, JSON.stringify(state)),
    on: (name, each) => (listeners[name] ??= new Set()).add(each),
    off: (name, each) => listeners[name]?.delete(each),
    async send(content) {
      const [answer, parts] = JSON.parse(await globalThis.asked(n, JSON.stringify(content)));
      tell("msg:custom", answer, parts.map(bytes));
    }
  };
  for (const key of ["_overview", "_attention", "_metrics"]) state[key] = bytes(state[key]);
  const source = URL.createObjectURL(new Blob([module], {type: "text/javascript"}));
  const {default: widget} = await import(source);
  const el = document.body.appendChild(document.createElement("div"));
  el.id = `widget-${n}`;
  (globalThis.widgets ??= [])[n] = {model, el, destroy: widget.render({model, el})};
}"""


class Hosted:
    """The widgets of a page, and what they have asked."""

    def __init__(self, page: Page) -> None:
        self.page, self.widgets = page, list[Widget]()
        self.asked: list[dict[str, Any]] = []
        page.expose_function("asked", self._asked)
        page.expose_function("saved", self._saved)

    def add(self, widget: Widget) -> Locator:
        """Draw a widget below the others, and wait until it is complete."""
        n = len(self.widgets)
        self.widgets.append(widget)
        state = {key: getattr(widget, key) for key in (*SHARED, "theme", "_page")}
        state |= {key: base64.b64encode(getattr(widget, key)).decode() for key in BYTES}
        self.page.evaluate(MODEL, [widget._esm, state, n])
        widget.observe(lambda change: self._set(n, change.name, change.new), [*SHARED, "theme"])
        return self.page.locator(f"#widget-{n}")

    def _set(self, n: int, name: str, value: Any) -> None:
        self.page.evaluate("([n, k, v]) => globalThis.widgets[n].model.set(k, v)", [n, name, value])

    def _saved(self, n: int, text: str) -> None:
        """What the browser has changed."""
        state = json.loads(text)
        widget = self.widgets[n]
        with widget.hold_trait_notifications():
            for key in SHARED:
                widget.set_trait(key, state[key])

    def _asked(self, n: int, text: str) -> str:
        content = json.loads(text)
        self.asked.append(content)
        sent: list[Any] = []
        widget = self.widgets[n]
        widget.send = lambda answer, buffers=(): sent.append((answer, buffers))
        widget._asked(widget, content, [])
        [(answer, buffers)] = sent
        return json.dumps([answer, [base64.b64encode(part).decode() for part in buffers]])
