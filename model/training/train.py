"""Train a bundled model (translator, recurrent, bert, gpt) from text.

    python -m attention_atlas.model.training.train bert --minutes 30
    python -m attention_atlas.model.training.train bert --minutes 60 --resume

State goes to runs/NAME, every other minute; the weights, tokenizer and card to model/weights/NAME.
Without a state, --resume goes on from those weights and their card; the optimizers begin anew.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attention_atlas.model import checkpoint
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training import corpus
from attention_atlas.model.training.anchor import AnchoredBertTask
from attention_atlas.model.training.evaluate import evaluate
from attention_atlas.model.training.gpu import GPURun
from attention_atlas.model.training.loop import train, write
from attention_atlas.model.training.prepared import unpacked
from attention_atlas.model.training.run import Budget, TrainingRun
from attention_atlas.model.training.task import Task
from attention_atlas.model.training.teacher import NoTeacher
from attention_atlas.model.training.trainers import TRAINERS
from attention_atlas.model.zoo import WEIGHTS, pick_device

log = logging.getLogger("train")
Trainer = Callable[[Path, Tokenizer | None, int], Task[Any]]  # folder of text, tokenizer, seed


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m attention_atlas.model.training.train", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=sorted(TRAINERS))
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of text or pairs")
    parser.add_argument("--out", type=Path, help="default: model/weights/NAME")
    parser.add_argument("--state", type=Path, help="default: runs/NAME")
    parser.add_argument("--minutes", type=float, help="of training, resumed ones counted in")
    parser.add_argument("--tokens", type=int, help="default, without --minutes: 8 000 000")
    parser.add_argument(
        "--keep", type=int, nargs="*", default=[], help="weights after these tokens"
    )
    parser.add_argument("--batch-tokens", type=int, help="of a step; default: the task's")
    parser.add_argument("--threads", type=int, help="of torch; 1 beside other work")
    parser.add_argument("--device", help="cuda, mps or cpu; default: the best there is")
    scratch = "BERT from random weights, not from all-MiniLM-L6-v2"
    parser.add_argument("--scratch", action="store_true", help=scratch)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", choices=("processor", "gpu"), default="processor")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"), help="of --preset gpu")
    parser.add_argument("--resume", action="store_true", help="go on from --state or --out")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.threads:
        torch.set_num_threads(args.threads)
    folder: Path = args.state or Path("runs") / args.name
    out: Path = args.out or WEIGHTS / args.name
    before = folder if (folder / "state.pt").exists() else out
    if args.resume and not (before / "tokenizer.json").exists():
        log.error(f"there is nothing to resume in {folder} or {out}; leave out --resume to begin")
        return 2
    try:
        task = _task(args, Tokenizer.load(before / "tokenizer.json") if args.resume else None)
        folder.mkdir(parents=True, exist_ok=True)
        task.tokenizer.backend.save(str(folder / "tokenizer.json"))
        kind = GPURun if args.preset == "gpu" else TrainingRun
        run = kind(task, folder, pick_device(args.device), args.seed)
        run.keep = tuple(args.keep)
        if args.resume:
            log.info(f"{args.name} goes on from {before}")
            run.resume() if before == folder else run.take_over(out)
    except (corpus.NoData, NoTeacher, checkpoint.BadWeights) as error:
        log.error(str(error))
        return 2
    limited = args.minutes is not None or args.tokens is not None
    batch_tokens = args.batch_tokens or run.batch_tokens
    train(run, Budget(args.minutes, args.tokens if limited else 8_000_000), batch_tokens)
    write(run, out, batch_tokens)
    if args.data.exists():
        evaluate(out.name, args.data, run.device, folder=out.parent)
    return 0


def _task(args: argparse.Namespace, tokenizer: Tokenizer | None) -> Task[Any]:
    """From the text, or, for a GPU, from the arrays that were prepared."""
    prepared = args.prepared / f"{args.name}.xz"
    if args.preset == "gpu" and prepared.exists():
        task = unpacked(prepared)
        if tokenizer is not None and task.tokenizer.backend.to_str() != tokenizer.backend.to_str():
            raise corpus.NoData(f"{prepared} was prepared with another tokenizer")
        return task
    begun = args.name == "bert" and not args.scratch
    trainer: Trainer = AnchoredBertTask if begun else TRAINERS[args.name]
    return trainer(args.data, tokenizer, args.seed)


if __name__ == "__main__":
    sys.exit(main())
