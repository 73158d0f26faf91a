// What the page says, in the reader's language. The words come with the page, from app/locale/.

const words = JSON.parse(document.getElementById("words")?.textContent || "{}");

/** The text in the reader's language; {name} is filled in from the values. */
export function _(text, values = {}) {
  const said = words[text] || text;
  return said.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
