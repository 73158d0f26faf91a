"""Measure a model on text it has never seen, and write the results into its card.

    python -m attention_atlas.model.training.evaluate bert --data FOLDER
    python -m attention_atlas.model.training.evaluate gpt --data FOLDER --only blimp

Every measure has a 95 % bootstrap interval and its number of items. One whose text FOLDER does not
have is left out, and the log says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis.statistics import Measure
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training import (
    corpus,
    head_quality,
    quality,
    samples,
    sense_quality,
    word_quality,
)
from attention_atlas.model.training.alignment_quality import alignment
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.head_importance import head_importance
from attention_atlas.model.training.trainers import TRAINERS
from attention_atlas.model.zoo import WEIGHTS

log = logging.getLogger("evaluate")

# The measures of each model; a function may give several, or none for want of text.
MEASURES: dict[str, tuple[Callable[..., dict[str, Measure]], ...]] = {
    "translator": (
        quality.bleu,
        quality.decoding_speed,
        alignment,
        quality.best_heads,
        head_importance,
    ),
    "recurrent": (quality.bleu, quality.decoding_speed, alignment, head_importance),
    "bert": (
        quality.masked_words,
        word_quality.whole_words,
        word_quality.first_guesses,
        sense_quality.bank_senses,
        sense_quality.other_senses,
        head_quality.head_shares,
        head_quality.relations,
        quality.best_heads,
        head_importance,
    ),
    "gpt": (
        quality.bits_per_byte,
        quality.blimp,
        quality.best_heads,
        samples.repeats,
        head_importance,
    ),
}


def evaluate(
    name: str, data: Path, device: torch.device, *, folder: Path = WEIGHTS, only: str = ""
) -> dict[str, dict[str, Any]]:
    """Measure the model in folder/name and write the results into its card."""
    loaded = zoo.load(name, device, folder)
    assert isinstance(loaded.tokenizer, Tokenizer)
    task = TRAINERS[loaded.card.name](data, loaded.tokenizer, 0, train=False)
    results: dict[str, dict[str, Any]] = {}
    for measure in MEASURES[loaded.card.name]:
        if only in ("", measure.__name__):
            measures = measure(loaded, task, data)
            if not measures:
                log.info(f"{name} {measure.__name__}: {data} has no text for it")
            for key, value in measures.items():
                log.info(f"{name} {key}: {described(value)}")
                results[key] = asdict(value)
    path = folder / name / "card.json"
    card = json.loads(path.read_text("utf-8"))
    card["metrics"] |= results  # beside earlier measures of the same weights
    if card["training"]:
        card["training"].setdefault("longest", task.longest)  # cards of earlier versions lack it
    if isinstance(task, GPTTask) and not only:
        card["samples"] = samples.continuations(loaded, task)
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return results


def described(measure: Measure) -> str:
    """0.34 (0.33 to 0.35) over 13546 masked words, L2 H3"""
    detail = f", {measure.detail}" if measure.detail else ""
    low, high = measure.low, measure.high
    return f"{measure.value} ({low} to {high}) over {measure.n} {measure.of}{detail}"


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m attention_atlas.model.training.evaluate", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=sorted(MEASURES))
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of text or pairs")
    parser.add_argument("--folder", type=Path, default=WEIGHTS, help="of the weights")
    names = sorted({measure.__name__ for measures in MEASURES.values() for measure in measures})
    parser.add_argument("--only", choices=names, default="", help="one measure, not all")
    parser.add_argument("--threads", type=int, help="of torch; 1 beside other work")
    parser.add_argument("--device", help="cuda, mps or cpu; default: the best there is")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        device = zoo.pick_device(args.device)
        evaluate(args.name, args.data, device, folder=args.folder, only=args.only)
    except corpus.NoData as error:
        log.error(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
