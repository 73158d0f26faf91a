"""LoRA adapters: opened with their base, merged as peft merges them, refused where it is not so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as hf
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.library import Library
from attention_atlas.model.hub.lora import Adapter
from attention_atlas.model.hub.opening import MERGED, open_model
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.hub.rehearsal import Guard
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec
from safetensors.torch import load_file, save_file

from tests import saved

# peft asks transformers and torch for what they are about to rename.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
TEXT = "where is the bank"
CPU = torch.device("cpu")
FILE = "adapter_model.safetensors"


def pretrained(folder: Path) -> Path:
    """A BERT with its pooler, which a head of labels reads."""
    return saved.bert(folder, hf.BertForPreTraining)


CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {  # how the base is made, its class, settings
    "labels": (
        pretrained,
        hf.AutoModelForSequenceClassification,
        {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]},
    ),
    "tokens": (
        saved.bert,
        hf.AutoModelForTokenClassification,
        {"task_type": "TOKEN_CLS", "target_modules": ["query"], "use_rslora": True},
    ),
    "words": (
        saved.gpt2,
        hf.AutoModelForCausalLM,
        {
            "task_type": "CAUSAL_LM",
            "target_modules": ["c_attn", "wte", "c_fc"],
            "alpha_pattern": {"c_fc": 3},
            "rank_pattern": {"c_attn": 2},
        },
    ),
    "biases": (
        saved.llama,
        hf.AutoModelForCausalLM,
        {"target_modules": "all-linear", "modules_to_save": ["norm"]},
    ),
}


def tuned(root: Path, case: str) -> tuple[Path, Any, Any]:
    """An adapter beside its base: its folder, the merged model of peft, the tokenizer."""
    hf.logging.set_verbosity_error()
    make, cls, settings = CASES[case]
    base = make(root / "base")
    torch.manual_seed(0)
    labels = {"num_labels": 3} if "For" in cls.__name__ and "Causal" not in cls.__name__ else {}
    model = peft.get_peft_model(
        cls.from_pretrained(base, **labels), peft.LoraConfig(r=4, lora_alpha=8, **settings)
    )
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(root / "adapter", safe_serialization=True)
    return root / "adapter", model.merge_and_unload().eval(), hf.AutoTokenizer.from_pretrained(base)


@torch.no_grad()
def same(folder: Path, merged: Any, tokenizer: Any, **options: Any) -> Any:
    """The opened model gives what peft's merged one gives."""
    ours = open_model(str(folder), CPU, **options)
    merged.set_attn_implementation("eager")
    output = merged(**tokenizer(TEXT, return_tensors="pt"), output_attentions=True)
    result = run(ours, Spec(TEXT))
    [record] = result.records.values()
    torch.testing.assert_close(record.attn, torch.stack(output.attentions)[:, 0], atol=1e-5, rtol=0)
    theirs = merged.state_dict()
    for name, tensor in ours.model.model.state_dict().items():  # type: ignore[union-attr,operator]
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=0)
    return ours, result, output


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_is_merged_as_peft_merges_it(tmp_path: Path, case: str) -> None:
    ours, result, output = same(*tuned(tmp_path, case))
    assert str(ours.notes[0]) == MERGED.format(base="base")
    if case == "labels":
        shares = sorted(row["probability"] for row in result.predictions["labels"])
        expected = output.logits[0].softmax(-1).sort().values.tolist()
        assert shares == pytest.approx(expected, abs=1e-5)


def test_an_adapter_is_tried_in_a_child_first(tmp_path: Path) -> None:
    folder, merged, tokenizer = tuned(tmp_path, "labels")
    same(folder, merged, tokenizer, guard=Guard(seconds=120))


def test_a_base_of_that_name_beside_the_adapter_is_found(tmp_path: Path) -> None:
    folder, merged, tokenizer = tuned(tmp_path, "words")
    moved = shutil.move(tmp_path, tmp_path.parent / "elsewhere")
    ours, _, _ = same(Path(moved) / "adapter", merged, tokenizer)
    assert ours.name == "adapter"
    shutil.move(moved, tmp_path)


def refused(folder: Path, **options: Any) -> str:
    with pytest.raises(BadModel) as error:
        open_model(str(folder), CPU, **options)
    return error.value.message


def test_what_cannot_be_merged_exactly_is_refused(tmp_path: Path) -> None:
    folder, _, _ = tuned(tmp_path, "labels")
    settings = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / FILE)

    def changed(**values: Any) -> str:
        (folder / "adapter_config.json").write_text(json.dumps(settings | values))
        return refused(folder)

    assert "has use_dora, which is not computed" in changed(use_dora=True)
    assert "of the kind IA3" in changed(peft_type="IA3")
    assert "names that are no modules" in changed(alpha_pattern={".*(a|a)+$": 3})
    gone = changed(base_model_name_or_path="org/never-fetched")
    assert "is an adapter (LORA) for org/never-fetched, without the weights" in gone
    key = next(key for key in tensors if "lora_A" in key)
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    for other, message in (
        ({key: tensors[key].repeat(1, 2)}, "is for another model: "),
        ({"base_model.model.x.lora_A.weight": tensors[key]}, "only one of the two matrices of x"),
        ({"x.lora_C": tensors[key]}, "holds x.lora_C, which is not merged here"),
        ({"base_model.model.nothing": tensors[key]}, "has no nothing"),
    ):
        save_file({**tensors, **{k: x.clone() for k, x in other.items()}}, folder / FILE)
        assert message in refused(folder)
    (folder / FILE).rename(folder / "adapter_model.bin")
    assert "can run code when it is opened" in refused(folder)


def test_a_base_without_the_pooler_that_the_head_reads_is_refused(tmp_path: Path) -> None:
    folder, _, _ = tuned(tmp_path, "labels")
    saved.bert(tmp_path / "base")
    assert "tensors are missing: bert.pooler" in refused(folder)


def test_the_base_can_be_opened_beside_it(tmp_path: Path) -> None:
    folder, _, _ = tuned(tmp_path, "words")
    library = Library(CPU, at_most=2, limits=Limits())
    ours = library.open(str(folder))
    assert ours.base == ("base", str(tmp_path / "base")) and "base" in library.ready_to_open
    base = library.open("base")
    assert library.open(str(folder)) is ours
    weights = [each.model.logits(torch.ones(1, 24)) for each in (ours, base)]
    assert not torch.allclose(*weights, atol=1e-3)


def test_a_base_that_may_not_be_opened_is_not(tmp_path: Path) -> None:
    folder, _, _ = tuned(tmp_path, "labels")
    message = refused(folder, allows=lambda base: False)
    assert "is an adapter (LORA) for base, without the weights" in message


def test_a_product_is_as_large_as_the_weight_before_it_is_computed(tmp_path: Path) -> None:
    """Two matrices of 1 MB would give 250 GB."""
    folder, _, _ = tuned(tmp_path, "labels")
    tensors = load_file(folder / FILE)
    a = next(key for key in tensors if "lora_A" in key)
    b = a.replace("lora_A", "lora_B")
    for first, second, message in (
        (torch.ones(1, 250_000), torch.ones(250_000, 1), "is for another model: "),
        (torch.ones(2, 24), torch.ones(24, 3), "do not fit each other"),
        (torch.ones(24), torch.ones(24, 1), "do not fit each other"),
        (torch.ones(0, 24), torch.ones(24, 0), "do not fit each other"),
    ):
        save_file({**tensors, a: first, b: second}, folder / FILE)
        assert message in refused(folder)


def test_an_alpha_that_makes_weights_infinite_is_refused(tmp_path: Path) -> None:
    folder, _, _ = tuned(tmp_path, "labels")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 1e300}))
    assert "finite" in refused(folder, guard=Guard(seconds=120))


def test_one_of_many_alphas_is_found_without_looking_at_all() -> None:
    module = ".".join("ab" * 50)
    alphas = {f"x{n}": n for n in range(100_000)} | {"a.b": 7, "b": 9, module: 5}
    adapter = Adapter(Path(), {"alpha_pattern": alphas}, {}, {})
    assert [adapter.scale(name, 1) for name in (module, "b", "y.b", "c")] == [7, 9, 9, 8]
