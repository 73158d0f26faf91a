// The explorer's picture as a file, with its title, its sentence and where its numbers come from.

import {figure} from "./figure.js";
import {_} from "./language.js";
import {pictureTitle} from "./reading.js";
import {fileName, pngBlob, saveBlob, svgBlob} from "./save.js";
import {gridProvenance, provenance} from "./summary.js";

/** @param {string} view  of the frame, or "grid" */
export function pictureOf(drawn, frame, view) {
  const {run} = drawn;
  const [title, source] = view === "grid" ? [_("All heads"), gridProvenance(drawn)]
    : [pictureTitle(drawn), provenance(drawn)];
  const sentence = [run.text, run.textPair, run.target].filter(Boolean).join(" · ");
  return figure(view, frame, {title: `${title} · ${drawn.model}`, sentence, provenance: source});
}

/** @param {"svg"|"png"} ending  @returns {Promise<string>} the file's name */
export async function savePicture(drawn, frame, view, ending) {
  const svg = pictureOf(drawn, frame, view);
  const blob = ending === "svg" ? svgBlob(svg) : await pngBlob(svg);
  const place = view === "grid" ? "heads"
    : drawn.shown.map(({layer, head}) => `L${layer}H${head}`).join("-");
  const name = fileName([drawn.model, drawn.kind, place, view], ending);
  saveBlob(blob, name);
  return name;
}
