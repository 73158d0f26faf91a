"""`make examples`: where each example's claim is seen with the weights at hand, written down.

    python -m attention_atlas.app.examples.choose [PAGE …]

The claims are written by hand; places and values are looked up. The same weights give the same
files. An example whose claim is false with these weights is named, and the pages leave it out.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from attention_atlas.app.examples.catalogue import PAGES, Example, stored, write
from attention_atlas.app.service import Service
from attention_atlas.app.settings import Settings
from attention_atlas.model.analysis.claims import Models
from attention_atlas.model.spec import BadInput

log = logging.getLogger("examples")


def chosen(models: Models, example: Example) -> Example:
    """The example with the place where its claim is seen best; with none if it is false."""
    try:
        seen = example.checked.check(models, example.inputs)
    except BadInput as error:  # a word that this model's translation does not have
        log.warning("%s: %s", example.label, error.message)
        return example.model_copy(update={"address": None, "values": {}})
    if not seen.holds:
        log.warning("%s: not true with these weights: %s", example.label, seen.values)
    update = {"address": seen.address if seen.holds else None, "values": seen.values}
    return example.model_copy(update=update)


def main(pages: Sequence[str]) -> None:
    service = Service(Settings(threads=1))
    try:
        for page in pages or PAGES:
            write(page, [chosen(service.loaded, example) for example in stored(page)])
            log.info("%s: %d examples", page, len(stored(page)))
    finally:
        service.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(sys.argv[1:])
