"""What a model is given is what its own tokenizer gives: by the API, all of it, for each family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from attention_atlas.model.hub.adapters import attentions
from fastapi.testclient import TestClient

from tests.families import DECODERS, FAMILIES
from tests.published import OTHERS, form, published

A, B = "return maximum value", "def max(a,b): return a"
NAMES = (*FAMILIES, *OTHERS)
BETWEEN = ("Marian", "M2M100", "Pegasus")  # whose tokenizers put nothing between two texts
FROM_LEFT = ("XGLM", "OpenAI GPT", "CTRL", "GPT-2 with types", "a Llama whose texts end")
ONE_TEXT = (*DECODERS, *BETWEEN, *FROM_LEFT)
CLOSE = {"atol": 1e-5, "rtol": 0.0}
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")


class Opened:
    """A folder: by the API, and as transformers itself has it."""

    def __init__(self, client: TestClient, folder: Path) -> None:
        self.client, self.name = client, folder.name
        self.tokenizer = hf.AutoTokenizer.from_pretrained(folder)
        auto = form(folder.name).auto
        self.model = auto.from_pretrained(folder, attn_implementation="eager").eval()

    def get(self, path: str, **spec: Any) -> Any:
        answer = self.client.get(f"/api/v1{path}", params={"model": self.name, **spec})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def attention(self, **spec: Any) -> dict[str, torch.Tensor]:
        """All that the API has: kind -> (L, H, Tq, Tk)."""
        kinds = [kind["kind"] for kind in self.get("/run", **spec)["kinds"]]
        values = {kind: self.get("/attention", kind=kind, **spec)["attn"] for kind in kinds}
        return {kind: torch.tensor(attn) for kind, attn in values.items()}

    def own(self, kinds: Any, *texts: str, **options: Any) -> dict[str, torch.Tensor]:
        """model(**tokenizer(...)): its eager attention."""
        inputs = self.tokenizer(*texts, return_tensors="pt", **options)
        with torch.inference_mode():
            output = self.model(**inputs, output_attentions=True)
        return {kind: torch.cat(list(attentions(output, kind))) for kind in kinds}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("published")
    folders = tuple(str(published(root / name, name)) for name in NAMES)
    settings = Settings(models="gpt", model=folders, threads=1, max_models=len(folders))
    with TestClient(create_app(settings)) as client:
        client.root = root
        yield client


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_what_its_own_tokenizer_makes_of_it(client: TestClient, name: str) -> None:
    model = Opened(client, client.root / name)
    options = {"text_target": B} if model.model.config.is_encoder_decoder else {}
    spec = {"target": B} if options else {}
    result = model.attention(text=A, **spec)
    for kind, attn in model.own(result, A, **options).items():
        torch.testing.assert_close(result[kind], attn, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_is_what_its_own_tokenizer_makes_of_it(client: TestClient, name: str) -> None:
    model = Opened(client, client.root / name)
    both = model.model.config.is_encoder_decoder
    if name in ONE_TEXT:
        body = {"model": name, "text": A, "text_pair": B}
        answer = client.post("/api/v1/run", json=body)
        assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == "text_pair"
        return
    result = model.attention(text=A, text_pair=B, **({"target": B} if both else {}))
    options = {"text_target": B} if both else {}
    for kind, attn in model.own(result, A, B, **options).items():
        torch.testing.assert_close(result[kind], attn, **CLOSE)


GOES_ON = [*FROM_LEFT, "OPT", "Gemma 2"]
GOES_ON.remove("CTRL")  # whose generate() leaves the token types out


@pytest.mark.parametrize("name", GOES_ON)
def test_a_text_goes_on_as_transformers_has_it(client: TestClient, name: str) -> None:
    """What a tokenizer puts before and behind a prompt stays; token types go on; and a model that
    has no KV cache reads the whole text each time."""
    model = Opened(client, client.root / name)
    body = {"model": name, "text": A, "temperature": 0, "max_new_tokens": 8}
    answer = client.post("/api/v1/generate", json=body)
    assert answer.status_code == 200, answer.text
    inputs = model.tokenizer(A, return_tensors="pt")
    options = {
        "max_new_tokens": 8,
        "do_sample": False,
        "eos_token_id": model.tokenizer.eos_token_id,
    }
    theirs = model.model.generate(**inputs, **options)[0].tolist()
    reply = answer.json()
    assert [token["id"] for token in reply["prompt"] + reply["tokens"]] == theirs
