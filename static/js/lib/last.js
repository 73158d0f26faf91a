// Where the reader was last: kept in this browser alone.

import * as url from "./url.js";

const KEY = "last";

/** Keep this page's address and its title, for the first page. */
export function rememberPage() {
  localStorage.setItem(KEY, JSON.stringify({href: url.path(), title: document.title}));
}

/** @returns {{href: string, title: string}|null} */
export function lastPage() {
  try {
    const {href, title} = JSON.parse(localStorage.getItem(KEY));
    return href.startsWith("/") && !href.startsWith("//") ? {href, title} : null;
  } catch {
    return null; // nothing kept, or by somebody else
  }
}
