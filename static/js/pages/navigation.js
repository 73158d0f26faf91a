// The top bar of every page: its menus, and links that keep the language and the theme.

import {mountMenus} from "../lib/menus.js";

mountMenus();
