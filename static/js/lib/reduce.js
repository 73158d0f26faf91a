// What of a head is drawn as lines: where looking is allowed, between segments, the top of each
// row.

import {valuesOf} from "./tensor.js";

/**
 * For each token of the other axis, the largest attention that a drawn line brings it from one
 * token.
 * @param {{attn: Object, drawn: Uint8Array}[]} heads  @param {{side: string, index: number}} place
 * @returns {({value: number, head: number}|null)[]}  null where no line reaches the threshold
 */
export function strongest(heads, place, threshold) {
  const values = heads.map(({attn, drawn}) =>
    valuesOf({attn, mask: {data: drawn, shape: attn.shape}}, place));
  return Array.from(values[0], (none, i) => {
    const here = values.map((row) => (row[i] >= threshold ? row[i] : -1)); // NaN is not drawn
    const value = Math.max(...here);
    return value < 0 ? null : {value, head: here.indexOf(value)};
  });
}

/** 1 where a line may be drawn: looking is allowed, the segments are asked for, among the top. */
export function drawnLines({attn: {data, shape: [Tq, Tk]}, mask}, {qTokens, kTokens},
  {top, segments}) {
  const drawn = Uint8Array.from(mask.data);
  const isPair = kTokens.some(({segment}) => segment === 1);
  if (segments !== "all" && isPair) { // of one text there is nothing between
    const [from, to] = [...segments].map((letter) => "ab".indexOf(letter));
    for (let i = 0; i < drawn.length; i++) {
      const [q, k] = [Math.floor(i / Tk), i % Tk];
      if (qTokens[q].segment !== from || kTokens[k].segment !== to) drawn[i] = 0;
    }
  }
  for (let q = 0; top > 0 && q < Tq; q++) {
    const indices = Array.from({length: Tk}, (none, k) => q * Tk + k).filter((i) => drawn[i]);
    indices.sort((a, b) => data[b] - data[a]);
    for (const i of indices.slice(top)) drawn[i] = 0;
  }
  return drawn;
}
