"""A training run: the model, its optimizers, how far it has come, and where it is saved."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attention_atlas.model import checkpoint
from attention_atlas.model.training.quality import look
from attention_atlas.model.training.task import Batch, Task
from attention_atlas.model.zoo import Card
from torch import Tensor, nn

SAVE_EVERY = 120.0  # seconds
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


MatrixOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]


def optimizers(
    model: nn.Module, task: Task[Any], for_matrices: MatrixOptimizer | None, *, fused: bool = False
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices inside the layers, AdamW for the rest."""
    inside = {
        name: p
        for name, p in model.named_parameters()
        if p.ndim == 2 and name.startswith(("encoder.", "decoder."))
    }
    if for_matrices is None:
        inside = {}
    rest = [(name, p) for name, p in model.named_parameters() if name not in inside]
    both: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(_groups(rest, task), betas=(0.9, 0.98), weight_decay=0.01, fused=fused)
    ]
    if for_matrices is not None and inside:
        both.append(for_matrices(list(inside.values())))
    for optimizer in both:
        for group in optimizer.param_groups:
            group["top_lr"] = group["lr"]
            group.setdefault("head_lr", 0.0)
    return both


def muon(task: Task[Any]) -> MatrixOptimizer | None:
    """torch's Muon, which there is since torch 2.9."""
    if not hasattr(torch.optim, "Muon"):
        return None
    return partial(
        torch.optim.Muon,
        lr=task.matrix_rate,
        weight_decay=0.1,
        ns_steps=task.muon_steps,
        adjust_lr_fn="match_rms_adamw",
    )


def _groups(parameters: list[tuple[str, nn.Parameter]], task: Task[Any]) -> list[dict[str, Any]]:
    """AdamW's parameters, those of one rate together."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, p in parameters:
        groups.setdefault(task.rates(name), []).append(p)
    return [{"params": ps, "head_lr": head, "lr": lr} for (head, lr), ps in groups.items()]


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
    """The batch on a device; a single number stays where it can be read at once."""
    return {
        name: tensor.to(device, non_blocking=tensor.is_pinned()) if tensor.ndim else tensor
        for name, tensor in batch.items()
    }


@torch.inference_mode()
def held_out_loss(task: Task[Any], model: nn.Module, device: torch.device) -> float:
    """Mean loss over the task's held-out batches, the same ones each time."""
    model.eval()
    rng = np.random.default_rng(0)
    with autocast(device):
        losses = [task.loss(model, to(batch, device)).item() for batch in task.held_out(rng, 6)]
    model.train()
    return sum(losses) / len(losses)


class TrainingRun:
    """Model, optimizers and progress of one run, saved in a folder."""

    read_every = 1  # steps between readings of the loss
    preset = "processor"

    @property
    def batch_tokens(self) -> int:
        """Of a step, unless the command says otherwise."""
        return self.task.batch_tokens

    def __init__(self, task: Task[Any], folder: Path, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        self.task, self.folder, self.device, self.seed = task, folder, device, seed
        self.model = task.build().to(device).train()
        fused = device.type == "cuda"
        self.optimizers = optimizers(self.model, task, self.matrix_optimizer(), fused=fused)
        self.progress = Progress()
        self.keep: tuple[int, ...] = ()  # tokens after which the weights are kept
        self.first_step = 0  # of these optimizers: they warm up from here

    def matrix_optimizer(self) -> MatrixOptimizer | None:
        return muon(self.task)

    def batch(self, n_tokens: int, done: float) -> Batch:
        """The batch of this step, and dropout's seed: both depend on (seed, step) alone."""
        rng = np.random.default_rng((self.seed, self.progress.step))
        batch = self.task.batch(rng, n_tokens, done)
        torch.manual_seed(int(rng.integers(2**32)))
        return to(batch, self.device)

    def step(self, n_tokens: int, done: float) -> Tensor:
        batch = self.batch(n_tokens, done)
        with autocast(self.device):
            loss = self.task.loss(self.model, batch)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.task.rate(group, done, self.progress.step - self.first_step)
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


def steps(run: TrainingRun, budget: Budget, batch_tokens: int) -> Iterator[tuple[Tensor, float]]:
    """Train until the budget is spent, saving every other minute."""
    saved = time.monotonic()
    while (done := budget.done(run.progress)) < 1:
        if any(run.progress.looked < share <= done for share in LOOKS):
            run.look(done)
        began, before = time.monotonic(), run.progress.tokens
        loss = run.step(batch_tokens, done)
        run.progress.seconds += time.monotonic() - began
        if any(before < tokens <= run.progress.tokens for tokens in run.keep):
            run.look(done)
        yield loss, done
        if time.monotonic() - saved > SAVE_EVERY:
            run.save()
            saved = time.monotonic()
    run.look(1.0)
    run.save()
