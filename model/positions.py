"""Position encodings, as functions to look at."""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoidal(n: int, d_model: int, *, base: float = 10_000.0) -> Tensor:
    """The paper's encoding (Vaswani et al. 2017, section 3.5), (n, D), even d_model.

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
