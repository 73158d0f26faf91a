"""A Chromium for the browser tests: one that is there, else Debian's, else Playwright's own.

The headless shell is the same engine without the windows of a desktop, which cost a third of the
time of a test. python tests/browser/chromium.py gets it on Debian, elsewhere a Chromium if there is
none; `make test` calls it first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

SHELLS = ("chromium-headless-shell", "chrome-headless-shell")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
HELP = "no Chromium: install chromium or Google Chrome, or set CHROMIUM=/path/to/it"


def find(playwrights: str, names: Sequence[str] = (*SHELLS, *NAMES)) -> str | None:
    """CHROMIUM, then one on the PATH or in a Mac's applications, then Playwright's own."""
    named = [os.environ.get("CHROMIUM", ""), *(shutil.which(name) or "" for name in names)]
    paths = [path for path in (*named, MAC, playwrights) if path and Path(path).exists()]
    return paths[0] if paths else None


def installed(playwrights: str) -> str | None:
    """The one that is there, once Debian's package or else Playwright's download is installed."""
    apt = f"apt-get -qq update && apt-get -qq install -y --no-install-recommends {SHELLS[0]}"
    is_debian = os.getuid() == 0 and Path("/etc/debian_version").exists()
    if is_debian and not os.environ.get("CHROMIUM") and not any(map(shutil.which, SHELLS)):
        run("sh", "-c", apt)
    if not find(playwrights):
        run(sys.executable, "-m", "playwright", "install", "chromium")
    return find(playwrights)


def run(*command: str) -> None:
    sys.stdout.write(f"for the browser tests: {' '.join(command[-3:])}\n")
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    with sync_playwright() as playwright:
        where = playwright.chromium.executable_path
    if not installed(where):
        sys.exit(HELP)
