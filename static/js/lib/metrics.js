// One number for one head: attention (Tq, Tk) -> number. The definitions of model/metrics.py.

const sum = (values) => values.reduce((total, x) => total + x, 0);
const mean = (values) => (values.length ? sum(values) / values.length : 0);

/** For each query, the sum over keys of term(attention, q, k). */
function rows({data, shape: [Tq, Tk]}, term) {
  const sums = new Float64Array(Tq);
  for (let q = 0; q < Tq; q++) {
    for (let k = 0; k < Tk; k++) sums[q] += term(data[q * Tk + k], q, k);
  }
  return sums;
}

/** Mean over queries of -sum a log a, in nats. */
export const entropy = (attn) => mean(rows(attn, (a) => (a > 0 ? -a * Math.log(a) : 0)));

/** Mean over queries of the attended distance |q - k|, in tokens. */
export const distance = (attn) => mean(rows(attn, (a, q, k) => a * Math.abs(q - k)));

/** Mean attention from a token to the one before it; the first token has none. */
export const previousToken = (attn) =>
  mean(rows(attn, (a, q, k) => (k === q - 1 ? a : 0)).subarray(1));

/** Mean attention to the first token, often a sink. */
export const firstToken = (attn) => mean(rows(attn, (a, q, k) => (k === 0 ? a : 0)));
