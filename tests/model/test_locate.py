"""What people have besides a folder of save_pretrained, and still opens."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.model.hub.library import Library
from attention_atlas.model.hub.locate import canonical
from attention_atlas.model.hub.opening import Limits, open_model
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec

from tests import saved, spoilt

CPU = torch.device("cpu")
TEXT = "He sat on the river bank."
BASE = "The folder also holds an adapter (LORA): the base model alone is shown."
PACKED = "Of this folder the safetensors files are shown, not q4.gguf."
BLOCKS = (
    "It is saved with attention_type: block_sparse and opened with attention_type: original_full, "
    "which gives the same attention for texts of up to 28 tokens."
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved.bert(tmp_path_factory.mktemp("whole"), hf.BertModel)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "mine"))


def old_layout(inside: str) -> Callable[[Path], None]:
    """As older versions of sentence-transformers save: the Transformer in a folder of its own."""
    spoils = [spoilt.inside(inside), spoilt.modules(inside)]
    return spoilt.both(*spoils, spoilt.written("config.json", '{"__version__": "0.3.8"}'))


def new_layout(folder: Path) -> None:
    spoilt.modules("")(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")


def hub_cache(folder: Path) -> None:
    """A folder of the Hub's cache: files are links into blobs, the branch names a snapshot."""
    spoilt.inside("snapshots/abc")(folder)
    for name, text in (("refs/main", "abc"), ("blobs/x", "")):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)


def links(folder: Path) -> None:
    present = folder.parent / "elsewhere"
    folder.rename(present)
    folder.mkdir()
    for path in present.iterdir():
        (folder / path.name).symlink_to(path)


def nulls(folder: Path) -> None:
    saved.changed(folder, quantization_config=None, dtype=None, pruned_heads={})


def code_that_is_not_needed(folder: Path) -> None:
    saved.changed(folder, auto_map={"AutoModel": "modeling_mine.Mine"})
    (folder / "modeling_mine.py").write_text("raise SystemExit('this must never run')")


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        (old_layout("0_Transformer"), []),
        (old_layout("0_BERT"), []),
        (new_layout, []),
        (hub_cache, []),
        (links, []),
        (nulls, []),
        (code_that_is_not_needed, []),
        (spoilt.adapter(), [BASE]),
        (spoilt.written("q4.gguf", "GGUF"), [PACKED]),
        (lambda folder: spoilt.sharded(folder) and None, []),
    ],
    ids=["v0", "BERT", "v2", "cache", "links", "nulls", "code", "adapter", "gguf", "shards"],
)
def test_it_opens(folder: Path, change: Callable[[Path], None], notes: list[str]) -> None:
    wanted = run(open_model(str(folder), CPU), Spec(TEXT)).records["encoder"].attn
    change(folder)
    loaded = open_model(str(folder), CPU)
    assert loaded.name == "mine"
    assert list(map(str, loaded.notes)) == notes
    assert torch.equal(run(loaded, Spec(TEXT)).records["encoder"].attn, wanted)


def test_an_adapter_is_not_applied_where_peft_is_installed(folder: Path, monkeypatch) -> None:
    """transformers would, and would then show other numbers than the note says."""
    spoilt.adapter()(folder)
    for part in ("models.auto.auto_factory", "integrations.peft", "modeling_utils"):
        monkeypatch.setattr(f"transformers.{part}.is_peft_available", lambda: True, raising=False)
    assert run(open_model(str(folder), CPU), Spec(TEXT)).records


def test_a_folder_inside_is_read_anew_when_it_changes(folder: Path) -> None:
    library = Library(CPU, at_most=2, limits=Limits())
    library.known = {}
    old_layout("0_Transformer")(folder)
    first = library.open(str(folder))
    assert library.open("mine") is first
    os.utime(folder / "0_Transformer" / "config.json", (1, 1))
    assert library.open("mine") is not first
    assert canonical(str(folder)) == str(folder.resolve()), "who may open it is told by its name"


@pytest.mark.parametrize(
    ("file", "reason", "says"),
    [
        ("config.json", "not-found", "config.json is one file of a model: name the folder"),
        ("model.safetensors", "not-found", "model.safetensors is one file of a model: name the"),
        ("pytorch_model.bin", "no-safetensors", "pytorch_model.bin can run code when it is opened"),
        ("model-00001-of-00003.gguf", "unsupported", "is one of 3 parts of a model: join them"),
    ],
)
def test_a_file_in_place_of_a_folder(folder: Path, file: str, reason: str, says: str) -> None:
    (folder / file).touch()
    if file.endswith(".gguf"):
        (folder / file).write_bytes(b"GGUF")
    with pytest.raises(BadModel) as caught:
        open_model(str(folder / file), CPU)
    assert (caught.value.reason, says in caught.value.message) == (reason, True)


# Models that are otherwise than their folder says.


def opened(folder: Path, model: Any) -> Any:
    """The folder with another model in it, opened."""
    (folder / spoilt.WEIGHTS).unlink()
    model.save_pretrained(folder)
    return open_model(str(folder), CPU)


@pytest.mark.parametrize("kind", ["block_sparse", "original_full"])
def test_bigbird_takes_texts_that_it_attends_to_as_a_whole(folder: Path, kind: str) -> None:
    torch.manual_seed(0)
    config = hf.BigBirdConfig(**saved.SIZES, attention_type=kind, block_size=4, num_random_blocks=1)
    model = hf.BigBirdForMaskedLM(config).eval()
    loaded = opened(folder, model)
    assert loaded.config.n_ctx == (28 if kind == "block_sparse" else 64)
    assert [str(note).startswith(BLOCKS) for note in loaded.notes] == [True] * (kind[0] == "b")
    result = run(loaded, Spec(TEXT))
    ids = torch.tensor([[token.id for token in result.sequences["source"]]])
    full = hf.BigBirdForMaskedLM.from_pretrained(folder, attention_type="original_full")
    with torch.inference_mode():
        model(input_ids=ids)  # the first short text makes its attention full
        for expected in (model, full.eval()):
            attn = torch.cat(expected(input_ids=ids, output_attentions=True).attentions)
            torch.testing.assert_close(result.records["encoder"].attn, attn, atol=1e-5, rtol=0)


def test_the_encoder_of_t5_alone(folder: Path) -> None:
    torch.manual_seed(0)
    config = hf.T5Config(vocab_size=8192, d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=4)
    config._attn_implementation = "eager"
    model = hf.T5EncoderModel(config).eval()
    loaded = opened(folder, model)
    assert (loaded.family, loaded.kinds, loaded.tasks) == ("encoder", ("encoder",), ())
    result = run(loaded, Spec(TEXT))
    ids = torch.tensor([[token.id for token in result.sequences["source"]]])
    with torch.inference_mode():
        attn = torch.cat(model(input_ids=ids, output_attentions=True).attentions)
    torch.testing.assert_close(result.records["encoder"].attn, attn, atol=1e-5, rtol=0)


def test_a_classifier_of_two_stacks_says_whose_words_it_writes(tmp_path: Path) -> None:
    folder = saved.bart(tmp_path / "mnli")
    config = hf.AutoConfig.from_pretrained(folder)
    loaded = opened(folder, hf.BartForSequenceClassification(config))
    [note] = loaded.notes
    assert str(note).startswith("It was saved as BartForSequenceClassification, which writes no")


def test_notes_are_templates_with_values(folder: Path) -> None:
    spoilt.adapter()(folder)
    [note] = open_model(str(folder), CPU).notes
    assert dict(note.values) == {"kind": "LORA"} and "{kind}" in note.template
    (folder / "adapter_config.json").write_text(json.dumps({}))
    assert "(PEFT)" in str(open_model(str(folder), CPU).notes[0])
