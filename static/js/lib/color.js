// Attention → colour, for every view: one scale, even steps in OKLCH, the ends of look/README.md.
// The gentle power lets small weights be seen; every legend says so.

export const POWER = 0.7;

/** [lightness, chroma, hue] in OKLCH. */
const SCALES = {
  light: {zero: [0.985, 0.004, 272], full: [0.3, 0.14, 272], absent: [0.935, 0.004, 95]},
  dark: {zero: [0.225, 0.016, 272], full: [0.9, 0.1, 230], absent: [0.155, 0.008, 270]}
};

/** OKLCH → sRGB bytes (Ottosson 2020), clipped to the screen's gamut. */
export function rgb([lightness, chroma, hue]) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s
  ].map(encodeByte);
}

function encodeByte(linear) {
  const x = Math.min(1, Math.max(0, linear));
  return Math.round(255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055));
}

/** The colour of an attention from 0 to 1, as sRGB bytes. */
export function colorOf(attn, theme, power = POWER) {
  const {zero, full} = SCALES[theme];
  const t = Math.min(1, Math.max(0, attn)) ** power;
  return rgb(zero.map((start, i) => start + t * (full[i] - start)));
}

/** Eight colours for heads, told apart with any colour vision; tests/browser measures how well. */
export const HUES = {
  light: ["#374cbe", "#d07332", "#720500", "#777ffa", "#a14206", "#4e1c71", "#9e7993", "#6b4f6f"],
  dark: ["#94aaec", "#ac713e", "#d6f55b", "#c59e1c", "#e0c39d", "#9260da", "#5c939d", "#2eecf9"]
};

/** Signed values from -1 to 1: zero is paper, blue above it, orange below. */
const SIGNS = {
  light: {zero: [0.985, 0.004, 272], plus: [0.4, 0.15, 265], minus: [0.55, 0.15, 50]},
  dark: {zero: [0.225, 0.016, 272], plus: [0.82, 0.12, 235], minus: [0.76, 0.13, 65]}
};

/** The colour of a signed value from -1 to 1, as sRGB bytes; mixed in OKLab, so zero has no hue. */
export function signedColor(value, theme) {
  const {zero, plus, minus} = SIGNS[theme];
  const t = Math.min(1, Math.abs(value)) ** POWER;
  const [from, to] = [zero, value < 0 ? minus : plus];
  const hue = to[2];
  return rgb([from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1]), hue]);
}

/** Even stops from -1 to 1, as colour scales are written. */
export function signedStops(theme, n = 20) {
  return Array.from({length: n + 1}, (none, i) =>
    [i / n, css(signedColor((2 * i) / n - 1, theme))]);
}

const LEAST = 1e-4; // where a logarithmic scale begins when it is told 0

/** Where a value is on a scale from low to high, as a share: linear, or even in the logarithm. */
export function shareOf(value, {low, high, scale}) {
  if (scale === "linear") return (value - low) / (high - low || 1);
  const [from, to, at] = [low, high, value].map((x) => Math.log(Math.max(x, LEAST)));
  return (at - from) / (to - from || 1);
}

/** Black or white, whichever is easier to read on a colour of sRGB bytes. */
export function textOn(bytes) {
  const [r, g, b] = bytes.map((byte) => {
    const x = byte / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

export const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;
export const absent = (theme) => rgb(SCALES[theme].absent);

/** n + 1 even stops from 0 to 1, as colour scales are written: [[0, "rgb(…)"], …]. */
export function stops(theme, power = POWER, n = 16) {
  return Array.from({length: n + 1}, (none, i) => [i / n, css(colorOf(i / n, theme, power))]);
}

/** What a canvas wants: a pixel for each uint8 attention, and last (256) for what is masked. */
export function palette(theme) {
  const pixel = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;
  const shades = Array.from({length: 256}, (none, i) => pixel(colorOf(i / 255, theme)));
  return Uint32Array.from([...shades, pixel(absent(theme))]);
}

/** One head into an image: each pixel is the maximum of what it covers, masked if all of it is. */
export function paint(image, {attn: {data, shape: [n, m]}, mask}, shades) {
  const pixels = new Uint32Array(image.data.buffer);
  const {width, height} = image;
  const span = (i, size, count) => {
    const start = Math.floor((i * count) / size);
    return [start, Math.max(start + 1, Math.floor(((i + 1) * count) / size))];
  };
  const columns = Array.from({length: width}, (none, x) => span(x, width, m));
  for (let y = 0; y < height; y++) {
    const [q0, q1] = span(y, height, n);
    for (let x = 0; x < width; x++) {
      const [k0, k1] = columns[x];
      let most = -1;
      for (let q = q0; q < q1; q++) {
        for (let k = k0; k < k1; k++) {
          if (mask.data[q * m + k] && data[q * m + k] > most) most = data[q * m + k];
        }
      }
      pixels[y * width + x] = shades[most < 0 ? 256 : most];
    }
  }
}
