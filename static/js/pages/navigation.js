// The top bar of every page: its menus, and links into the context of the address.

import {refreshBar} from "../lib/context.js";
import {rememberPage} from "../lib/last.js";
import {mountMenus} from "../lib/menus.js";
import {mountPresenter} from "../lib/presenter.js";
import {unrooted} from "../lib/root.js";
import * as url from "../lib/url.js";

const NOT_KEPT = ["/", "/models", "/docs"];

mountMenus();
mountPresenter();
const isKept = !NOT_KEPT.includes(unrooted(url.path().split("?")[0]));
if (isKept) addEventListener("pagehide", rememberPage);
for (const event of ["pointerdown", "focusin", "click"]) {
  document.addEventListener(event, ({target}) => {
    if (target.closest("a[data-page]")) refreshBar();
  }, {capture: true});
}
