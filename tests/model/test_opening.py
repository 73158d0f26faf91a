"""Models opened from folders: what is taken, and each reason why one is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from attention_atlas.model.analysis.compare import hidden_states
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.library import Library
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.hub.progress import Step
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.run import run
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Edit
from attention_atlas.model.zoo import Loaded

from tests import saved

CPU = torch.device("cpu")
TEXT = "He sat on the [MASK] bank."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved.bert(tmp_path_factory.mktemp("models") / "my-bert")


@pytest.fixture(scope="module")
def bert(folder: Path) -> Loaded:
    return open_model(str(folder), CPU)


def test_a_saved_checkpoint_opens_by_its_path(folder: Path, bert: Loaded) -> None:
    model = hf.BertForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    result = run(bert, Spec(TEXT))
    ids = torch.tensor([[token.id for token in result.sequences["source"]]])
    with torch.inference_mode():
        output = model(input_ids=ids, output_attentions=True)
    attn = torch.cat(output.attentions)
    torch.testing.assert_close(result.records["encoder"].attn, attn, atol=1e-6, rtol=0)
    [mask] = result.predictions["masks"]
    best = output.logits[0, mask["position"]].softmax(-1).max().item()
    assert mask["candidates"][0]["probability"] == pytest.approx(best)
    assert (bert.name, bert.source, bert.dtype) == ("my-bert", "path", "float32")
    assert len(bert.card.sha256) == 64


def test_the_steps_are_told(folder: Path) -> None:
    steps: list[Step] = []
    open_model(str(folder), CPU, progress=steps.append)
    assert [step.stage for step in steps] == ["looking", "loading", "trying"]


def test_a_fine_tuned_model_without_a_head_for_words_has_no_tasks(tmp_path: Path) -> None:
    loaded = open_model(str(saved.bert(tmp_path, hf.BertForSequenceClassification)), CPU)
    assert (loaded.tasks, loaded.family) == ((), "encoder")
    assert run(loaded, Spec(TEXT)).predictions.keys() == {"masks", "is_next", "labels"}


def test_a_pretraining_head_tells_the_next_sentence(tmp_path: Path) -> None:
    folder = saved.bert(tmp_path, hf.BertForPreTraining)
    loaded = open_model(str(folder), CPU)
    assert loaded.tasks == ("fill-mask", "next-sentence")
    result = run(loaded, Spec("The river.", text_pair="The bank."))
    model = hf.BertForPreTraining.from_pretrained(folder).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("The river.", "The bank.", return_tensors="pt")
    with torch.inference_mode():
        text = model(**inputs).seq_relationship_logits
    assert result.predictions["is_next"] == pytest.approx(text.softmax(-1)[0, 0].item())


def test_a_decoder_and_a_translator_open_too(tmp_path: Path) -> None:
    gpt2 = open_model(str(saved.gpt2(tmp_path / "gpt2")), CPU)
    assert len(run(gpt2, Spec("The bank")).predictions["next_token"]) == 10
    bart = open_model(str(saved.bart(tmp_path / "bart")), CPU)
    given = run(bart, Spec("El banco", target="The bank"))
    assert [t.raw for t in given.sequences["target"]] == ["</s>", "ĠThe", "Ġbank"]
    assert {kind: record.attn.shape[0] for kind, record in given.records.items()} == {
        "encoder": 2,
        "decoder": 3,
        "cross": 3,
    }
    assert run(bart, Spec("El banco")).target_decoded


def test_edits_and_hidden_states_work(bert: Loaded) -> None:
    blocked = run(bert, Spec(TEXT, edits=(Edit("block", layer=0, head=1, key=2),)))
    assert (blocked.records["encoder"].attn[0, 1, :, 2] == 0).all()
    assert hidden_states(bert, Spec(TEXT)).shape == (3, 9, 24)


def test_rotary_positions_are_not_left_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = saved.gpt2(tmp_path)
    config = hf.LlamaConfig(**saved.SIZES, num_key_value_heads=2)
    (folder / "model.safetensors").unlink()
    hf.LlamaForCausalLM(config).save_pretrained(folder)
    loaded = open_model(str(folder), CPU)
    with pytest.raises(BadInput, match="adds no position vectors to its input") as caught:
        run(loaded, Spec("The bank", edits=(Edit("positions", value="none"),)))
    assert caught.value.field == "edits"


def test_what_a_family_lacks_is_refused_by_name(tmp_path: Path) -> None:
    folder = saved.bert(tmp_path)
    config = hf.DebertaV2Config(**saved.SIZES, relative_attention=True, pos_att_type=["c2p"])
    hf.DebertaV2ForMaskedLM(config).save_pretrained(folder)
    loaded = open_model(str(folder), CPU)
    with pytest.raises(BadInput, match="has no edits to show: deberta-v2 does not use"):
        run(loaded, Spec(TEXT, edits=(Edit("scale", by=2.0),)))
    assert run(loaded, Spec(TEXT)).records["encoder"].attn.sum(-1).allclose(torch.tensor(1.0))


def test_no_memory_is_said_before_anything_is_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="GB of memory are free") as caught:
        open_model(str(folder), CPU, Limits(memory=100_000))
    assert caught.value.reason == "no-memory"


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "x" * 5000, "~nobody/x", "a b"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(BadModel, match="no such folder") as caught:
        open_model(name, CPU)
    assert caught.value.reason == "not-found"


def test_the_hub_is_not_asked_when_offline() -> None:
    with pytest.raises(BadModel, match="somebody/something was not fetched before") as caught:
        open_model("somebody/something", CPU)
    assert caught.value.reason == "offline"


def test_a_model_without_attention_says_so(tmp_path: Path) -> None:
    folder = saved.gpt2(tmp_path)
    (folder / "model.safetensors").unlink()
    config = hf.MambaConfig(vocab_size=8192, hidden_size=24, num_hidden_layers=2, state_size=4)
    hf.MambaForCausalLM(config).save_pretrained(folder)
    with pytest.raises(BadModel, match="a mamba model has no attention to show") as caught:
        open_model(str(folder), CPU)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize(
    ("n_layer", "says"),
    [(2, "the model has 2,100 parameters; at most 2,000"), (3000, "num_hidden_layers 3,000")],
)
def test_a_gguf_file_is_measured_before_it_is_converted(
    tmp_path: Path, n_layer: int, says: str
) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama")
    writer.add_block_count(n_layer)
    writer.add_tensor("token_embd.weight", np.zeros((70, 30), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BadModel, match=says) as caught:
        open_model(str(tmp_path), CPU, Limits(parameters=2000))
    assert caught.value.reason == "too-large"
    (tmp_path / "big.gguf").write_bytes(b"GGUF" + b"\xff" * 40)
    with pytest.raises(BadModel, match=r"big\.gguf cannot be read") as caught:
        open_model(str(tmp_path), CPU)
    assert caught.value.reason == "damaged"


def test_long_files_beside_the_weights_are_not_read(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("attention_atlas.model.hub.folder.LONGEST", 100)
    with pytest.raises(BadModel, match=r"\w+\.json is longer than 100 bytes"):
        open_model(str(folder), CPU)


# The models in memory.


@pytest.fixture
def library() -> Library:
    result = Library(CPU, at_most=2, limits=Limits())
    result.known = {}
    return result


def test_the_model_used_longest_ago_goes_and_comes_back(library: Library, tmp_path: Path) -> None:
    folders = [str(saved.bert(tmp_path / name)) for name in ("a", "b", "c")]
    a = library.open(folders[0])
    library.open(folders[1])
    library.get("a")  # used: now b is the one
    library.open(folders[2])
    assert list(library.models) == ["a", "c"]
    assert library.ready_to_open == ["b"]
    library.open("b")
    assert list(library.models) == ["c", "b"]
    assert run(a, Spec(TEXT)).records  # whoever has it keeps it


def test_the_same_folder_is_opened_once(library: Library, folder: Path) -> None:
    first = library.open(str(folder))
    assert library.open(f"{folder}/../{folder.name}") is first


def test_a_folder_that_was_written_anew_is_read_anew(library: Library, tmp_path: Path) -> None:
    folder = saved.bert(tmp_path / "mine")
    first = library.open(str(folder))
    assert library.open("mine") is first
    model = hf.BertForMaskedLM.from_pretrained(folder)
    model.bert.embeddings.word_embeddings.weight.data += 1.0
    model.save_pretrained(folder)
    again = library.open(str(folder))
    assert (again.name, list(library.models)) == ("mine", ["mine"])
    assert again.card.sha256 != first.card.sha256
    assert not torch.equal(*(run(x, Spec(TEXT)).records["encoder"].attn for x in (first, again)))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "generation_config.json"])
def test_other_files_beside_the_same_weights_are_another_model(tmp_path: Path, file: str) -> None:
    folder = saved.bert(tmp_path)
    before = open_model(str(folder), CPU).card
    path = folder / file
    path.write_text((path.read_text() if path.exists() else "{}") + " ")
    after = open_model(str(folder), CPU).card
    assert after.sha256 == before.sha256 and after.revision != before.revision


def test_two_folders_of_one_name_are_two_models(library: Library, tmp_path: Path) -> None:
    names = [library.open(str(saved.bert(tmp_path / n / "same"))).name for n in ("x", "y")]
    assert names == ["same", "same-2"]


def test_a_model_that_cannot_be_opened_changes_nothing(library: Library) -> None:
    with pytest.raises(BadModel):
        library.open("/nowhere")
    assert (library.models, library.known) == ({}, {})
