"""Training on a GPU: `train NAME --preset gpu`, or several models one after another:

    python -m attention_atlas.model.training.gpu --prepared prepared --out trained --minutes 9

trains BERT, GPT and the translator from prepared token arrays (see `prepared`), each written to
OUT/NAME as soon as it is done. Called again, it goes on with what is not there yet.

Batches are made by worker processes and have few shapes, layers are compiled, Muon works on all
matrices of one shape at once, and the loss is read every 50 steps.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.loop import train, write
from attention_atlas.model.training.prepared import unpacked
from attention_atlas.model.training.run import Budget, MatrixOptimizer, TrainingRun, to
from attention_atlas.model.training.task import NO_LABEL, Batch, Task
from attention_atlas.model.transformer import MultiHeadAttention
from attention_atlas.model.zoo import pick_device
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

log = logging.getLogger("train")
BATCH_TOKENS = {"bert": 65_536, "gpt": 131_072, "translator": 65_536, "recurrent": 65_536}
SHARES = {"bert": 4.0, "gpt": 3.0, "translator": 2.0}  # of the minutes that there are
COMPILED = ("bert", "gpt")  # their batches have one or two shapes; the translator's have many
DROPOUT = 0.1  # each text is seen several times
PLACES = 0.16  # room for masked words, of all tokens; 15 % are chosen
WIDTH = 32  # lengths are padded to a multiple of this
WORKERS = 12
PRESET = "GPU: 128 tokens, no small batches; {tokens} tokens a batch, dropout {dropout}"


class StackedMuon(torch.optim.Optimizer):
    """torch.optim.Muon (Jordan et al. 2024), all matrices of one shape in one batched product.

    The update of 36 matrices takes a few large kernels instead of some hundred small ones.
    """

    COEFFICIENTS = (3.4445, -4.7750, 2.0315)

    def __init__(
        self,
        params: Any,
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        ns_steps: int = 5,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"momentum": momentum, "ns_steps": ns_steps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            same: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    same[parameter.shape].append(parameter)
            for matrices in same.values():
                self._update(group, matrices)

    def _update(self, group: dict[str, Any], matrices: list[Tensor]) -> None:
        """One step of n matrices (A, B)."""
        gradient = torch.stack([m.grad for m in matrices if m.grad is not None])  # (n, A, B)
        state = self.state[matrices[0]]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        average = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        update = self.orthogonal(gradient.lerp(average, group["momentum"]), group["ns_steps"])
        scale = 0.2 * max(matrices[0].shape) ** 0.5  # the root mean square of AdamW's updates
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(update.to(gradient.dtype)), alpha=-group["lr"] * scale)

    @classmethod
    def orthogonal(cls, update: Tensor, n_step: int) -> Tensor:
        """Newton-Schulz iteration: (n, A, B) -> the nearest orthogonal matrices, roughly."""
        a, b, c = cls.COEFFICIENTS
        tall = update.size(-2) > update.size(-1)
        x = update.bfloat16().mT if tall else update.bfloat16()
        x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
        for _ in range(n_step):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.mT if tall else x


def fixed(batch: Batch, pad: int) -> Batch:
    """BERT's batch, its length a multiple of WIDTH and its masked places of a fixed number."""
    B, T = batch["ids"].shape
    more = -T % WIDTH
    n = round(PLACES * B * (T + more))
    row, column = batch["places"][:n] // T, batch["places"][:n] % T
    room = (0, n - len(row))
    wider = {
        "ids": F.pad(batch["ids"], (0, more), value=pad),
        "segments": F.pad(batch["segments"], (0, more)),
        "places": F.pad(row * (T + more) + column, room),
        "label": F.pad(batch["label"][:n], room, value=NO_LABEL),
    }
    if "clean" in batch:
        wider["clean"] = F.pad(batch["clean"], (0, more), value=pad)
    return batch | wider


def set_dropout(model: nn.Module, share: float) -> None:
    """Dropout in training, whatever the model's config says."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        elif isinstance(module, MultiHeadAttention):
            module.dropout = share


class Batches(Dataset[Batch]):
    """The batch of each step: a function of the seed, the step and how far the run has come."""

    def __init__(
        self, task: Task[Any], seed: int, n_tokens: int, done: Synchronized[float]
    ) -> None:
        self.task, self.seed, self.n_tokens, self.done = task, seed, n_tokens, done

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        batch = self.task.batch(rng, self.n_tokens, self.done.value)
        return fixed(batch, self.task.pad) if isinstance(self.task, BertTask) else batch


class GPURun(TrainingRun):
    """A run whose batches come from worker processes and whose layers are compiled."""

    read_every = 50

    @property
    def batch_tokens(self) -> int:
        return BATCH_TOKENS[self.task.name]

    def __init__(
        self,
        task: Any,
        folder: Path,
        device: torch.device,
        seed: int,
        workers: int | None = None,
    ) -> None:
        task.lengths, task.small_until = ((128, 1.0),), 0.0
        super().__init__(task, folder, device, seed)
        set_dropout(self.model, DROPOUT)
        self.preset = PRESET.format(tokens=BATCH_TOKENS[task.name], dropout=DROPOUT)
        self.workers = WORKERS if workers is None else workers
        self.done = multiprocessing.Value("d", 0.0)
        self.batches: Iterator[Batch] | None = None
        if device.type == "cuda" and task.name in COMPILED:
            for layer in itertools.chain(
                getattr(self.model, "encoder", ()), getattr(self.model, "decoder", ())
            ):
                layer.compile(dynamic=False)

    def matrix_optimizer(self) -> MatrixOptimizer:
        return partial(StackedMuon, lr=self.task.matrix_rate, ns_steps=self.task.muon_steps)

    def batch(self, n_tokens: int, done: float) -> Batch:
        """The next batch of the workers; dropout is drawn as the device does, not by the step."""
        self.done.value = done
        if self.batches is None:
            torch.manual_seed(self.seed + self.progress.step)
            self.batches = iter(
                DataLoader(
                    Batches(self.task, self.seed, n_tokens, self.done),
                    batch_size=None,
                    sampler=itertools.count(self.progress.step),
                    num_workers=self.workers,
                    prefetch_factor=4 if self.workers else None,
                    pin_memory=self.device.type == "cuda",
                    multiprocessing_context="fork" if self.workers else None,
                )
            )
        return to(next(self.batches), self.device)

    def step(self, n_tokens: int, done: float) -> Tensor:
        loss = super().step(n_tokens, done)
        if self.device.type == "cuda" and self.progress.step % self.read_every == 0:
            torch.cuda.synchronize(self.device)  # so that the seconds counted are the device's
        return loss


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m attention_atlas.model.training.gpu", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--prepared", type=Path, default=Path("prepared"), help="folder of NAME.xz")
    parser.add_argument("--out", type=Path, default=Path("trained"), help="folder for NAME/")
    parser.add_argument("--minutes", type=float, default=9.0, help="of training, all together")
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes that make batches")
    parser.add_argument("--device", help="cuda, mps or cpu; default: the best there is")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    names = [name for name in SHARES if (args.prepared / f"{name}.xz").exists()]
    if not names:
        log.error(f"{args.prepared} holds no {', '.join(f'{name}.xz' for name in SHARES)}")
        return 2
    whole = sum(SHARES[name] for name in names)
    for name in names:
        out, state = args.out / name, args.out / "state" / name
        if (out / "card.json").exists():
            log.info(f"{out} is done")
            continue
        state.mkdir(parents=True, exist_ok=True)
        task = unpacked(args.prepared / f"{name}.xz")
        run = GPURun(task, state, pick_device(args.device), args.seed, args.workers)
        if (state / "state.pt").exists():
            run.resume()
        train(run, Budget(args.minutes * SHARES[name] / whole, None), run.batch_tokens)
        write(run, out, run.batch_tokens)
    return 0


if __name__ == "__main__":
    sys.exit(main())
