// A click needs the element that it began on: nothing is redrawn under a pointer that is held down.

const DRAGGED = "input, textarea, select, [role=slider]"; // what moves while the pointer is down

const waiting = new Set();
let isHeld = false;

/** Draw now, or once when the pointer is let go. @param {() => void} draw */
export function whenReleased(draw) {
  if (isHeld) waiting.add(draw);
  else draw();
}

function release() {
  isHeld = false;
  const draws = [...waiting];
  waiting.clear();
  for (const draw of draws) draw();
}

document.addEventListener("pointerdown", ({target}) => {
  isHeld = Boolean(target.closest("main")) && !target.closest(DRAGGED);
}, true);
// what the click itself changes is drawn at once
document.addEventListener("click", () => {
  isHeld = false;
}, true);
for (const event of ["pointerup", "pointercancel"]) {
  document.addEventListener(event, () => setTimeout(release), true); // after the click
}
// let go outside of the window
document.addEventListener("pointermove", ({buttons}) => buttons || !isHeld || release(), true);
globalThis.addEventListener("blur", release);
