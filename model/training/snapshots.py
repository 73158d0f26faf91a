"""Keep weights of a run's way in a few bits each, beside the finished model: `gpt@2000000`.

    python -m attention_atlas.model.training.train gpt --tokens 8000000 --keep 1000000 2000000
    python -m attention_atlas.model.training.snapshots gpt --of 8000000 --tokens 1000000 2000000

Each is measured as it was trained and as it is stored.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from attention_atlas.model import checkpoint, zoo
from attention_atlas.model.snapshots import STEP, Snapshot, pack, unpack
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training import corpus
from attention_atlas.model.training.quality import look
from attention_atlas.model.training.run import held_out_loss
from attention_atlas.model.training.task import Task
from attention_atlas.model.training.trainers import TRAINERS
from attention_atlas.model.zoo import WEIGHTS
from safetensors.torch import load_file
from torch import Tensor, nn

log = logging.getLogger("snapshots")
CPU = torch.device("cpu")


def keep(
    name: str, state: Path, data: Path, tokens: list[int], of: int, weights: Path = WEIGHTS
) -> None:
    """Write weights/NAME/snapshots from the run in `state`, which was to have `of` tokens."""
    loaded = zoo.load(name, CPU, weights)
    assert isinstance(loaded.tokenizer, Tokenizer)
    task = TRAINERS[name](data, loaded.tokenizer, 0, train=False)
    progress = torch.load(state / "state.pt", map_location=CPU)["progress"]
    folder = weights / name / "snapshots"
    folder.mkdir(exist_ok=True)
    kept = []
    for wanted in sorted(tokens):
        row = next((row for row in progress["heads"] if row["tokens"] >= wanted), None)
        if row is None:
            raise checkpoint.BadWeights(f"{state} has no weights after {wanted} tokens")
        trained = load_file(str(state / f"step-{row['step']}.safetensors"))
        packed = pack(trained)
        measured = {
            "trained": measure(task, loaded.model, {k: v.float() for k, v in trained.items()}),
            "stored": measure(task, loaded.model, unpack(packed)),
        }
        snapshot = Snapshot(
            tokens=wanted,
            steps=row["step"],
            sha256=hashlib.sha256(packed).hexdigest(),
            longest=task.longest_at(wanted / of),
            held_out_loss={how: round(loss, 4) for how, (loss, _) in measured.items()},
            induction={how: best(heads) for how, (_, heads) in measured.items()},
            heads=measured["stored"][1],
        )
        (folder / snapshot.file).write_bytes(packed)
        log.info(f"{name}@{wanted}: {len(packed) / 1e6:.2f} MB, {snapshot}")
        kept.append(asdict(snapshot))
    training = {
        "of_tokens": of,
        "seed": 0,
        "recipe": task.recipe,
        "step": STEP,
        "threads": torch.get_num_threads(),
    }
    card = {"training": training, "snapshots": kept}
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def measure(
    task: Task[Any], model: nn.Module, state: dict[str, Tensor]
) -> tuple[float, dict[str, Any]]:
    """The held-out loss, and what each head does."""
    model.load_state_dict(state)
    return held_out_loss(task, model, CPU), look(task, model, CPU)


def best(heads: dict[str, Any]) -> float:
    """The highest induction score of a head; 0 where none is measured."""
    scores = heads.get("decoder", {}).get("induction", [[0.0]])
    return max(max(row) for row in scores)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m attention_atlas.model.training.snapshots",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=sorted(TRAINERS))
    parser.add_argument("--tokens", type=int, nargs="+", required=True, help="of training")
    parser.add_argument("--of", type=int, required=True, help="tokens that the run was to have")
    parser.add_argument("--state", type=Path, help="default: runs/NAME")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of text")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        keep(args.name, args.state or Path("runs") / args.name, args.data, args.tokens, args.of)
    except (checkpoint.BadWeights, corpus.NoData, OSError) as error:
        log.error(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
