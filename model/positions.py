"""Sinusoidal position encodings, and what follows from their definition."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

BASE = 10_000.0  # in the paper


def sinusoidal(n: int, d_model: int, *, base: float = BASE) -> Tensor:
    """The encoding of Vaswani et al. 2017, section 3.5: (n, D), for an even d_model.

    PE(pos, 2i) = sin(pos / base^(2i/D)), PE(pos, 2i+1) = cos(pos / base^(2i/D))
    """
    if d_model % 2:
        raise ValueError(
            f"d_model is {d_model}; sines and cosines come in pairs, so it must be even"
        )
    position = torch.arange(n, dtype=torch.float64)[:, None]
    frequency = base ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)  # (D/2,)
    angle = position * frequency  # (n, D/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


def wavelengths(d_model: int, *, base: float = BASE) -> Tensor:
    """The wavelength of each pair of dimensions, in positions: (D/2,), from 2 pi up."""
    return 2 * math.pi * base ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)


def shift_matrix(k: int, d_model: int, *, base: float = BASE) -> Tensor:
    """M with PE(pos + k) = M PE(pos) for every pos, (D, D): a rotation of each pair.

    sin(a + b) and cos(a + b) are linear in sin a and cos a, so that relative positions are easy
    to learn (section 3.5).
    """
    angle = k * base ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)  # (D/2,)
    turn = torch.zeros(d_model, d_model, dtype=torch.float64)
    sines, cosines = torch.arange(0, d_model, 2), torch.arange(1, d_model, 2)
    turn[sines, sines] = turn[cosines, cosines] = angle.cos()
    turn[sines, cosines], turn[cosines, sines] = angle.sin(), -angle.sin()
    return turn.float()


def shift_turns(k: int, d_model: int, *, base: float = BASE) -> Tensor:
    """The blocks on the diagonal of `shift_matrix`, one for each pair: (D/2, 2, 2)."""
    blocks = shift_matrix(k, d_model, base=base).view(d_model // 2, 2, d_model // 2, 2)
    return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()


def shift_error(encoding: Tensor, k: int, *, base: float) -> float | None:
    """The largest |PE(pos + k) - M PE(pos)|: encoding (n, D) -> about 1e-6; None if k >= n."""
    if k >= len(encoding):
        return None
    moved = encoding[: len(encoding) - k] @ shift_matrix(k, encoding.size(1), base=base).T
    return (moved - encoding[k:]).abs().max().item()


def likeness(encoding: Tensor, measure: str) -> Tensor:
    """The similarity of every two positions: (n, D) -> (n, n), by "cosine" or "dot"."""
    x = F.normalize(encoding, dim=-1) if measure == "cosine" else encoding
    return x @ x.T


class Described(NamedTuple):
    """What an encoding, (n, D), shows of itself; the last three are of sines alone."""

    similarity: Tensor  # (n, n)
    by_distance: Tensor  # (n,)
    wavelengths: Tensor  # (D / 2,), or (0,)
    turns: Tensor  # (D / 2, 2, 2), or (0, 2, 2)
    shift_error: float | None


def described(encoding: Tensor, measure: str, shift: int, base: float | None) -> Described:
    """Its similarities; and what a shift does, if these are sines of this `base`."""
    alike = likeness(encoding, measure)
    waves, turns, error = encoding.new_zeros(0), encoding.new_zeros(0, 2, 2), None
    if base is not None:
        D = encoding.size(1)
        waves = wavelengths(D, base=base).float()
        turns = shift_turns(shift, D, base=base)
        error = shift_error(encoding, shift, base=base)
    return Described(alike, by_distance(alike), waves, turns, error)


def by_distance(similarity: Tensor) -> Tensor:
    """The mean similarity of positions k apart: (n, n) -> (n,)."""
    n = similarity.size(0)
    return torch.stack([similarity.diagonal(k).mean() for k in range(n)])
