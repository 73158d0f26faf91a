// Of several requests the newest counts; what is being typed waits for a pause.

const TYPING_PAUSE = 250; // ms

/** @returns {{begin: () => AbortSignal, later: (act: () => void) => void, hold: () => void,
 *   isWaiting: () => boolean}} */
export function newestOnly() {
  let pending = new AbortController();
  let timer = null;

  /** Drop what waits for a pause. */
  function hold() {
    clearTimeout(timer);
    timer = null;
  }

  /** A new request, in place of the one before. */
  function begin() {
    hold();
    pending.abort();
    pending = new AbortController();
    return pending.signal;
  }

  /** After a pause in typing. */
  function later(act) {
    hold();
    timer = setTimeout(() => {
      timer = null;
      act();
    }, TYPING_PAUSE);
  }

  return {begin, later, hold, isWaiting: () => timer !== null};
}
