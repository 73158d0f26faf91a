// Where the reader was last: kept in this browser alone.

import {keep, kept} from "./storage.js";
import * as url from "./url.js";

const NAME = "last";

/** Keep this page's address and its title, for the first page. */
export function rememberPage() {
  keep(NAME, {href: url.path(), title: document.title});
}

/** @returns {{href: string, title: string}|null} */
export function lastPage() {
  const {href, title} = kept(NAME) ?? {};
  return typeof href === "string" && /^\/(?!\/)/.test(href) ? {href, title} : null;
}
