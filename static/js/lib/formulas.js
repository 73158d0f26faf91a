// Small formulas that move while a hand does; tests/browser holds them to PyTorch and SciPy.

const sum = (values) => values.reduce((total, x) => total + x, 0);
const mean = (values) => sum(values) / values.length;

export const dot = (x, y) => sum(x.map((value, i) => value * y[i]));
const length = (x) => Math.sqrt(dot(x, x));

/** 0 where a vector has no length. */
export const cosine = (x, y) => dot(x, y) / (length(x) * length(y) || 1);

export const centred = (x) => x.map((value) => value - mean(x));

/** Pearson's r: of pairs of numbers, by their covariance and spreads. */
export function pearson(x, y) {
  const [mx, my] = [mean(x), mean(y)];
  const covariance = mean(x.map((value, i) => (value - mx) * (y[i] - my)));
  const spread = (values, m) => Math.sqrt(mean(values.map((value) => (value - m) ** 2)));
  return covariance / (spread(x, mx) * spread(y, my) || 1);
}

/** exp(x / t) over their sum; the largest is taken off first, so nothing overflows. */
export function softmax(scores, temperature = 1) {
  const scaled = scores.map((score) => score / temperature);
  const most = Math.max(...scaled);
  const shares = scaled.map((score) => Math.exp(score - most));
  return shares.map((share) => share / sum(shares));
}

export const relu = (x) => Math.max(0, x);

/** x Φ(x), by the tanh approximation of Hendrycks & Gimpel 2016. */
export const gelu = (x) =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
