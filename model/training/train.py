"""Train a bundled model (translator, recurrent, bert, gpt) from text.

    python -m attention_atlas.model.training.train bert --minutes 30
    python -m attention_atlas.model.training.train bert --minutes 60 --resume

State goes to runs/NAME, every other minute; the weights, tokenizer and card to model/weights/NAME.
Without a state, --resume goes on from those weights and their card; the optimizers begin anew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attention_atlas.model import checkpoint
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training import corpus
from attention_atlas.model.training.anchor import AnchoredBertTask
from attention_atlas.model.training.evaluate import evaluate
from attention_atlas.model.training.quality import look
from attention_atlas.model.training.tasks import TASKS, Batch, Task
from attention_atlas.model.training.teacher import NoTeacher
from attention_atlas.model.zoo import WEIGHTS, Card, pick_device
from torch import Tensor, nn

log = logging.getLogger("train")
Trainer = Callable[[Path, Tokenizer | None, int], Task]  # folder of text, tokenizer, seed
SAVE_EVERY = 120.0  # seconds
CURVE_POINTS = 40
LOOKS = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)  # of the run: the heads so far


@dataclass
class Progress:
    """How far a run has come; saved with its weights, so `--resume` goes on to the minute."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    heads: list[dict[str, Any]] = field(default_factory=list)
    looked: float = -1.0  # the share of the run at which the heads were last looked at


@dataclass(frozen=True)
class Budget:
    """A run ends at a number of minutes or of tokens; the learning rate falls towards that end."""

    minutes: float | None
    tokens: int | None

    def done(self, progress: Progress) -> float:
        """0 at the start, 1 at the end."""
        shares = [0.0]
        if self.minutes is not None:
            shares.append(progress.seconds / (60 * self.minutes))
        if self.tokens is not None:
            shares.append(progress.tokens / self.tokens)
        return min(1.0, max(shares))

    def seconds_left(self, progress: Progress) -> float:
        done = self.done(progress)
        return progress.seconds * (1 - done) / done if done else math.inf


def optimizers(model: nn.Module, task: Task) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices inside the layers, AdamW for the rest."""
    inside = {
        name: p
        for name, p in model.named_parameters()
        if p.ndim == 2 and name.startswith(("encoder.", "decoder."))
    }
    muon = getattr(torch.optim, "Muon", None)  # since torch 2.9
    matrices = list(inside.values()) if muon else []
    rest = [(name, p) for name, p in model.named_parameters() if not muon or name not in inside]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(_groups(rest, task), betas=(0.9, 0.98), weight_decay=0.01)
    ]
    if muon:
        found.append(
            muon(
                matrices,
                lr=task.matrix_rate,
                weight_decay=0.1,
                ns_steps=task.muon_steps if isinstance(task, AnchoredBertTask) else 5,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    for optimizer in found:
        for group in optimizer.param_groups:
            group["top_lr"] = group["lr"]
            group.setdefault("head_lr", 0.0)
    return found


def _groups(parameters: list[tuple[str, nn.Parameter]], task: Task) -> list[dict[str, Any]]:
    """AdamW's parameters, those of one rate together."""
    if not isinstance(task, AnchoredBertTask):
        return [{"params": [p for _, p in parameters], "lr": task.learning_rate}]
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, p in parameters:
        groups.setdefault(task.rates(name), []).append(p)
    return [{"params": ps, "head_lr": head, "lr": lr} for (head, lr), ps in groups.items()]


def rate(task: Task, group: dict[str, Any], done: float, step: int) -> float:
    """A parameter group's learning rate at a share of the run."""
    if isinstance(task, AnchoredBertTask):
        return task.rate(group, done)
    return group["top_lr"] * schedule(done, step)


def schedule(done: float, step: int) -> float:
    """The learning rate's factor: 100 steps up, level, then down to 0 over the second half."""
    return min(1.0, (step + 1) / 100, max(0.0, 2 * (1 - done)))


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bfloat16 where the processor has it in hardware."""
    cpu = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    cuda = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if cpu or cuda:
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def n_token(batch: Batch) -> int:
    """Tokens a batch shows the model, padding included."""
    return sum(batch[name].numel() for name in ("ids", "source", "target") if name in batch)


def to(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device) for name, tensor in batch.items()}


@torch.inference_mode()
def held_out_loss(task: Task, model: nn.Module, device: torch.device) -> float:
    """Mean loss over the task's held-out batches, the same ones each time."""
    model.eval()
    rng = np.random.default_rng(0)
    with autocast(device):
        losses = [task.loss(model, to(batch, device)).item() for batch in task.held_out(rng, 6)]
    model.train()
    return sum(losses) / len(losses)


class Run:
    """One training run: model, optimizers, progress, and where they are saved."""

    def __init__(self, task: Task, folder: Path, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        self.task, self.folder, self.device, self.seed = task, folder, device, seed
        self.model = task.build().to(device).train()
        self.optimizers = optimizers(self.model, task)
        self.progress = Progress()
        self.first_step = 0  # of these optimizers: they warm up from here

    def step(self, n_tokens: int, done: float) -> Tensor:
        rng = np.random.default_rng((self.seed, self.progress.step))
        batch = to(self.task.batch(rng, n_tokens, done), self.device)
        torch.manual_seed(int(rng.integers(2**32)))  # dropout too depends on (seed, step) alone
        with autocast(self.device):
            loss = self.task.loss(self.model, batch)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(self.task, group, done, self.progress.step - self.first_step)
            optimizer.step()
            optimizer.zero_grad()
        self.progress.step += 1
        self.progress.tokens += n_token(batch)
        return loss.detach()

    def look(self, done: float) -> None:
        """What each head does now, for the card; and the weights, to look at the rest later."""
        self.progress.looked = done
        if any(row["step"] == self.progress.step for row in self.progress.heads):
            return
        heads = look(self.task, self.model, self.device)
        now = {"step": self.progress.step, "tokens": self.progress.tokens}
        self.progress.heads.append({**now, **heads})
        checkpoint.save(self.model, self.folder / f"step-{self.progress.step}.safetensors")

    def save(self) -> None:
        """Written beside the old state and then put in its place, so a crash loses nothing."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": asdict(self.progress),
            "first_step": self.first_step,
        }
        new = self.folder / "state.new"
        torch.save(state, new)
        new.replace(self.folder / "state.pt")

    def resume(self) -> None:
        state = torch.load(self.folder / "state.pt", map_location=self.device)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            rates = [group["top_lr"] for group in optimizer.param_groups]  # the task's, not the old
            optimizer.load_state_dict(saved)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["top_lr"] = rate
        self.progress = Progress(**state["progress"])
        self.first_step = state.get("first_step", 0)

    def take_over(self, folder: Path) -> None:
        """Go on from finished weights, as far as their card says they have come."""
        card = Card.read(folder)
        if not card.training:
            raise checkpoint.BadWeights(
                f"{folder}/card.json does not say how far training has come"
            )
        checkpoint.load(self.model, folder / "model.safetensors")
        self.progress = Progress(
            step=card.training["steps"],
            tokens=card.training["tokens"],
            seconds=60 * card.training["minutes"],
            curve=card.curve,
            heads=card.heads,
        )
        self.first_step = self.progress.step


def steps(run: Run, budget: Budget, batch_tokens: int) -> Iterator[tuple[Tensor, float]]:
    """Train until the budget is spent, saving every other minute."""
    saved = time.monotonic()
    while (done := budget.done(run.progress)) < 1:
        if any(run.progress.looked < share <= done for share in LOOKS):
            run.look(done)
        began = time.monotonic()
        loss = run.step(batch_tokens, done)
        run.progress.seconds += time.monotonic() - began
        yield loss, done
        if time.monotonic() - saved > SAVE_EVERY:
            run.save()
            saved = time.monotonic()
    run.look(1.0)
    run.save()


def train(run: Run, budget: Budget, batch_tokens: int) -> None:
    """Train, with a line of progress every few steps and the held-out loss along the way."""
    smooth, point = math.nan, -1
    for loss, done in steps(run, budget, batch_tokens):
        progress = run.progress
        smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
        if not math.isfinite(smooth):
            raise FloatingPointError(f"the loss is {smooth} at step {progress.step}")
        if progress.step % 20 == 0:
            rate = progress.tokens / progress.seconds
            left = budget.seconds_left(progress) / 60
            log.info(
                f"{run.task.name} step {progress.step} loss {smooth:.3f} "
                f"{progress.tokens / 1e6:.2f} M tokens, {rate:.0f} tokens/s, {left:.0f} min left"
            )
        if int(done * CURVE_POINTS) > point:
            point = int(done * CURVE_POINTS)
            held_out = held_out_loss(run.task, run.model, run.device)
            row = {"step": progress.step, "tokens": progress.tokens, "loss": round(smooth, 4)}
            progress.curve.append({**row, "held_out_loss": round(held_out, 4)})
            log.info(f"{run.task.name} held-out loss {held_out:.3f}")


def write(run: Run, out: Path, batch_tokens: int) -> None:
    """Weights, tokenizer and card: what the app ships."""
    out.mkdir(parents=True, exist_ok=True)
    sha256 = checkpoint.save(run.model, out / "model.safetensors")
    run.task.tokenizer.backend.save(str(out / "tokenizer.json"))
    run.model.eval()
    progress = run.progress
    card = Card(
        name=run.task.name,
        architecture=type(run.model).__name__,
        config=asdict(run.model.config),  # type: ignore[call-overload]
        sha256=sha256,
        data=corpus.provenance(run.task.sources),
        training={
            "minutes": round(progress.seconds / 60, 1),
            "steps": progress.step,
            "tokens": progress.tokens,
            "tokens_per_second": round(progress.tokens / max(progress.seconds, 1e-9)),
            "device": str(run.device),
            "torch_threads": torch.get_num_threads(),
            "optimizer": " + ".join(type(o).__name__ for o in run.optimizers),
            "learning_rate": run.task.learning_rate,
            "matrix_rate": run.task.matrix_rate,
            "batch_tokens": batch_tokens,
            "seed": run.seed,
            "recipe": run.task.recipe,
            **({"start": run.task.start} if isinstance(run.task, AnchoredBertTask) else {}),
        },
        curve=progress.curve,
        heads=progress.heads,
    )
    (out / "card.json").write_text(json.dumps(asdict(card), indent=1, ensure_ascii=False) + "\n")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m attention_atlas.model.training.train", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=sorted(TASKS))
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of text or pairs")
    parser.add_argument("--out", type=Path, help="default: model/weights/NAME")
    parser.add_argument("--state", type=Path, help="default: runs/NAME")
    parser.add_argument("--minutes", type=float, help="of training, resumed ones counted in")
    parser.add_argument("--tokens", type=int, help="default, without --minutes: 8 000 000")
    parser.add_argument("--batch-tokens", type=int, help="of a step; default: the task's")
    parser.add_argument("--threads", type=int, help="of torch; 1 beside other work")
    parser.add_argument("--device", help="cuda, mps or cpu; default: the best there is")
    scratch = "BERT from random weights, not from all-MiniLM-L6-v2"
    parser.add_argument("--scratch", action="store_true", help=scratch)
    parser.add_argument("--seed", type=int, default=0)
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
        tokenizer = Tokenizer.load(before / "tokenizer.json") if args.resume else None
        begun = args.name == "bert" and not args.scratch
        trainer: Trainer = AnchoredBertTask if begun else TASKS[args.name]
        task = trainer(args.data, tokenizer, args.seed)
    except (corpus.NoData, NoTeacher) as error:
        log.error(str(error))
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    task.tokenizer.backend.save(str(folder / "tokenizer.json"))
    run = Run(task, folder, pick_device(args.device), args.seed)
    if args.resume:
        log.info(f"{args.name} goes on from {before}")
    try:
        if args.resume and before == folder:
            run.resume()
        elif args.resume:
            run.take_over(out)
    except checkpoint.BadWeights as error:
        log.error(str(error))
        return 2
    limited = args.minutes is not None or args.tokens is not None
    batch_tokens = args.batch_tokens or task.batch_tokens
    train(run, Budget(args.minutes, args.tokens if limited else 8_000_000), batch_tokens)
    write(run, out, batch_tokens)
    evaluate(out.name, args.data, run.device, folder=out.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
