"""A folder's config, tokenizer and model, as transformers makes them.

With packed.py the only file that imports transformers. No code of a model is run, and what its
config says is looked at before any tensor is. Raises BadModel.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import transformers
from attention_atlas.model import labels
from attention_atlas.model.hub import folder, tokenizer_files
from attention_atlas.model.hub.findings import LONGEST
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.lens import NAME, lens
from attention_atlas.model.hub.numbers import check_numbers
from attention_atlas.model.hub.reasons import BadModel, unexpected
from attention_atlas.model.zoo import Note
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DynamicCache,
    EncoderDecoderCache,
)
from transformers.masking_utils import sdpa_mask
from transformers.models.auto import modeling_auto as auto
from transformers.utils import logging

ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
SEQ2SEQ = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
ENCODERS = auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
CLASSES = frozenset(dir(transformers))  # by name: to look one up would import what it needs
DTYPES = ("float64", "float32", "float16", "bfloat16")


def every_mask(*args: Any, **options: Any) -> Tensor | None:
    """Always a bool mask, True where looking is allowed: it is never left out for speed."""
    options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(*args, **options)


AttentionInterface.register(NAME, lens)
AttentionMaskInterface.register(NAME, every_mask)


def be_silent() -> None:
    """No warnings and progress bars of transformers."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def new_cache(model: Any) -> Any:
    """An empty KV cache of a decoder, or of the decoder of a model with two stacks."""
    if model.config.is_encoder_decoder:
        return EncoderDecoderCache(DynamicCache(), DynamicCache())
    config = model.config.get_text_config()
    mixed = set(getattr(config, "layer_types", None) or ()) - ATTENTION_LAYERS
    # Other layers have a state of another kind; a window's cache drops keys that have labels.
    return DynamicCache(config=config) if mixed else DynamicCache()


def check_config(content: Mapping[str, Any], limits: Limits) -> None:
    """A text model of a family that transformers itself knows; no code of its own."""
    check_numbers(dict(content))
    name, architectures = content.get("model_type", ""), content.get("architectures", [])
    own_code = content.get("auto_map") and not CLASSES.issuperset(architectures)
    if content.get("auto_map") and (own_code or not architectures or name not in CONFIG_MAPPING):
        raise BadModel(
            "remote-code",
            "the model brings its own Python code ({files}), and such code is never run here",
            files=_files_of(content["auto_map"]),
        )
    if not name:
        text = "config.json names no model_type: it is not a config of transformers"
        raise BadModel("unsupported", text)
    if name not in CONFIG_MAPPING:
        raise BadModel(
            "unsupported",
            "transformers {version} knows no model_type {name}; a newer version of it may",
            version=transformers.__version__,
            name=name[:60],
        )
    _check_precision(content)
    made = CONFIG_MAPPING[name]
    parts = {*content, *made.sub_configs}
    classes = _listed(auto.MODEL_MAPPING_NAMES.get(name, ()))
    inputs = {getattr(getattr(transformers, c, None), "main_input_name", "") for c in classes}
    sees = parts & {"vision_config", "audio_config"}
    if sees or (inputs and "input_ids" not in inputs):
        raise BadModel("not-text", "a {name} model does not read text alone", name=name)
    rotates = bool({"rope_parameters", "rope_theta"} & {field.name for field in fields(made)})
    for part in (content, *(content[key] for key in ("encoder", "decoder") if key in content)):
        if isinstance(part, Mapping):
            folder.check_config(dict(part), limits, rotates=rotates)


def _check_precision(content: Mapping[str, Any]) -> None:
    """Weights in a precision that they are computed in."""
    quantised = content.get("quantization_config") or content.get("compression_config")
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        raise BadModel(
            "unsupported",
            "its weights are quantised ({method}): open the model that they were made from, in "
            "float16 or more, or a GGUF file of it",
            method=str(method or "bitsandbytes")[:40],
        )
    dtype = content.get("dtype", content.get("torch_dtype", "float32"))
    if dtype not in (*DTYPES, "auto"):
        raise BadModel(
            "unsupported",
            "config.json says dtype {dtype}; models in {known} are opened",
            dtype=str(dtype)[:40],
            known=", ".join(DTYPES),
        )


def _files_of(code: Mapping[str, Any]) -> str:
    """The Python files that a config's auto_map leads to."""
    names = [name for value in code.values() for name in _listed(value) if isinstance(name, str)]
    files = {f"{name.split('--')[-1].split('.')[0]}.py" for name in names}
    return ", ".join(sorted(files))[:100]


@dataclass(frozen=True)
class Blueprint:
    """What a config makes of a model, before there are numbers in it."""

    options: Mapping[str, Any]  # what is set otherwise than the config says
    n_token: int | None  # rows of its word vectors
    n_ctx: int  # tokens that it takes, if it has as many positions
    notes: tuple[Note, ...] = ()


def blueprint(path: Path, content: Mapping[str, Any], limits: Limits) -> Blueprint:
    """The model that the config makes, without memory for its numbers: the files may hold fewer."""
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        options, n_ctx = _dense(config)
        config.update(options)
        with torch.device("meta"):
            model = _classes(content)[0].from_config(config, trust_remote_code=False)
    except Exception as error:  # each family has its own ways to fail
        raise _no_model(error, folder.read_json(path / folder.CONFIG)) from None
    n = sum(x.numel() for x in (*model.parameters(), *model.buffers()))
    folder.check_size(folder.Weights((), n, 2 * n), limits)
    words = getattr(model.get_input_embeddings(), "weight", None)
    n_token = None if words is None else len(words)
    _check_vocabularies(model, n_token)
    return Blueprint(options, n_token, n_ctx, tuple(_notes(content, options, n_ctx)))


def _dense(config: Any) -> tuple[dict[str, str], int]:
    """BigBird computes attention in blocks only for texts longer than all the blocks that a token
    may attend to; for shorter ones it computes full attention. It is opened for the latter."""
    if getattr(config, "attention_type", "") != "block_sparse":
        return {}, LONGEST
    n_block = 5 + 2 * config.num_random_blocks
    return {"attention_type": "original_full"}, n_block * config.block_size


def _notes(content: Mapping[str, Any], options: Mapping[str, Any], n_ctx: int) -> Iterator[Note]:
    """What is not as its maker left it."""
    if "attention_type" in options:
        text = (
            "It is saved with attention_type: block_sparse and opened with attention_type: "
            "original_full, which gives the same attention for texts of up to {n} tokens. Longer "
            "texts are refused: the model computes their attention in blocks, which is not shown "
            "here."
        )
        yield Note(text, {"n": str(n_ctx)})
    architecture = content.get("architectures", [""])[0]
    if _classes(content) == [AutoModelForSeq2SeqLM] and architecture not in {"", *_names(SEQ2SEQ)}:
        yield Note(labels.NO_WORDS, {"architecture": architecture})


def _check_vocabularies(model: Any, n_token: int | None) -> None:
    """A folder has one tokenizer; two models joined into one may need one each."""
    parts = [getattr(model.config, part, None) for part in ("encoder", "decoder")]
    reads, writes = (getattr(part, "vocab_size", n_token) for part in parts)
    if reads != writes:
        raise BadModel(
            "unsupported",
            "its encoder reads {reads} kinds of tokens and its decoder writes {writes}: "
            "it needs two tokenizers, and one is opened",
            reads=f"{reads:,}",
            writes=f"{writes:,}",
        )


def _no_model(error: Exception, content: Mapping[str, Any]) -> BadModel:
    """What to say of a config that no model can be made from."""
    name, settings = content["model_type"], _settings_in(str(error), content)
    if settings and not isinstance(error, ImportError):
        text = "it cannot be made: no {name} model can have {settings}, as its config.json says"
        return unexpected(error, "damaged", text, name=name, settings=settings)
    text = "it cannot be made: a size or a name in config.json is one that no {name} model can have"
    return unexpected(error, "damaged", text, name=name)


def _settings_in(text: str, content: Mapping[str, Any]) -> str:
    """The settings of a config that an error is about, by their names or values."""
    parts = {key: value for key, value in content.items() if isinstance(value, dict)}
    inner = {f"{part}.{key}": x for part, inside in parts.items() for key, x in inside.items()}
    about = []
    for key, value in {**content, **inner}.items():
        name = key.split(".")[-1]
        spoken = name.replace("num_", "number of ").replace("_", " ")
        is_value = isinstance(value, str) and repr(value) in text
        if is_value or re.search(rf"\b({re.escape(name)}|{re.escape(spoken)})\b", text):
            about.append(f"{key} {value!r}"[:60])
    return ", ".join(about[:3])


def tokenizer(path: Path, n_token: int | None) -> Any:
    """A folder's tokenizer, which must be that of a model with so many word vectors."""
    try:
        made = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each tokenizer has its own ways to fail
        raise tokenizer_files.problem(path, error) from None
    if n_token is not None and 4 * len(made) < n_token:
        tokenizer_files.check(path)
        raise BadModel(
            "damaged",
            "its tokenizer has {n} tokens and the model {total}: it is not the tokenizer that the "
            "model was trained with",
            n=f"{len(made):,}",
            total=f"{n_token:,}",
        )
    return made


def with_head(content: Mapping[str, Any], head: str | None) -> dict[str, Any]:
    """A config whose model has another head, of transformers' classes, if its family has that."""
    names: dict[str, Mapping[str, Any]] = {
        "SequenceClassification": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "TokenClassification": auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        "QuestionAnswering": auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    }
    classes = _listed(names.get(head or "", {}).get(content.get("model_type", ""), ()))
    return {**content, "architectures": list(classes[:1])} if classes else dict(content)


def model(
    path: Path,
    content: Mapping[str, Any],
    options: Mapping[str, Any],
    given: Collection[str] = (),
) -> Any:
    """The model with the head that its weights have; any tensor it lacks is an error, but for
    those that are given later."""
    missing: set[str] = set()
    for cls in _classes(content):
        try:
            with folder.without_adapter(path) as plain:
                made, info = cls.from_pretrained(
                    plain,
                    trust_remote_code=False,
                    local_files_only=True,
                    use_safetensors=True,
                    attn_implementation="eager",
                    ignore_mismatched_sizes=True,  # told below, in our words
                    output_loading_info=True,
                    **options,
                )
        except Exception as error:
            text = "its weights cannot be loaded as a {name} model"
            raise unexpected(error, "damaged", text, name=content["model_type"]) from None
        mismatched = [key for key in info["mismatched_keys"] if key[0] not in given]
        if mismatched:
            raise _other_shape(min(mismatched), content)
        pools = cls in (AutoModelForSequenceClassification, AutoModelForMultipleChoice)
        absent = {key for key in info["missing_keys"] if pools or "pooler" not in key}
        missing = absent - {*given}
        if content.get("tie_encoder_decoder"):
            missing -= _tied(made, missing)
        if not missing:
            return made
        if given:
            break  # without its head it is not what the adapter was trained with
    raise BadModel(
        "damaged",
        "{n} of its tensors are missing: {first}",
        n=len(missing),
        first=min(missing),
    )


def check_finite(model: Any) -> None:
    """Raises BadModel, which names it, for a tensor with a number that is not finite."""
    for name, tensor in model.named_parameters():
        if tensor.numel() and not all(x.isfinite() for x in torch.aminmax(tensor.detach())):
            text = "{name} holds numbers that are not finite (NaN or infinite)"
            raise BadModel("damaged", text, name=name)


def _tied(made: Any, missing: set[str]) -> set[str]:
    """Of tensors that are missing, those that a model of two stacks saved once for both."""
    weights, inside = dict(made.named_parameters()), f"decoder.{made.decoder.base_model_prefix}."
    pairs = {key: key.replace("encoder.", inside, 1) for key in missing if key[:8] == "encoder."}
    pairs |= {key: key.replace(inside, "encoder.", 1) for key in missing if key.startswith(inside)}
    tied = {key for key, other in pairs.items() if other in weights.keys() - missing}
    for key in tied:
        weights[key].data = weights[pairs[key]].data
    return tied


def _other_shape(key: tuple[Any, ...], content: Mapping[str, Any]) -> BadModel:
    """What to say of a tensor that has another shape than the config says."""
    name, stored, wanted = key
    if pruned := content.get("pruned_heads"):
        heads = ", ".join(f"L{layer}: {len(heads)}" for layer, heads in sorted(pruned.items()))
        return BadModel(
            "unsupported",
            "heads of it were pruned ({heads}), and transformers {version} opens no pruned model",
            heads=heads[:60],
            version=transformers.__version__,
        )
    return BadModel(
        "damaged",
        "{name} is {stored} in its files and {wanted} by config.json",
        name=name,
        stored=" × ".join(map(str, stored)),
        wanted=" × ".join(map(str, wanted)),
    )


def _classes(content: Mapping[str, Any]) -> list[Any]:
    """transformers' classes to try: with the head that the config names, then without a head."""
    architecture = content.get("architectures", [""])[0]
    if architecture.endswith("EncoderModel") and architecture in _names(ENCODERS):
        return [AutoModelForTextEncoding]
    if content.get("is_encoder_decoder") or architecture in _names(SEQ2SEQ):
        return [AutoModelForSeq2SeqLM]
    heads: dict[Any, Mapping[str, Any]] = {
        AutoModelForCausalLM: auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        AutoModelForMaskedLM: auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        AutoModelForSequenceClassification: auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        AutoModelForTokenClassification: auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        AutoModelForQuestionAnswering: auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        AutoModelForMultipleChoice: auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
    }
    if architecture == "BertForPreTraining":
        return [AutoModelForPreTraining, AutoModel]
    return [cls for cls, names in heads.items() if architecture in _names(names)] + [AutoModel]


def _names(mapping: Mapping[str, Any]) -> set[str]:
    return {name for value in mapping.values() for name in _listed(value)}


def _listed(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
