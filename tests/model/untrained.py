"""A tiny BERT with random weights, for a task's tokenizer."""

from __future__ import annotations

from dataclasses import asdict

import torch
from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.transformer import Bert, Config
from attention_atlas.model.zoo import Card, Loaded


def untrained_bert(task: BertTask) -> Loaded:
    """2 layers of 4 heads, the same weights at each call."""
    torch.manual_seed(1)
    config = Config(task.tokenizer.vocab_size, 128, 2, 4, 8, 12)
    card = Card("bert", "Bert", asdict(config), "")
    return Loaded(card, task.tokenizer, Bert(config).eval(), torch.device("cpu"))
