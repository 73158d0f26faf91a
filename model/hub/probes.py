"""What a model's modules do, found by what they give for a trial's tokens and not by family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from attention_atlas.model.hub.findings import LONGEST, InputParts, Sizes, Stack, Table
from attention_atlas.model.hub.stacks import encoder_of, rows
from attention_atlas.model.hub.trial import Trial
from attention_atlas.model.tape import Kind
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

WIDTHS = ("intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim", "n_inner", "hidden_dim")
LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
TABLES = ("position_embeddings", "embed_positions", "wpe", "position_embedding")


def position_tables(trial: Trial) -> dict[Stack, Table]:
    """The modules that give position vectors, and which row the first position takes."""
    named = {
        name: module
        for name, module in trial.model.named_modules()
        if name.endswith(TABLES) and rows(module).ndim == 2
    }
    with outputs_of(named.values()) as given:
        trial.run()
    words = int(rows(trial.model.get_input_embeddings()).size(-1))
    widths = {trial.model.config.get_text_config().hidden_size, words}
    tables: dict[Stack, Table] = {}
    names = {module: name for name, module in named.items()}
    for module, vectors in given.items():
        if not isinstance(vectors, Tensor):
            continue  # I-BERT's come with a scale
        if vectors.size(-1) not in widths:
            continue  # not added to the words: RoFormer turns queries and keys by them
        first = vectors.reshape(-1, vectors.size(-1))[0]
        row = int((rows(module) - first).abs().sum(-1).argmin())
        is_decoders = trial.target is not None and "decoder" in names[module]
        stack: Stack = "decoder" if is_decoders else trial.reads
        tables.setdefault(stack, Table(module, row))
    return tables


def input_parts(trial: Trial, tables: Mapping[Stack, Table]) -> InputParts | None:
    """Word and segment vectors, if with the positions their sum is what the first layer reads, or
    what the norm before it does."""
    model, normed = trial.model, list[Tensor]()
    if trial.reads not in tables:
        return None
    reader = model if trial.target is None else encoder_of(model)
    word, position = reader.get_input_embeddings(), tables[trial.reads].module
    ends = "token_type_embeddings"
    segment = next((m for name, m in model.named_modules() if name.endswith(ends)), None)
    parts = [module for module in (word, position, segment) if module is not None]
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    hooks = [m.register_forward_pre_hook(lambda _, x: normed.append(x[0])) for m in norms]
    with outputs_of(parts) as given, removed(hooks):
        first = trial.run(output_hidden_states=True)[trial.reads].output.hidden_states[0]
    if not {word, position} <= given.keys():
        return None
    if given[word].size(-1) != given[position].size(-1):
        return None
    rest = given[position] if segment is None else given[position] + given[segment]
    for scale in (1.0, given[word].size(-1) ** 0.5):
        total = given[word] * scale + rest
        if any(x.shape == total.shape and _same(x, total) for x in (first, *normed)):
            return InputParts(word, scale, segment)
    return None


def last_layers(trial: Trial) -> tuple[nn.Module, ...]:
    """The last layer of each stack: its output is the residual stream before the last norm.

    Found by what it gives: the other layers of its list give the hidden states, in order.
    """
    lists = [m for m in trial.model.modules() if isinstance(m, nn.ModuleList) and len(m) > 1]
    with outputs_of([layer for layers in lists for layer in layers], last=True) as given:
        passes = trial.run(output_hidden_states=True)
    last = []
    for passed in passes.values():
        states = list(passed.output.hidden_states)[1:]
        for layers in lists:
            mine = [given.get(layer) for layer in layers]
            same = [x is not None and torch.equal(x, y) for x, y in zip(mine, states, strict=False)]
            if len(mine) == len(states) and all(same[:-1]) and mine[-1] is not None:
                last.append(layers[-1])
    return tuple(last)


@contextmanager
def outputs_of(
    modules: Iterable[nn.Module], *, last: bool = False
) -> Iterator[dict[nn.Module, Tensor]]:
    """What modules give while the block runs: the first time, or the last."""
    given: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, _: object, output: Any) -> None:
        x = output[0] if isinstance(output, tuple) else output
        if isinstance(x, Tensor) and (last or module not in given):
            given[module] = x

    with removed([module.register_forward_hook(keep) for module in modules]):
        yield given


@contextmanager
def removed(hooks: Sequence[RemovableHandle]) -> Iterator[None]:
    """Hooks that are there while the block runs."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def sizes_of(
    model: Any, own: Mapping[Kind, Sequence[Tensor]], tables: Mapping[Stack, Table]
) -> Sizes:
    """A model's sizes, by its attention and its config."""
    config = model.config.get_text_config()
    n_head = max(attn.size(1) for layers in own.values() for attn in layers)
    d_model = config.hidden_size
    n_ctx = _first(config, LENGTHS, LONGEST)
    ends = [rows(table.module).size(0) - table.first for table in tables.values()]
    return Sizes(
        vocab_size=config.vocab_size,
        n_ctx=min(n_ctx, LONGEST, *ends),
        n_layer=max(map(len, own.values())),
        n_head=n_head,
        d_model=d_model,
        d_head=_first(config, ("head_dim", "d_kv"), d_model // n_head),
        d_ff=_first(config, WIDTHS, 4 * d_model),
        n_kv_head=_first(config, ("num_key_value_heads", "num_kv_heads"), n_head),
    )


def positions_of(model: Any, tables: Mapping[Stack, Table]) -> str:
    """How the model knows where a token is."""
    config = model.config
    kinds = {type(module).__name__.lower() for module in model.modules()}
    names = " ".join(name for name, _ in model.named_modules()) + " ".join(
        name for name, _ in model.named_parameters()
    )
    if tables:
        classes = [type(table.module).__name__.lower() for table in tables.values()]
        return "sinusoidal" if any("sinusoidal" in name for name in classes) else "learned"
    if getattr(config, "alibi", False) or config.model_type in ("bloom", "mpt"):
        return "alibi"  # Falcon has the modules for rotation even then
    turns = getattr(config, "rotary_dim", None) or hasattr(config, "rotary_value")
    if turns or any("rotary" in kind for kind in kinds):
        return "rotary"
    if any(part in names for part in ("relative", "rel_embeddings", "r_r_bias")):
        return "relative"
    return "none"


def _first(config: Any, names: Sequence[str], otherwise: int) -> int:
    """The first of some names that a config has as a number."""
    values = (getattr(config, name, None) for name in names)
    return next((x for x in values if isinstance(x, int) and x > 0), otherwise)


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal but for the order in which a few vectors were added."""
    return bool((a - b).abs().max() <= 8 * torch.finfo(b.dtype).eps * b.abs().max())
