"""A few tokens through a model of transformers: what it does, and whether the lens sees that.

`adapted(model)` gives it the methods of ours. What the lens records of the trial is compared with
the model's own eager attention; a model for which the two differ, or that never calls the lens,
keeps its eager attention and lacks the rest. No family is known by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from attention_atlas.model.hub.adapters import (
    LACKING,
    HubDecoder,
    HubEncoder,
    HubEncoderDecoder,
    HubModel,
    Parts,
    Sizes,
    Stack,
    attentions,
    base_of,
    projected,
    rows,
)
from attention_atlas.model.hub.folder import Limits, check_memory
from attention_atlas.model.hub.lens import NAME, Call, Place, Seen, calling
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.protocol import Batch
from attention_atlas.model.tape import Kind, Quantity, Tape
from torch import Tensor, nn

LONGEST = 2048  # tokens taken of a model whose positions go on
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
HALF = 3e-2  # of float16 and bfloat16, where no memory is left for float32
WIDTHS = ("intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim", "n_inner", "hidden_dim")
LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
TABLES = ("position_embeddings", "embed_positions", "wpe", "position_embedding")


class Trial:
    """A few tokens through a model's stacks: 7 of a source, 4 of a target."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.both = "decoder_input_ids" in signature(type(model).forward).parameters
        middle, device = model.config.get_text_config().vocab_size // 2, model.device
        self.source = torch.arange(middle, middle + 7, device=device)[None]
        self.target = self.source[:, :4]
        self.batch = Batch(self.source, target=self.target if self.both else None)

    def run(self, **options: Any) -> dict[Stack, Any]:
        """The output of each stack; of a model with one text it is called "encoder" here."""
        if not self.both:
            return {"encoder": base_of(self.model)(input_ids=self.source, **options)}
        encoded = self.model.get_encoder()(input_ids=self.source, **options)
        memory = projected(self.model, encoded.last_hidden_state)
        options |= {"encoder_hidden_states": memory, "use_cache": False}
        decoder = base_of(self.model.get_decoder())
        return {"encoder": encoded, "decoder": decoder(input_ids=self.target, **options)}


@torch.inference_mode()
def adapted(model: Any, new_cache: Callable[[], Any]) -> HubModel:
    """A model of transformers, of any family, as one of ours; `new_cache` makes its empty KV
    cache. Raises BadModel."""
    model.eval()
    trial = Trial(model)
    with in_float32(model):
        own = _own_attention(model, trial)
        adapter = _adapter(model, trial, own, new_cache)
        adapter.why = _through_the_lens(adapter, trial, own)
        if adapter.why:
            model.set_attn_implementation("eager")
            adapter.lacks, adapter.plans = LACKING, {}
        if adapter.tasks and not _head_alone(adapter, trial):
            adapter.tasks = ()
            adapter.lacks += ("predictions",)
        if isinstance(adapter, HubDecoder):
            adapter.remembers = _remembers(adapter, trial)
    _recorded(adapter, trial)  # in its own precision, too, it must pass
    return adapter


def _remembers(adapter: HubDecoder, trial: Trial) -> bool:
    """Whether the tokens in two parts, with a KV cache between, give what they give at once."""
    ids, past = trial.source, adapter.new_past()
    whole = adapter.hidden(ids)
    try:
        parts = [adapter.hidden(part, None, past) for part in (ids[:, :4], ids[:, 4:])]
    except Exception:  # each family without a cache has its own way to fail
        return False
    return torch.allclose(torch.cat(parts, dim=1), whole, rtol=1e-3, atol=1e-3)


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """The model's half-precision weights in float32 for a while, so that what is compared differs
    by what is computed and not by rounding. As they are, where memory does not allow it."""
    tensors = (*model.parameters(), *model.buffers())
    half = [(x, x.dtype) for x in tensors if x.dtype in (torch.float16, torch.bfloat16)]
    try:
        n_byte = 2 * sum(x.numel() for x, _ in half)  # more than there are now
        check_memory(n_byte, Limits(device=next(model.parameters()).device))
    except BadModel:
        half = []
    with torch.inference_mode(False):  # the weights stay such that gradients may be had
        for x, _ in half:
            x.data = x.data.float()
    try:
        yield
    finally:
        with torch.inference_mode(False):
            for x, dtype in half:
                x.data = x.data.to(dtype)  # exactly what it was


def _own_attention(model: Any, trial: Trial) -> dict[Kind, list[Tensor]]:
    """What the model's eager attention says of the trial's tokens, by kind."""
    model.set_attn_implementation("eager")
    found = trial.run(output_attentions=True)
    own: dict[Kind, list[Tensor]] = {"encoder": list(attentions(found["encoder"], "encoder"))}
    if trial.both:
        own |= {kind: list(attentions(found["decoder"], kind)) for kind in ("decoder", "cross")}
    elif all(not attn.triu(1).any() for attn in own["encoder"]):
        own = {"decoder": own["encoder"]}
    for kind, layers in own.items():
        n_query = (trial.target if kind != "encoder" and trial.both else trial.source).size(1)
        n_key = (trial.target if kind == "decoder" and trial.both else trial.source).size(1)
        _check_attention(layers, (n_query, n_key), model.config.model_type)
    return own


def _check_attention(layers: list[Tensor], shape: tuple[int, int], name: str) -> None:
    """All of one kind's layers have attention, of every query to every key, in numbers."""
    if not layers:
        text = "a {name} model has no attention to show: none of its layers gives any"
        raise BadModel("unsupported", text, name=name)
    for attn in layers:
        if tuple(attn.shape[-2:]) != shape:
            raise BadModel(
                "unsupported",
                "a {name} model gives attention of shape {given}, where one of {wanted} is shown: "
                "a weight for every query and key",
                name=name,
                given=" × ".join(map(str, attn.shape[-2:])),
                wanted=" × ".join(map(str, shape)),
            )
        if not attn.isfinite().all():
            text = "its attention is not a number (NaN): some of its weights are NaN or infinite"
            raise BadModel("damaged", text)


def _adapter(
    model: Any, trial: Trial, own: dict[Kind, list[Tensor]], new_cache: Callable[[], Any]
) -> HubModel:
    tables = _tables(trial)
    sizes = _sizes(model, own, tables)
    options: dict[str, Any] = {"positions": _positions(model, tables)}
    has_head = model.get_output_embeddings() is not None
    adapter: HubModel
    tasks: tuple[str, ...]
    if trial.both:
        adapter = HubEncoderDecoder(model, sizes, tasks=("translate",), **options)
        adapter.give(base_of(model.get_decoder()))
    elif "decoder" in own:
        tasks = ("generate", "next-token") if has_head else ()
        adapter = HubDecoder(model, sizes, tasks=tasks, **options)
        adapter.new_cache = new_cache
    else:
        words = has_head and type(model).__name__.endswith(("ForMaskedLM", "ForPreTraining"))
        tasks = ("fill-mask",) if words else ()
        tasks += ("next-sentence",) if type(model).__name__ == "BertForPreTraining" else ()
        adapter = HubEncoder(model, sizes, tasks=tasks, **options)
    if not trial.both and (base := base_of(model)) is not model:
        adapter.give(base)
        inner = model.get_decoder()  # OPT's head asks this one, past its base
        if inner is not base and inner in set(base.modules()):
            adapter.give(inner)
    adapter.shapes = {kind: (len(layers), layers[0].size(1)) for kind, layers in own.items()}
    for stack, (table, first) in tables.items():
        adapter.follow(stack if trial.both else adapter.kinds[0], table, first)  # type: ignore[arg-type]
    adapter.parts = _parts(trial, tables)
    for layer in _last_layers(trial):
        adapter.end_with(layer)
    return adapter


def _through_the_lens(adapter: HubModel, trial: Trial, own: dict[Kind, list[Tensor]]) -> str:
    """Plan the calls; "" if the lens then records the model's own attention, else why not."""
    name = trial.model.config.model_type
    try:
        trial.model.set_attn_implementation(NAME)
        seen = _calls(trial)
    except Exception as error:  # a family that looks its attention up in a table of its own
        return f"{name} does not take another attention function ({type(error).__name__})"
    if not all(seen.values()):
        return f"{name} computes attention in a way of its own"
    beyond = {name for calls in seen.values() for call in calls for name in call.beyond}
    if beyond:
        return f"{name} adds to attention what the lens does not do: {', '.join(sorted(beyond))}"
    for stack, calls in seen.items():
        places = _places(stack, calls, trial, adapter)
        adapter.plans[places[0].kind if not trial.both else stack] = tuple(places)  # type: ignore[index]
        for place, call in zip(places, calls, strict=True):
            adapter.scales[place] = call.scale
            if call.softcap is not None:
                adapter.softcaps[place] = call.softcap
    n_kv_head = max(call.n_kv_head for calls in seen.values() for call in calls)
    adapter.config = replace(adapter.config, n_kv_head=n_kv_head)
    apart = _apart(_recorded(adapter, trial), own)
    limit = TOLERANCE.get(trial.model.dtype, HALF)
    if apart > limit:
        return f"{name} recorded by the lens differs by {apart:.1e}"
    if adapter.positions == "rotary":
        adapter.rotated = _rotated(adapter, trial)
    return ""


def _rotated(adapter: HubModel, trial: Trial) -> frozenset[Place]:
    """The layers whose queries turn when all positions are moved on: some layers turn none."""
    places = frozenset(place for plan in adapter.plans.values() for place in plan)
    takes = signature(type(base_of(trial.model)).forward).parameters
    if trial.both or "position_ids" not in takes:
        return frozenset(place for place in places if place.kind != "cross")
    passes: list[dict[Place, Tensor]] = []
    keep: tuple[Quantity, ...] = ("q",)
    for first in (0, 5):
        tape = Tape(keep=keep)
        positions = torch.arange(first, first + trial.source.size(1), device=trial.source.device)
        with calling(Call(tape, adapter.plans[adapter.kinds[0]])):  # type: ignore[index]
            base_of(trial.model)(input_ids=trial.source, position_ids=positions[None])
        passes.append({Place(step.kind, step.layer): step.q.float() for step in tape})
    limit = TOLERANCE.get(trial.model.dtype, HALF)
    there, moved = passes
    far = {place: (q - moved[place]).abs().max() / q.abs().max() for place, q in there.items()}
    return frozenset(place for place, share in far.items() if share > limit)


def _calls(trial: Trial) -> dict[Stack, list[Seen]]:
    """What each stack's attention layers do, in the order in which they call."""
    call = Call(None)
    with calling(call):
        trial.run()
    n = trial.source.size(1)
    first = next((i for i, seen in enumerate(call.seen) if seen.n_query != n), len(call.seen))
    if not trial.both:
        return {"encoder": call.seen}
    return {"encoder": call.seen[:first], "decoder": call.seen[first:]}


def _places(stack: Stack, calls: Sequence[Seen], trial: Trial, adapter: HubModel) -> list[Place]:
    """The kind and layer of each call: cross-attention has as many keys as the source tokens."""
    kinds: list[Kind]
    if not trial.both:
        kinds = [adapter.kinds[0]] * len(calls)
    elif stack == "encoder":
        kinds = ["encoder"] * len(calls)
    else:
        n = trial.source.size(1)
        kinds = ["cross" if call.n_key == n else "decoder" for call in calls]
    return [Place(kind, kinds[:i].count(kind)) for i, kind in enumerate(kinds)]


def _recorded(adapter: HubModel, trial: Trial) -> dict[Kind, list[Tensor]]:
    """The trial's attention as the lens writes it down."""
    tape = Tape()
    adapter.read(trial.batch, tape)
    return {kind: [s.attn for s in tape if s.kind == kind] for kind in adapter.kinds}


def _head_alone(adapter: HubModel, trial: Trial) -> bool:
    """Whether the head, run by itself on hidden states, says what the whole model says."""
    ids = trial.source
    inputs = {"input_ids": ids} | ({"decoder_input_ids": trial.target} if trial.both else {})
    whole = trial.model(**inputs)
    logits = getattr(whole, "logits", None)
    logits = whole.prediction_logits if logits is None else logits
    apart = adapter.logits(adapter.read(trial.batch))
    return torch.allclose(apart, logits.float(), rtol=1e-3, atol=1e-3)


def _apart(found: dict[Kind, list[Tensor]], own: dict[Kind, list[Tensor]]) -> float:
    """The largest difference; infinite where there are other layers or shapes."""
    pairs = [(found[kind], own[kind]) for kind in own]
    if any([a.shape for a in x] != [a.shape for a in y] for x, y in pairs):
        return torch.inf
    return max(
        (a - b.float()).abs().max().item() for x, y in pairs for a, b in zip(x, y, strict=True)
    )


def _sizes(
    model: Any, own: dict[Kind, list[Tensor]], tables: dict[Stack, tuple[nn.Module, int]]
) -> Sizes:
    config = model.config.get_text_config()
    n_layer = max(map(len, own.values()))
    n_head = max(attn.size(1) for layers in own.values() for attn in layers)
    d_model = config.hidden_size
    d_head = _first(config, ("head_dim", "d_kv"), d_model // n_head)
    n_ctx = _first(config, LENGTHS, LONGEST)
    for table, first in tables.values():
        n_ctx = min(n_ctx, rows(table).size(0) - first)
    return Sizes(
        vocab_size=config.vocab_size,
        n_ctx=min(n_ctx, LONGEST),
        n_layer=n_layer,
        n_head=n_head,
        d_model=d_model,
        d_head=d_head,
        d_ff=_first(config, WIDTHS, 4 * d_model),
        n_kv_head=_first(config, ("num_key_value_heads", "num_kv_heads"), n_head),
    )


def _first(config: Any, names: Sequence[str], otherwise: int) -> int:
    """The first of some names that a config has as a number."""
    found = (getattr(config, name, None) for name in names)
    return next((x for x in found if isinstance(x, int) and x > 0), otherwise)


def _tables(trial: Trial) -> dict[Stack, tuple[nn.Module, int]]:
    """The modules that give position vectors, and which row the first position takes."""
    made: dict[str, Tensor] = {}  # what each gave for the trial's tokens
    hooks = []
    named = {
        name: module
        for name, module in trial.model.named_modules()
        if name.endswith(TABLES) and rows(module).ndim == 2
    }
    for name, module in named.items():
        keep = lambda _, __, given, name=name: made.setdefault(name, given)  # noqa: E731
        hooks.append(module.register_forward_hook(keep))
    trial.run()
    for hook in hooks:
        hook.remove()
    found: dict[Stack, tuple[nn.Module, int]] = {}
    widths = {trial.model.config.get_text_config().hidden_size, _width_of_words(trial.model)}
    for name, given in made.items():
        if not isinstance(given, Tensor):
            continue  # I-BERT's come with a scale
        if given.size(-1) not in widths:
            continue  # not added to the words: RoFormer turns queries and keys by them
        first = given.reshape(-1, given.size(-1))[0]
        row = int((rows(named[name]) - first).abs().sum(-1).argmin())
        stack: Stack = "decoder" if trial.both and "decoder" in name else "encoder"
        found.setdefault(stack, (named[name], row))
    return found


def _width_of_words(model: Any) -> int:
    return int(rows(model.get_input_embeddings()).size(-1))


def _parts(trial: Trial, tables: dict[Stack, tuple[nn.Module, int]]) -> Parts | None:
    """Word and segment vectors, if with the positions their sum is what the first layer reads, or
    what the norm before it does."""
    model, given, normed = trial.model, dict[nn.Module, Tensor](), list[Tensor]()
    if "encoder" not in tables:
        return None
    reads = model.get_encoder() if trial.both else model
    word, position = reads.get_input_embeddings(), tables["encoder"][0]
    ends = "token_type_embeddings"
    segment = next((m for name, m in model.named_modules() if name.endswith(ends)), None)

    def keep(module: nn.Module, output: Tensor) -> None:
        given.setdefault(module, output)

    hooks = [
        module.register_forward_hook(lambda m, _, output: keep(m, output))
        for module in (word, position, segment)
        if module is not None
    ]
    hooks += [
        module.register_forward_pre_hook(lambda _, inputs: normed.append(inputs[0]))
        for module in model.modules()
        if isinstance(module, nn.LayerNorm)
    ]
    first = trial.run(output_hidden_states=True)["encoder"].hidden_states[0]
    for hook in hooks:
        hook.remove()
    if not {word, position} <= given.keys():
        return None
    if given[word].size(-1) != given[position].size(-1):
        return None
    rest = given[position] if segment is None else given[position] + given[segment]
    for scale in (1.0, given[word].size(-1) ** 0.5):
        total = given[word] * scale + rest
        if any(x.shape == total.shape and _same(x, total) for x in (first, *normed)):
            return Parts(word, scale, segment)
    return None


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal but for the order in which a few vectors were added."""
    return bool((a - b).abs().max() <= 8 * torch.finfo(b.dtype).eps * b.abs().max())


def _last_layers(trial: Trial) -> list[nn.Module]:
    """The last layer of each stack: its output is the residual stream before the last norm.

    Found by what it gives: the other layers of its list give the hidden states, in order.
    """
    given: dict[nn.Module, Tensor] = {}
    lists = [m for m in trial.model.modules() if isinstance(m, nn.ModuleList) and len(m) > 1]

    def keep(module: nn.Module, _: object, output: Any) -> None:
        found = output[0] if isinstance(output, tuple) else output
        if isinstance(found, Tensor):
            given[module] = found

    hooks = [layer.register_forward_hook(keep) for layers in lists for layer in layers]
    outputs = trial.run(output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    found = []
    for output in outputs.values():
        states = list(output.hidden_states)[1:]
        for layers in lists:
            mine = [given.get(layer) for layer in layers]
            same = [x is not None and torch.equal(x, y) for x, y in zip(mine, states, strict=False)]
            if len(mine) == len(states) and all(same[:-1]) and mine[-1] is not None:
                found.append(layers[-1])
    return found


def _positions(model: Any, tables: dict[Stack, tuple[nn.Module, int]]) -> str:
    """How the model knows where a token is."""
    config = model.config
    kinds = {type(module).__name__.lower() for module in model.modules()}
    names = " ".join(name for name, _ in model.named_modules()) + " ".join(
        name for name, _ in model.named_parameters()
    )
    if tables:
        sines = any("sinusoidal" in type(table).__name__.lower() for table, _ in tables.values())
        return "sinusoidal" if sines else "learned"
    if getattr(config, "alibi", False) or config.model_type in ("bloom", "mpt"):
        return "alibi"  # Falcon has the modules for rotation even then
    turns = getattr(config, "rotary_dim", None) or hasattr(config, "rotary_value")
    if turns or any("rotary" in kind for kind in kinds):
        return "rotary"
    if any(part in names for part in ("relative", "rel_embeddings", "r_r_bias")):
        return "relative"
    return "none"
