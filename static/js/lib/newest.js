// Of several requests the newest counts; what is being typed waits for a pause.

const TYPING_PAUSE = 250; // ms

/**
 * @param {() => void} onWaiting  called when a pause begins to be awaited, and when it has ended
 * @returns {{begin: () => AbortSignal, later: (act: () => void) => void, hold: () => void,
 *   isWaiting: () => boolean}}
 */
export function newestOnly(onWaiting) {
  let pending = new AbortController();
  let timer = null;

  /** Drop what waits for a pause. */
  function hold() {
    clearTimeout(timer);
    timer = null;
    onWaiting();
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
      onWaiting();
    }, TYPING_PAUSE);
    onWaiting();
  }

  return {begin, later, hold, isWaiting: () => timer !== null};
}
