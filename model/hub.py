"""Any Hugging Face model through the same lens. The only file that imports transformers.

`adapt(model)` gives a model of transformers the methods of ours. It runs a few tokens once, to see
which layers call and whether what the lens records equals the model's own eager attention; a model
for which it does not, or that never calls, keeps its eager attention and lacks the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import transformers
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
)
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    AttentionInterface,
    AttentionMaskInterface,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DynamicCache,
    GgufConfig,
)
from transformers.masking_utils import sdpa_mask
from transformers.models.auto import modeling_auto as auto
from transformers.utils import logging

from model import folder
from model.adapters import (
    LACKING,
    HubDecoder,
    HubEncoder,
    HubEncoderDecoder,
    HubModel,
    Parts,
    Sizes,
    Stack,
    attentions,
    rows,
)
from model.folder import BadModel, Limits
from model.lens import Call, Place, Seen, calling, lens
from model.subwords import HubTokenizer
from model.tape import Kind, Tape
from model.zoo import Card, Loaded

NAME = "attend"  # among transformers' attention implementations
HfErrors = (HfHubHTTPError, HFValidationError, RepositoryNotFoundError)
TAKEN = (".json", ".safetensors", ".txt", ".model", ".jinja")  # a model's files that are fetched
LONGEST = 2048  # tokens taken of a model whose positions go on
SEQ2SEQ = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
HALF = 3e-2  # of float16 and bfloat16
WIDTHS = ("intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim", "n_inner", "hidden_dim")
LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
TABLES = ("position_embeddings", "embed_positions", "wpe", "position_embedding")


class Unsupported(Exception):
    """A model whose attention cannot be had."""


def every_mask(*args: Any, **options: Any) -> Tensor | None:
    """Always a bool mask, True where looking is allowed: it is never left out for speed."""
    options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(*args, **options)


AttentionInterface.register(NAME, lens)
AttentionMaskInterface.register(NAME, every_mask)


class Trial:
    """A few tokens through a model's stacks: 7 of a source, 4 of a target."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.both = bool(getattr(model.config, "is_encoder_decoder", False))
        middle, device = model.config.get_text_config().vocab_size // 2, model.device
        self.source = torch.arange(middle, middle + 7, device=device)[None]
        self.target = self.source[:, :4]
        self.memory: Tensor | None = None

    def run(self, **options: Any) -> dict[Stack, Any]:
        """The output of each stack; of a model with one text it is called "encoder" here."""
        if not self.both:
            return {"encoder": self.model.base_model(input_ids=self.source, **options)}
        encoder, decoder = self.model.get_encoder(), self.model.get_decoder()
        encoded = encoder(input_ids=self.source, **options)
        options |= {"encoder_hidden_states": encoded.last_hidden_state, "use_cache": False}
        return {"encoder": encoded, "decoder": decoder(input_ids=self.target, **options)}


@torch.inference_mode()
def adapt(model: Any) -> HubModel:
    """A model of transformers, of any family, as one of ours. Raises Unsupported."""
    model.eval()
    trial = Trial(model)
    own = _own_attention(model, trial)
    adapter = _adapter(model, trial, own)
    adapter.why = _through_the_lens(adapter, trial, own)
    if adapter.why:
        model.set_attn_implementation("eager")
        adapter.lacks, adapter.plans = LACKING, {}
    if adapter.tasks and not _head_alone(adapter, trial):
        adapter.tasks = ()
        adapter.lacks += ("predictions",)
    return adapter


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
        shapes = {tuple(attn.shape[-2:]) for attn in layers}
        if shapes != {(n_query, n_key)}:
            said = "no attention" if not layers else f"attention of shape {shapes.pop()}"
            raise Unsupported(f"{model.config.model_type} gives {said} for {n_query} tokens")
    return own


def _adapter(model: Any, trial: Trial, own: dict[Kind, list[Tensor]]) -> HubModel:
    tables = _tables(trial)
    sizes = _sizes(model, own, tables)
    options: dict[str, Any] = {"positions": _positions(model, tables)}
    has_head = model.get_output_embeddings() is not None
    adapter: HubModel
    tasks: tuple[str, ...]
    if trial.both:
        adapter = HubEncoderDecoder(model, sizes, tasks=("translate",), **options)
        adapter.give(model.get_decoder())
    elif "decoder" in own:
        tasks = ("generate", "next-token") if has_head else ()
        adapter = HubDecoder(model, sizes, tasks=tasks, **options)
        adapter.new_cache = DynamicCache
    else:
        words = has_head and not type(model).__name__.endswith("LMHeadModel")
        tasks = ("fill-mask",) if words else ()
        tasks += ("next-sentence",) if type(model).__name__ == "BertForPreTraining" else ()
        adapter = HubEncoder(model, sizes, tasks=tasks, **options)
    if not trial.both and (base := model.base_model) is not model:
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
    return "" if apart <= limit else f"{name} recorded by the lens differs by {apart:.1e}"


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
    tape, ids = Tape(), trial.source
    if isinstance(adapter, HubEncoder):
        adapter.encode(ids, torch.zeros_like(ids), tape)
    elif isinstance(adapter, HubDecoder):
        adapter.hidden(ids, tape)
    elif isinstance(adapter, HubEncoderDecoder):
        adapter.hidden(trial.target, adapter.encode(ids, tape), tape)
    return {kind: [s.attn for s in tape if s.kind == kind] for kind in adapter.kinds}


def _head_alone(adapter: HubModel, trial: Trial) -> bool:
    """Whether the head, run by itself on hidden states, says what the whole model says."""
    ids = trial.source
    inputs = {"input_ids": ids} | ({"decoder_input_ids": trial.target} if trial.both else {})
    whole = trial.model(**inputs)
    logits = getattr(whole, "logits", None)
    logits = whole.prediction_logits if logits is None else logits
    if isinstance(adapter, HubEncoder):
        found = adapter.masked_words(adapter.encode(ids, torch.zeros_like(ids)))
    elif isinstance(adapter, HubDecoder):
        found = adapter(ids)
    else:
        found = adapter(ids, trial.target)
    return torch.allclose(found, logits.float(), rtol=1e-3, atol=1e-3)


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
    for name, given in made.items():
        first = given.reshape(-1, given.size(-1))[0]
        row = int((rows(named[name]) - first).abs().sum(-1).argmin())
        stack: Stack = "decoder" if trial.both and "decoder" in name else "encoder"
        found.setdefault(stack, (named[name], row))
    return found


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
    rest = given[position] if segment is None else given[position] + given[segment]
    for scale in (1.0, model.config.hidden_size**0.5):
        total = given[word] * scale + rest
        if any(x.shape == total.shape and torch.allclose(x, total) for x in (first, *normed)):
            return Parts(word, scale, segment)
    return None


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
    if any("rotary" in kind for kind in kinds) or getattr(config, "rotary_dim", None):
        return "rotary"
    if getattr(config, "alibi", False) or config.model_type in ("bloom", "mpt"):
        return "alibi"
    if any(part in names for part in ("relative", "rel_embeddings", "r_r_bias")):
        return "relative"
    return "none"


@dataclass(frozen=True)
class Step:
    """How far the opening of a model is."""

    stage: Literal["looking", "downloading", "converting", "loading", "trying"]
    file: str = ""
    bytes: int = 0
    total: int = 0


Progress = Callable[[Step], None]


def quiet(step: Step) -> None:
    """Nobody is told."""


def open_model(
    name: str,
    device: torch.device,
    limits: Limits | None = None,
    progress: Progress = quiet,
) -> Loaded:
    """A model of the Hub, of a folder or of a GGUF file, ready to run. Raises BadModel."""
    limits = replace(limits or Limits(), device=device)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    progress(Step("looking"))
    local = folder.is_folder(name)
    path = folder.found(name) if local else _downloaded(name, limits, progress)
    shown = path.stem if path.is_file() else path.name if local else name
    files = _gguf(path)
    if files is not None:
        path = _converted(files, limits, progress)
    content = folder.config(path)
    _check_config(content)
    weights = folder.weights(path)
    folder.check_size(weights, limits)
    progress(Step("loading", bytes=weights.n_byte, total=weights.n_byte))
    tokenizer = _tokenizer(path)
    # Unpacked from 4 bits or so; a processor computes float32 several times faster than float16.
    dtype = "float32" if files is not None and device.type == "cpu" else "auto"
    model = _model(path, content, dtype).to(device)
    progress(Step("trying"))
    try:
        adapter = adapt(model)
    except Unsupported as error:
        raise BadModel("unsupported", str(error)) from None
    if 4 * len(tokenizer) < adapter.config.vocab_size:
        said = f"{len(tokenizer)} tokens for a model of {adapter.config.vocab_size}"
        raise BadModel("damaged", f"its tokenizer cannot be read: it has {said}")
    begin = getattr(model.config, "decoder_start_token_id", None)
    card = Card(
        name=shown,
        architecture=type(model).__name__,
        config={},
        sha256=folder.sha256([files] if files is not None else weights.files),
    )
    wrapped = HubTokenizer(tokenizer, begin_id=begin)
    return Loaded(card, wrapped, adapter, device, "path" if local else "hub")


def _downloaded(name: str, limits: Limits, progress: Progress) -> Path:
    """The Hub's model as a folder of its cache; what is there already is not asked for again."""
    try:
        info = HfApi().model_info(name, files_metadata=True)
    except HfErrors as error:
        raise _hub_problem(name, error) from None
    except (OSError, HTTPError) as error:  # offline, or the Hub cannot be reached
        return _kept(name, error)
    files = {
        file.rfilename: file.size or 0
        for file in info.siblings or ()
        if "/" not in file.rfilename and file.rfilename.endswith(TAKEN)
    }
    if not any(file.endswith(".safetensors") for file in files):
        raise BadModel("no-safetensors", f"{name} has no safetensors file on the Hub")
    n_byte = sum(size for file, size in files.items() if file.endswith(".safetensors"))
    numbers = sum((info.safetensors.parameters if info.safetensors else {}).values())
    folder.check_size(folder.Weights((), numbers or n_byte // 4, n_byte), limits)
    total, done = sum(files.values()), 0
    path = ""
    for file in sorted(files, key=lambda file: (file != "config.json", file)):
        progress(Step("downloading", file, done, total))
        bar = _bar(progress, Step("downloading", file, done, total))
        try:
            # The first by the branch's name, which is noted down: offline, that finds the rest.
            revision = None if file == "config.json" else info.sha
            path = hf_hub_download(name, file, revision=revision, tqdm_class=bar)
        except HfErrors as error:
            raise _hub_problem(name, error) from None
        except (OSError, HTTPError) as error:
            raise BadModel("offline", f"{file} could not be fetched: {_short(error)}") from None
        if file == "config.json":
            _check_config(folder.config(Path(path).parent))
        done += files[file]
    return Path(path).parent


def _kept(name: str, error: Exception) -> Path:
    """What was fetched of a model before, when the Hub cannot be reached."""
    config = try_to_load_from_cache(name, "config.json")
    if isinstance(config, str):
        return Path(config).parent
    raise BadModel(
        "offline",
        f"the Hub cannot be reached ({type(error).__name__}), and {name} was not fetched before",
    )


def _hub_problem(name: str, error: Exception) -> BadModel:
    if isinstance(error, GatedRepoError):
        return BadModel("not-found", f"{name} is open only to those whom its owner lets in")
    if isinstance(error, RepositoryNotFoundError):
        return BadModel("not-found", f"the Hub has no model {name}, or it is private")
    return BadModel("offline", f"the Hub refused: {_short(error)}")


def _bar(progress: Progress, began: Step) -> type:
    """What a download reports its bytes to, in place of a progress bar on a terminal."""

    class Bar:
        def __init__(self, *_: Any, initial: int = 0, **__: Any) -> None:
            self.n = initial

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: Any) -> None: ...

        def update(self, n: float = 1) -> None:
            self.n += int(n)
            progress(replace(began, bytes=began.bytes + self.n))

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_, **__: None

    return Bar


def _check_config(content: dict[str, Any]) -> None:
    """A text model of a family that transformers itself knows; no code of its own."""
    name, architectures = content.get("model_type"), content.get("architectures") or []
    own_code = content.get("auto_map") and not all(hasattr(transformers, a) for a in architectures)
    if content.get("auto_map") and (own_code or not architectures or name not in CONFIG_MAPPING):
        raise BadModel(
            "remote-code",
            f"the model brings its own Python code ({_short(content['auto_map'])}), "
            "and such code is never run here",
        )
    if name not in CONFIG_MAPPING:
        raise BadModel(
            "unsupported",
            f"transformers {transformers.__version__} knows no model_type {_short(name)}",
        )
    if "quantization_config" in content:
        raise BadModel("unsupported", "its weights are quantised; save them in float16 or more")
    sees = [key for key in ("vision_config", "audio_config") if key in content]
    classes = _listed(auto.MODEL_MAPPING_NAMES.get(str(name), ()))
    inputs = {getattr(getattr(transformers, c, None), "main_input_name", "") for c in classes}
    if sees or (inputs and "input_ids" not in inputs):
        raise BadModel("not-text", f"a {name} model does not read text alone")


def _tokenizer(path: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each tokenizer has its own ways to fail
        raise BadModel("damaged", f"its tokenizer cannot be read: {_short(error)}") from None


def _model(path: Path, content: dict[str, Any], dtype: str) -> Any:
    """The model with the head that its weights have; any tensor it lacks is an error."""
    options: dict[str, Any] = {
        "trust_remote_code": False,
        "local_files_only": True,
        "use_safetensors": True,
        "dtype": dtype,
        "attn_implementation": "eager",
        "output_loading_info": True,
    }
    missing: set[str] = set()
    for cls in _classes(content):
        try:
            model, info = cls.from_pretrained(path, **options)
        except Exception as error:
            raise BadModel("damaged", f"it cannot be loaded: {_short(error)}") from None
        missing = {key for key in info["missing_keys"] if "pooler" not in key}
        if not missing:
            return model
    raise BadModel("damaged", f"{len(missing)} of its tensors are missing: {min(missing)}")


def _classes(content: dict[str, Any]) -> list[Any]:
    """transformers' classes to try: with the head that the config names, then without a head."""
    architecture = (content.get("architectures") or [""])[0]
    if content.get("is_encoder_decoder") or architecture in _names(SEQ2SEQ):
        return [AutoModelForSeq2SeqLM]
    heads: dict[Any, Mapping[str, Any]] = {
        AutoModelForCausalLM: auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        AutoModelForMaskedLM: auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    }
    if architecture == "BertForPreTraining":
        return [AutoModelForPreTraining, AutoModel]
    return [cls for cls, names in heads.items() if architecture in _names(names)] + [AutoModel]


def _names(mapping: Mapping[str, Any]) -> set[str]:
    return {name for value in mapping.values() for name in _listed(value)}


def _listed(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _gguf(path: Path) -> Path | None:
    """The GGUF file that a path is, or the only one of a folder without safetensors."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.gguf"))
    return found[0] if found and not any(path.glob("*.safetensors*")) else None


def _converted(file: Path, limits: Limits, progress: Progress) -> Path:
    """A GGUF file as a folder of float16 safetensors, made once and kept in the cache folder."""
    size = file.stat().st_size
    folder.check_memory(8 * size, limits)  # 4 bits become 32 on the way
    done = folder.cache() / f"{file.stem}-{folder.sha256([file])[:16]}"
    if (done / "config.json").is_file():
        return done
    progress(Step("converting", file.name, 0, size))
    options: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    options["local_files_only"] = True
    done.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=done.parent) as making:
        try:
            model = AutoModelForCausalLM.from_pretrained(
                file.parent,
                dtype=torch.float16,
                quantization_config=GgufConfig(dequantize=True),
                **options,
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
        except ImportError as error:
            raise BadModel("unsupported", f"GGUF files need the extra: {_short(error)}") from None
        except Exception as error:
            raise BadModel("damaged", f"{file.name} cannot be read: {_short(error)}") from None
        model.save_pretrained(making)
        tokenizer.save_pretrained(making)
        with suppress(OSError):  # another process was first
            Path(making).rename(done)
            Path(making).mkdir()  # for the context to remove
    return done


def _short(error: object) -> str:
    """The first line of what a library says, without the paths of this machine."""
    line = str(error).strip().split("\n")[0]
    return re.sub(r"(/[^\s'\":]+)+/", "", line)[:200]
