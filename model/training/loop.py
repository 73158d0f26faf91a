"""The training loop, with its lines of progress and its curve, and what is written at its end."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict
from pathlib import Path

import torch
from attention_atlas.model import checkpoint
from attention_atlas.model.training import corpus
from attention_atlas.model.training.run import Budget, TrainingRun, held_out_loss, steps
from attention_atlas.model.zoo import Card

log = logging.getLogger("train")
CURVE_POINTS = 40


def train(run: TrainingRun, budget: Budget, batch_tokens: int) -> None:
    """Train, with a line of progress every few steps and the held-out loss along the way."""
    smooth, point = math.nan, -1
    for loss, done in steps(run, budget, batch_tokens):
        progress = run.progress
        if progress.step % run.read_every == 0 or math.isnan(smooth):
            smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
        if not math.isfinite(smooth):
            raise FloatingPointError(f"the loss is {smooth} at step {progress.step}")
        if progress.step % max(20, run.read_every) == 0:
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


def write(run: TrainingRun, out: Path, batch_tokens: int) -> None:
    """Weights, tokenizer and card: what the app ships."""
    out.mkdir(parents=True, exist_ok=True)
    sha256 = checkpoint.save(run.model, out / "model.safetensors", coarse=True)
    run.task.tokenizer.backend.save(str(out / "tokenizer.json"))
    run.model.eval()
    progress = run.progress
    card = Card(
        name=run.task.name,
        architecture=type(run.model).__name__,
        config=asdict(run.model.config),
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
            "longest": run.task.longest,
            "preset": run.preset,
            **({"start": run.task.start} if run.task.start else {}),
        },
        curve=progress.curve,
        heads=progress.heads,
    )
    (out / "card.json").write_text(json.dumps(asdict(card), indent=1, ensure_ascii=False) + "\n")
