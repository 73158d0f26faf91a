// What there is to know of the tokens on screen, in words: odd ones, and more than training had.

import {modelIn} from "./data.js";
import {oddities} from "./token.js";
import {beyondTraining} from "./training.js";

/**
 * @param {Object[]} models
 * @param {{model: string, sequences: Object<string, import("./view.js").Token[]>}[]} texts
 *   each text on screen with the model that reads it; sequences by name: source, target
 */
export function textRemarks(models, texts) {
  const every = texts.flatMap(({model, sequences}) => [
    ...Object.values(sequences).flatMap(oddities), beyondTraining(modelIn(models, model), sequences)
  ]);
  return [...new Set(every)].filter(Boolean).join(" ");
}
