/**
 * A dense tensor: flat data and a shape.
 * @typedef {{data: Float32Array|Uint8Array, shape: number[]}} Tensor
 */

/** @returns {Tensor} */
export function tensor(data, shape) {
  const size = shape.reduce((product, n) => product * n, 1);
  if (data.length !== size) throw new Error(`${data.length} numbers do not fill shape [${shape}]`);
  return {data, shape};
}

/** The sub-tensor at a leading index; a view, not a copy: at(attn, layer, head) is (Tq, Tk). */
export function at({data, shape}, ...index) {
  let start = 0;
  let size = data.length;
  for (const [axis, i] of index.entries()) {
    const n = shape[axis];
    if (!(i >= 0 && i < n)) throw new Error(`index ${i} is outside axis ${axis} of [${shape}]`);
    size /= n;
    start += i * size;
  }
  return tensor(data.subarray(start, start + size), shape.slice(index.length));
}

/** One head of a record by its numbers (else its first), and its mask: both (Tq, Tk). */
export function headOf({attn, mask, layers, heads}, layer = layers[0], head = heads[0]) {
  const l = layers.indexOf(layer);
  const h = heads.indexOf(head);
  const [n, m] = mask.shape; // a mask that all layers or heads share has one there
  return {attn: at(attn, l, h), mask: at(mask, Math.min(l, n - 1), Math.min(h, m - 1))};
}

/** Column k of a (Tq, Tk) tensor: what each query gives to that key. */
export function column({data, shape: [n, width]}, k) {
  return Float32Array.from({length: n}, (_, q) => data[q * width + k]);
}

/**
 * What one token gives (side "query") or gets (side "key"), NaN where looking is not allowed; with
 * `more` tokens, their sum.
 */
export function valuesOf({attn, mask}, {side, index, more = []}) {
  const rows = [index, ...more].map((token) => {
    const [values, allowed] = [attn, mask].map((t) =>
      side === "query" ? at(t, token).data : column(t, token));
    return Float32Array.from(values, (value, i) => (allowed[i] ? value : NaN));
  });
  return rows.reduce((sums, row) => sums.map((sum, i) => {
    if (Number.isNaN(sum)) return row[i];
    return Number.isNaN(row[i]) ? sum : sum + row[i];
  }));
}
