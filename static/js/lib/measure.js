// How wide text is when drawn, and its lines where there is only so much room.

export const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
let context = null;

/** CSS pixels of a text in a figure's font. */
export function widthOf(text, size = 13, weight = 400) {
  context ??= new OffscreenCanvas(1, 1).getContext("2d");
  context.font = `${weight} ${size}px ${FONT}`;
  return context.measureText(text).width;
}

/** CSS pixels of the widest of some texts. */
export const widest = (texts, size = 13) => Math.max(0,
  ...texts.map((text) => widthOf(text, size)));

/**
 * The lines of a text that are at most `width` wide; broken at spaces, and inside what has none.
 * @returns {string[]}  the texts between the breaks, joined they are the text
 */
export function wrapped(text, width, size = 13, weight = 400) {
  const lines = [""];
  const isFull = (part) => widthOf((lines.at(-1) + part).trimEnd(), size, weight) > width;
  for (const part of text.match(/\S+\s*|\s+/g) ?? []) {
    if (!isFull(part)) {
      lines[lines.length - 1] += part;
      continue;
    }
    if (lines.at(-1)) lines.push("");
    for (const letter of isFull(part) ? part : [part]) {
      if (lines.at(-1) && isFull(letter)) lines.push("");
      lines[lines.length - 1] += letter;
    }
  }
  return lines;
}

/** A text as it is if it is at most `width` wide, else its beginning. */
export function fitted(text, width, size = 13) {
  if (widthOf(text, size) <= width) return text;
  const letters = [...text];
  while (letters.length > 1 && widthOf(`${letters.join("")}…`, size) > width) letters.pop();
  return `${letters.join("")}…`;
}
