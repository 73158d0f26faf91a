// Where the app is: behind a proxy all of its addresses begin with ROOT_PATH.

const ROOT = document.documentElement.dataset.root ?? "";
const isRooted = (path) => path === ROOT || path.startsWith(`${ROOT}/`);

/** An address of this app, wherever it is: "/explore" is "/atlas/explore" below /atlas. */
export const rooted = (path) =>
  (/^\/(?!\/)/.test(path) && !isRooted(path) ? `${ROOT}${path}` : path);

/** The page of an address: "/explore" for "/atlas/explore". */
export const unrooted = (path) => (ROOT && isRooted(path) ? path.slice(ROOT.length) || "/" : path);
