// The top bar of every page: its menus, and links into the context of the address.

import {refreshBar} from "../lib/context.js";
import {mountMenus} from "../lib/menus.js";

mountMenus();
for (const event of ["pointerdown", "focusin", "click"]) {
  document.addEventListener(event, ({target}) => {
    if (target.closest("a[data-page]")) refreshBar();
  }, {capture: true});
}
