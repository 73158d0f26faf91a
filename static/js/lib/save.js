// Files to take along, made in the browser.

import {h} from "./dom.js";

/** @param {Blob} blob  @param {string} name */
export function saveBlob(blob, name) {
  const href = URL.createObjectURL(blob);
  h("a", {href, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** What the server makes; the answer says its name. */
export async function saveAddress(href) {
  h("a", {href, download: ""}).click();
  return "";
}

/** @param {SVGElement} picture */
export const svgBlob = (picture) =>
  new Blob([new XMLSerializer().serializeToString(picture)], {type: "image/svg+xml"});

const SHARP = 2; // pixels of a PNG for one of the picture's
const LARGEST = 16_000; // pixels a side that browsers draw

/** @param {SVGElement} picture */
export async function pngBlob(picture) {
  const image = new Image();
  const url = URL.createObjectURL(svgBlob(picture));
  image.src = url;
  await image.decode();
  URL.revokeObjectURL(url);
  const ratio = Math.min(SHARP, LARGEST / image.width, LARGEST / image.height);
  const [width, height] = [image.width, image.height].map((length) => Math.round(length * ratio));
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  return canvas.convertToBlob({type: "image/png"});
}

/** The bytes of a data: address. */
export function dataBlob(address) {
  const [head, body] = [address.slice(5, address.indexOf(",")),
    address.slice(address.indexOf(",") + 1)];
  const [type] = head.split(";");
  if (!head.endsWith("base64")) return new Blob([decodeURIComponent(body)], {type});
  return new Blob([Uint8Array.from(atob(body), (char) => char.charCodeAt(0))], {type});
}

const LONGEST = 120; // letters of a file's name: systems take 255 bytes, and a letter may be three

/** A name for a file: letters of any script, digits and dashes. */
export function fileName(parts, ending) {
  const name = parts.join("-").replace(/[^\p{L}\p{M}\p{N}_.]+/gu, "-").replace(/^-|-$/g, "");
  return `${[...name].slice(0, LONGEST).join("")}.${ending}`;
}
