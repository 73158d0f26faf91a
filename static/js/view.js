/**
 * What every file in views/ exports: id, title and mount. Nothing else.
 *
 * @typedef {{id: number, raw: string, text: string, special: boolean, unknown: boolean}} Token
 * @typedef {import("./tensor.js").Tensor} Tensor
 *
 * @typedef {Readonly<{kind: string, layers: number[], heads: number[],
 *   attn: Tensor, mask: Tensor, qTokens: Token[], kTokens: Token[]}>} Record
 *   attn is (layers, heads, Tq, Tk); mask broadcasts to it, 1 where looking is allowed
 *
 * @typedef {Readonly<{
 *   overview: Record,     every head, as uint8 pictures: for colours only, never for numbers
 *   record: Record,       one head, float32
 *   layer: number, head: number,       the chosen head
 *   query: number|null, side: "query"|"key",   the locked token, and on which axis it is
 *   threshold: number, theme: "light"|"dark"
 * }>} Frame
 *
 * @typedef {(patch: Partial<Frame>) => void} Emit  ask for a change; the answer comes as an update
 * @typedef {{update: (frame: Frame) => void|Promise<void>, destroy: () => void}} View
 * @typedef {(root: HTMLElement, emit: Emit) => View} Mount
 */
export {};
