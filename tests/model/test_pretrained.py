"""Two real models, from PyPI: through the lens they are what transformers makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers as hf
from attention_atlas.model.analysis.anatomy import anatomy
from attention_atlas.model.hub import folder
from attention_atlas.model.hub.library import packaged
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Edit
from attention_atlas.model.zoo import Loaded
from torch import Tensor

CPU = torch.device("cpu")
RIVER = "He sat on the river bank and watched the water."
pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(len(packaged()) < 2, reason="make pretrained installs the models"),
]


@pytest.fixture(scope="module")
def home(cache_home: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        yield folder.cache()


@pytest.fixture(scope="module")
def minilm(home: Path) -> Loaded:
    return open_model(packaged()["all-MiniLM-L6-v2"], CPU)


@pytest.fixture(scope="module")
def smollm2(home: Path) -> Loaded:
    return open_model(packaged()["SmolLM2-135M-Instruct"], CPU)


def own(model: torch.nn.Module, loaded: Loaded, text: str) -> Tensor:
    """What eager attention gives: (L, H, T, T)."""
    ids = torch.tensor([[token.id for token in loaded.tokenizer.encode(text)]])
    with torch.inference_mode():
        return torch.cat(model(input_ids=ids, output_attentions=True).attentions)


def test_minilm_is_itself(minilm: Loaded) -> None:
    path = packaged()["all-MiniLM-L6-v2"]
    model = hf.AutoModel.from_pretrained(path, attn_implementation="eager").eval()
    attn = run(minilm, Spec(RIVER)).records["encoder"].attn
    torch.testing.assert_close(attn, own(model, minilm, RIVER), atol=1e-5, rtol=0)
    assert (minilm.config.n_layer, minilm.config.n_head, minilm.tasks) == (6, 12, ())
    assert minilm.n_parameters == pytest.approx(22.7e6, rel=0.01)


def test_smollm2_is_itself(smollm2: Loaded, home: Path) -> None:
    [made] = home.glob("SmolLM2*")
    model = hf.AutoModelForCausalLM.from_pretrained(
        made, attn_implementation="eager", dtype=torch.float32
    )
    attn = run(smollm2, Spec(RIVER)).records["decoder"].attn
    torch.testing.assert_close(attn, own(model.eval(), smollm2, RIVER), atol=1e-5, rtol=0)
    config = smollm2.config
    assert (config.n_layer, config.n_head, smollm2.n_kv_head) == (30, 9, 3)


def test_smollm2_knows_a_capital(smollm2: Loaded) -> None:
    result = run(smollm2, Spec("The capital of France is")).predictions["next_token"]
    assert result[0]["text"] == " Paris"


def test_a_gguf_file_is_unpacked_once(smollm2: Loaded, home: Path) -> None:
    [made] = home.glob("SmolLM2*")
    names = [path.name for path in home.iterdir()]
    left = [name for name in names if f".making-{os.getpid()}-" in name]
    assert left == [], "nothing half made is left"
    assert [name for name in names if not name.startswith(".making-")] == [made.name]
    steps = []
    open_model(packaged()["SmolLM2-135M-Instruct"], CPU, progress=steps.append)
    assert "converting" not in [step.stage for step in steps]


def test_q_and_k_are_after_rotation(smollm2: Loaded) -> None:
    """The same word in two places: its keys differ by their positions alone, not in length."""
    place = {"kind": "decoder", "layer": 0, "head": 4, "query": 3}
    result = anatomy(smollm2, Spec("bank bank bank bank"), **place)
    assert result.rotated and result.scale == 64**-0.5
    same = result.k[1:]  # the first has no space before it
    assert not torch.allclose(same[0], same[1], atol=1e-2)
    torch.testing.assert_close(same[0].norm(), same[1].norm(), rtol=1e-4, atol=0)
    torch.testing.assert_close(result.dots * result.scale, result.scores)


def test_a_head_switched_off_changes_what_comes_after_it_alone(smollm2: Loaded) -> None:
    edit = Edit("ablate", layer=2, head=3)
    before, after = (
        run(smollm2, Spec(RIVER, edits=edits)).records["decoder"].attn for edits in ((), (edit,))
    )
    torch.testing.assert_close(before[:3], after[:3], atol=1e-5, rtol=0)
    assert (before[3:] - after[3:]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "text", ["Don't stop.", "你好，世界 😀", "مرحبا بالعالم", "<|im_start|>user\nHi"]
)
def test_tokens_are_the_models_own(minilm: Loaded, smollm2: Loaded, text: str) -> None:
    for loaded in (minilm, smollm2):
        tokens = loaded.tokenizer.encode(text)
        assert [token.id for token in tokens] == loaded.tokenizer.backend(text).input_ids
        assert not any(char in token.text for token in tokens for char in "ĠÃä")
