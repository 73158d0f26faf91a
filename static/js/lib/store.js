// The one place where state lives. Views read it through update(); nobody else writes it.

/** @template S @param {S} initial */
export function createStore(initial) {
  let state = Object.freeze({...initial});
  const listeners = new Set();
  return {
    get: () => state,
    set(patch) {
      const changed = Object.keys(patch).some((key) => !Object.is(patch[key], state[key]));
      if (!changed) return;
      state = Object.freeze({...state, ...patch});
      for (const listener of listeners) listener(state);
    },
    subscribe(listener) {
      listeners.add(listener);
      listener(state);
      return () => listeners.delete(listener);
    }
  };
}
