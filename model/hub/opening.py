"""Models of the Hub, of folders and of GGUF files. The only file that imports transformers.

Nothing but safetensors and GGUF is read, no code of a model is run, and what there is to know of a
model before its tensors are touched is looked at first. Raises `BadModel`, which says why not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import transformers
from attention_atlas.model.hub import folder
from attention_atlas.model.hub.adapters import HubModel
from attention_atlas.model.hub.folder import BadModel, Limits
from attention_atlas.model.hub.lens import NAME, lens
from attention_atlas.model.hub.subwords import HubTokenizer
from attention_atlas.model.hub.trial import Unsupported, adapted
from attention_atlas.model.zoo import Card, Loaded
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
)
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
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

HfErrors = (HfHubHTTPError, HFValidationError, RepositoryNotFoundError)
ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
SEQ2SEQ = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES


def every_mask(*args: Any, **options: Any) -> Tensor | None:
    """Always a bool mask, True where looking is allowed: it is never left out for speed."""
    options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(*args, **options)


AttentionInterface.register(NAME, lens)
AttentionMaskInterface.register(NAME, every_mask)


def adapt(model: Any) -> HubModel:
    """A model of transformers, of any family, as one of ours. Raises Unsupported."""
    config = model.config.get_text_config()
    mixed = set(getattr(config, "layer_types", None) or ()) - ATTENTION_LAYERS
    # Other layers have a state of another kind; a window's cache drops keys that have labels.
    return adapted(model, lambda: DynamicCache(config=config) if mixed else DynamicCache())


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
    _check_config(content, limits)
    weights = folder.weights(path)
    folder.check_size(weights, limits)
    _check_built(path, content, limits)
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
    except Exception as error:  # each family has its own ways to fail
        name = content["model_type"]
        message = f"a few tokens did not pass through this {name} model: {_short(error)}"
        raise BadModel("unsupported", message) from None
    if 4 * len(tokenizer) < adapter.config.vocab_size:
        said = f"{len(tokenizer)} tokens for a model of {adapter.config.vocab_size}"
        raise BadModel("damaged", f"its tokenizer cannot be read: it has {said}")
    frame = _frame(model)
    card = Card(
        name=shown,
        architecture=type(model).__name__,
        config={},
        sha256=folder.sha256([files] if files is not None else weights.files),
        revision=folder.revision(path),
    )
    wrapped = HubTokenizer(tokenizer, **frame)
    if adapter.family == "encoder-decoder" and wrapped.frame() is None:
        message = "its decoder has no token to begin with, or none to end with"
        raise BadModel("unsupported", message)
    if wrapped.mask_id is None:  # a head that fills in blanks, and no way to write one
        adapter.tasks = tuple(task for task in adapter.tasks if task != "fill-mask")
    return Loaded(card, wrapped, adapter, device, "path" if local else "hub")


def _frame(model: Any) -> dict[str, Any]:
    """What a decoder begins with, must say first, and ends with, as the model's files have it."""
    if not getattr(model.config, "is_encoder_decoder", False):
        return {}

    def found(name: str) -> int | None:
        of = (getattr(model, "generation_config", None), model.config)
        ids: Any = next((i for part in of if (i := getattr(part, name, None)) is not None), None)
        return ids[0] if isinstance(ids, list) and ids else ids

    return {
        "begin_id": found("decoder_start_token_id"),
        "first_id": found("forced_bos_token_id"),
        "end_id": found("eos_token_id"),
        "read_first": lambda labels: _read_first(model, labels),
    }


def _read_first(model: Any, labels: list[int]) -> int | None:
    """What a decoder reads before it predicts some labels: as in training, they are shifted."""
    try:
        shifted = model.prepare_decoder_input_ids_from_labels(torch.tensor([labels]))
    except (AttributeError, ValueError):  # no such method; no token to begin with
        return None
    return int(shifted[0, 0])


def _downloaded(name: str, limits: Limits, progress: Progress) -> Path:
    """The Hub's model as a folder of its cache; what is there already is not asked for again."""
    try:
        info = HfApi().model_info(name, files_metadata=True)
    except HfErrors as error:
        raise _hub_problem(name, error) from None
    except (OSError, HTTPError) as error:  # offline, or the Hub cannot be reached
        return _kept(name, error)
    there = {
        file.rfilename: file.size or 0 for file in info.siblings or () if "/" not in file.rfilename
    }
    beside = {file: size for file, size in there.items() if file.endswith(folder.BESIDE)}
    if sum(beside.values()) > folder.MOST_BESIDE:
        said = f"{sum(beside.values()):,} bytes beside its weights"
        raise BadModel("too-large", f"{name} has {said}; at most {folder.MOST_BESIDE:,} are taken")

    holds = _weight_files(name, there)
    first = "config.json" if "config.json" in there else holds[0]
    n_said = sum((info.safetensors.parameters if info.safetensors else {}).values())
    got: dict[str, Path] = {}

    def checked_size() -> int:
        """Bytes of all that is fetched, if it may be."""
        n_byte = sum(there[file] for file in holds if file != folder.INDEX)
        folder.check_size(folder.Weights((), n_said or n_byte // 4, n_byte), limits)
        return n_byte + sum(beside.values())

    def fetch(file: str, total: int) -> None:
        step = Step("downloading", file, sum(there[known] for known in got), total)
        progress(step)
        try:
            # The first by the branch's name, which is noted down: offline, that finds the rest.
            revision = None if file == first else info.sha
            bar = _bar(progress, step)
            got[file] = Path(hf_hub_download(name, file, revision=revision, tqdm_class=bar))
        except HfErrors as error:
            raise _hub_problem(name, error) from None
        except (OSError, HTTPError) as error:
            raise BadModel("offline", f"{file} could not be fetched: {_short(error)}") from None

    fetch(first, checked_size())
    if first == "config.json":
        _check_config(folder.config(got[first].parent), limits)
    if holds == [folder.INDEX]:
        fetch(folder.INDEX, checked_size())
        names, _ = folder.indexed(got[folder.INDEX])
        holds = [file for file in names if file in there]  # what lacks is told when it is opened
    total = checked_size()
    for file in sorted({*beside, *holds} - got.keys()):
        fetch(file, total)
    return got[first].parent


def _weight_files(name: str, there: Mapping[str, int]) -> list[str]:
    """What holds a repository's weights: one file, an index of several, or a single GGUF file."""
    for file in (folder.ONE_FILE, folder.INDEX):
        if file in there:
            return [file]
    packed = [file for file in there if file.endswith(".gguf")]
    if len(packed) == 1:
        return packed
    several = f", and {len(packed)} GGUF files, of which none can be chosen" if packed else ""
    raise BadModel("no-safetensors", f"{name} has no safetensors file on the Hub{several}")


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


def _check_config(content: dict[str, Any], limits: Limits) -> None:
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
    made = CONFIG_MAPPING[str(name)]
    rotates = bool({"rope_parameters", "rope_theta"} & {field.name for field in fields(made)})
    folder.check_config(content, limits, rotates=rotates)


def _check_built(path: Path, content: dict[str, Any], limits: Limits) -> None:
    """The model that the config makes, without memory for its numbers: the files may hold fewer."""
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            model = _classes(content)[0].from_config(config, trust_remote_code=False)
    except Exception as error:  # each family has its own ways to fail
        raise BadModel("damaged", f"it cannot be made: {_short(error)}") from None
    n = sum(x.numel() for x in (*model.parameters(), *model.buffers()))
    folder.check_size(folder.Weights((), n, 2 * n), limits)


def _tokenizer(path: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each tokenizer has its own ways to fail
        said = path / "tokenizer_config.json"
        if said.is_file() and folder.read_json(said).get("auto_map"):
            raise BadModel(
                "remote-code",
                "its tokenizer brings its own Python code, and such code is never run here",
            ) from None
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
    done = folder.cache() / f"{file.stem}-{folder.sha256([file])[:16]}"
    if (done / "config.json").is_file():
        return done
    n, n_layer = _gguf_sizes(file)
    folder.check_config({"num_hidden_layers": n_layer}, limits, rotates=True)
    folder.check_size(folder.Weights((), n, max(4 * n, size)), limits)  # float32 on the way
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


def _gguf_sizes(file: Path) -> tuple[int, int]:
    """How many numbers a GGUF file's tensors hold, by their infos alone; its layers."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise BadModel("unsupported", f"GGUF files need the extra: {_short(error)}") from None
    try:
        said = GGUFReader(file)
        layers = [field for name, field in said.fields.items() if name.endswith(".block_count")]
        n_layer = max((int(field.contents()) for field in layers), default=0)
        return sum(int(tensor.n_elements) for tensor in said.tensors), n_layer
    except Exception as error:  # of whatever a spoilt file says
        raise BadModel("damaged", f"{file.name} cannot be read: {_short(error)}") from None


def _short(error: object) -> str:
    """The first line of what a library says, without the paths of this machine."""
    line = str(error).strip().split("\n")[0]
    return re.sub(r"(/[^\s'\":]+)+/", "", line)[:200]
