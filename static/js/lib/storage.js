// What this browser keeps, and never sends. It may have no storage, be full, or hold another
// program's value (as in a frame without an origin): then nothing is kept, and pages work without.

/** The value kept under a name, or null. @param {string} name */
export function kept(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

/** @param {string} name  @param {unknown} value  null forgets what was kept. */
export function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // nothing is kept
  }
}

/** The text kept under a name until the tab is closed, or "". @param {string} name */
export function keptForTab(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} name  @param {string} text  "" forgets what was kept. */
export function keepForTab(name, text) {
  try {
    if (text) sessionStorage.setItem(name, text);
    else sessionStorage.removeItem(name);
  } catch {
    // nothing is kept
  }
}
