// Menus are <details>, which open without a script; with one they close like menus.

const openMenus = () => document.querySelectorAll("details.menu[open]");

/** A click elsewhere and Escape close a menu; Escape leaves the focus on its label. */
export function mountMenus() {
  document.addEventListener("click", ({target}) => {
    for (const menu of openMenus()) if (!menu.contains(target)) menu.open = false;
  });
  document.addEventListener("keydown", ({key}) => {
    if (key !== "Escape") return;
    for (const menu of openMenus()) {
      const hasFocus = menu.contains(document.activeElement);
      menu.open = false;
      if (hasFocus) menu.querySelector("summary").focus();
    }
  });
}
