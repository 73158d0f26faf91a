// What the server wrote into the page.

import {camel} from "./names.js";

/** The values that the page was made with, and what of its address was ignored. */
export const pageData = () => dataOf(document);

/** The same of a page that was fetched. @param {Document} page */
export const dataOf = (page) => camel(JSON.parse(page.getElementById("page").textContent));

/** The model of a name; undefined where the page has none. */
export const modelIn = (models, name) => models.find((model) => model.name === name);

/** Some keys of an object. */
export const pick = (object, keys) => Object.fromEntries(keys.map((key) => [key, object[key]]));
