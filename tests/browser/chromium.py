"""A Chromium for the browser tests: one that is there, else Debian's, else Playwright's own.

python tests/browser/chromium.py gets one if there is none; `make test` calls it first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
HELP = "no Chromium: install chromium or Google Chrome, or set CHROMIUM=/path/to/it"


def find(playwrights: str) -> str | None:
    """CHROMIUM, then one on the PATH or in a Mac's applications, then Playwright's own."""
    named = [os.environ.get("CHROMIUM", ""), *(shutil.which(name) or "" for name in NAMES)]
    paths = [path for path in (*named, MAC, playwrights) if path and Path(path).exists()]
    return paths[0] if paths else None


def get(playwrights: str) -> str | None:
    """Install one: Debian's package when root there, else Playwright's download."""
    ways = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if os.getuid() == 0 and Path("/etc/debian_version").exists():
        apt = "apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium"
        ways.insert(0, ["sh", "-c", apt])
    for way in ways:
        sys.stdout.write(f"no Chromium yet: {' '.join(way[-3:])}\n")
        subprocess.run(way, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if result := find(playwrights):
            return result
    return None


if __name__ == "__main__":
    with sync_playwright() as playwright:
        where = playwright.chromium.executable_path
    if not (find(where) or get(where)):
        sys.exit(HELP)
