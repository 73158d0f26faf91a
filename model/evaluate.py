"""Measured quality of a trained model, on text it has never seen."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from model import metrics
from model.generate import translate
from model.tape import Tape
from model.tasks import BertTask, GPTTask, Task, TranslatorTask, padded
from model.transformer import GPT, Bert, EncoderDecoder

Measured = dict[str, float | int | str]


@torch.inference_mode()
def evaluate(task: Task, model: nn.Module, device: torch.device) -> Measured:
    """What the card says of a model; each measure with the number of items behind it."""
    model.eval()
    if isinstance(task, TranslatorTask) and isinstance(model, EncoderDecoder):
        return evaluate_translator(task, model, device)
    if isinstance(task, BertTask) and isinstance(model, Bert):
        return evaluate_bert(task, model, device)
    if isinstance(task, GPTTask) and isinstance(model, GPT):
        return evaluate_gpt(task, model, device)
    raise TypeError(f"{type(task).__name__} does not measure {type(model).__name__}")


def evaluate_translator(
    task: TranslatorTask, model: EncoderDecoder, device: torch.device
) -> Measured:
    """BLEU of greedy translations of the held-out pairs (or dev.tsv), one reference each."""
    try:
        from sacrebleu import corpus_bleu
    except ModuleNotFoundError:
        raise SystemExit("BLEU needs sacrebleu: pip install 'attention-atlas[train]'") from None
    pairs = task.dev[:: max(1, len(task.dev) // 500)]
    end, begin, pad = (task.tokenizer.id(raw) for raw in ("</s>", "<s>", "<pad>"))
    found: list[str] = []
    for start in range(0, len(pairs), 50):
        rows = [np.append(s, end) for s, _ in pairs[start : start + 50]]
        source = padded(rows, pad).to(device)
        ids = translate(model, source, begin=begin, end=end, padding=source != pad, max_tokens=100)
        found += [task.tokenizer.decode(row) for row in ids]
    wanted = [task.tokenizer.decode(target.tolist()) for _, target in pairs]
    bleu = corpus_bleu(found, [wanted])
    return {"bleu": round(bleu.score, 2), "bleu_pairs": len(pairs), "decoding": "greedy"}


def evaluate_bert(task: BertTask, model: Bert, device: torch.device) -> Measured:
    """Masked-word and next-sentence accuracy on held-out documents, and its best heads."""
    right = words = right_next = n_pair = 0
    rng = np.random.default_rng(1)
    for batch in task.held_out(rng, 24):
        ids, segments = batch["ids"].to(device), batch["segments"].to(device)
        x = model.encode(ids, segments, None, ids != task.pad)
        logits = model.masked_words(x.flatten(0, 1)[batch["places"].to(device)])
        right += int((logits.argmax(-1).cpu() == batch["label"]).sum())
        words += batch["label"].numel()
        right_next += int((model.next_sentence(x).argmax(-1).cpu() == batch["next"]).sum())
        n_pair += batch["next"].numel()
    passes = []
    for row, segment in zip(ids, segments, strict=True):  # one by one, so without padding
        tape, real = Tape(), row != task.pad
        model.encode(row[real][None], segment[real][None], tape)
        passes.append(tape)
    return {
        "masked_word_accuracy": round(right / words, 4),
        "masked_words": words,
        "next_sentence_accuracy": round(right_next / n_pair, 4),
        "sentence_pairs": n_pair,
        **best_heads(passes, ("previous_token", "next_token")),
    }


def evaluate_gpt(task: GPTTask, model: GPT, device: torch.device) -> Measured:
    """Bits per byte of each corpus's held-out documents, and its best heads."""
    found: Measured = {}
    tape = Tape()
    for name, texts in task.dev_texts.items():
        ids = torch.from_numpy(task.stream(texts[:60])[:20_481].astype(np.int64)).to(device)
        windows = [ids[i : i + 513] for i in range(0, len(ids) - 1, 512)]
        loss = sum(
            F.cross_entropy(model(w[None, :-1])[0], w[1:], reduction="sum").item() for w in windows
        )
        n_byte = len(task.tokenizer.decode(ids.tolist()).encode())
        found[f"bits_per_byte_{name}"] = round(loss / math.log(2) / n_byte, 3)
        found[f"bytes_{name}"] = n_byte
    model(windows[0][None, :-1], tape)
    return {**found, **best_heads([tape], ("previous_token", "first_token"))}


def best_heads(passes: list[Tape], names: tuple[str, ...]) -> Measured:
    """For each metric the head that scores highest on held-out texts: "L2 H5 0.81"."""
    texts = [torch.cat([step.attn for step in tape]) for tape in passes]  # each (L, H, T, T)
    found: Measured = {}
    for name in names:
        score = torch.stack([metrics.METRICS[name](attn) for attn in texts]).mean(0)  # (L, H)
        layer, head = divmod(int(score.argmax()), score.size(1))
        found[f"best_{name}_head"] = f"L{layer} H{head} {score.max():.2f}"
    return found
