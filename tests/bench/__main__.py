"""python -m tests.bench: what looking costs, on the server, in the Lab, of a translator and beside
BertViz in a browser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from attention_atlas import __version__
from tests.bench.rows import FULL, HEADER, QUICK, Plan, Row, markdown, preface
from tests.bench.sections import REPORT, sections_of

PARTS = ("server", "lab", "translators", "browser")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--quick", action="store_true", help="short texts, few rounds: a trial")
    parser.add_argument("--write", action="store_true", help="into docs/bench.md too")
    return parser.parse_args()


def rows(parts: tuple[str, ...], plan: Plan) -> Iterator[Row]:
    """The parts' rows, as they are measured."""
    if "server" in parts:
        from tests.bench import server

        yield from server.rows(plan)
    if "lab" in parts:
        from tests.bench import lab

        yield from lab.rows(plan)
    if "translators" in parts:
        from tests.bench import translators

        yield from translators.rows(plan)
    if "browser" in parts:
        from tests.bench import browser

        yield from browser.rows(plan)


def chromium_version() -> str:
    from playwright.sync_api import sync_playwright

    from tests.bench.chrome import chromium

    with sync_playwright() as playwright, chromium(playwright) as browser:
        return browser.version


def say(line: str) -> str:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    return line


def main() -> None:
    """Nothing else should run meanwhile."""
    request = arguments()
    versions = {"Chromium": chromium_version(), "Attention Atlas": __version__}
    lines = [say(preface(versions)), say(HEADER)]
    parts = (request.only,) if request.only else PARTS
    lines += [say(markdown(row)) for row in rows(parts, QUICK if request.quick else FULL)]
    if request.write:
        others = sections_of(REPORT.read_text("utf-8"))  # of the soak and the contract
        REPORT.write_text("\n".join(lines) + "\n" + others, "utf-8")


if __name__ == "__main__":
    main()
