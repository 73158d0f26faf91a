// Tensors on the wire: the safetensors container. Its twin is app/wire.py.
//
//   8 bytes   header length n, little-endian
//   n bytes   header, JSON: {name: {dtype, shape, data_offsets: [start, end]}, __metadata__: {}}
//   the rest  the tensors' data, little-endian

import {tensor} from "./tensor.js";

const ARRAYS = {F32: Float32Array, U8: Uint8Array, I32: Int32Array, BOOL: Uint8Array};

/**
 * The metadata's values are JSON themselves: the format allows only strings there.
 * @param {ArrayBuffer} buffer
 * @returns {{tensors: Object<string, import("./tensor.js").Tensor>, metadata: Object}}
 */
export function decode(buffer) {
  const n = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, n)));
  const {__metadata__: strings = {}, ...entries} = header;
  const read = ({dtype, shape, data_offsets: [start, end]}) => {
    const TypedArray = ARRAYS[dtype];
    if (!TypedArray) throw new Error(`unknown dtype: ${dtype}`);
    const bytes = buffer.slice(8 + n + start, 8 + n + end); // a copy: offsets need not be aligned
    return tensor(new TypedArray(bytes), shape);
  };
  return {tensors: mapValues(entries, read), metadata: mapValues(strings, JSON.parse)};
}

function mapValues(object, change) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));
}
