"""Translators of several languages, by the API: framed and decoded as transformers does it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings
from attention_atlas.model.hub.adapters import attentions
from fastapi.testclient import TestClient

from tests.published import TRANSLATORS, published

A, B = "He sat on the river bank.", "La banque est fermée."
CLOSE = {"atol": 1e-5, "rtol": 0.0}
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
# name -> a source and a target language other than the tokenizer's own
OTHER = {
    "M2M100": ("es", "de"),
    "NLLB": ("spa_Latn", "deu_Latn"),
    "NLLB as it was": ("spa_Latn", "deu_Latn"),
    "mBART": ("es_XX", "de_DE"),
    "mBART-50": ("es_XX", "de_DE"),
    "PLBart": ("python", "java"),
}
TURNED = ("mBART", "mBART-50", "PLBart")  # what is last in the labels is read first
MARKED = {"Marian of two languages": ("deu", ">>deu<<"), "MADLAD": ("de", "<2de>")}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("translators")
    for name in TRANSLATORS:
        published(root / name, name)
    return root


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[TestClient]:
    folders = tuple(str(root / name) for name in TRANSLATORS)
    settings = Settings(models="translator", model=folders, threads=1, max_models=len(folders))
    with TestClient(create_app(settings)) as client:
        yield client


def get(client: TestClient, path: str, **spec: Any) -> Any:
    answer = client.get(f"/api/v1{path}", params=spec)
    assert answer.status_code == 200, answer.text
    return answer.json()


def own(root: Path, name: str, languages: tuple[str, str] | None = None) -> tuple[Any, Any]:
    """transformers' model, and its tokenizer set to languages."""
    tokenizer = hf.AutoTokenizer.from_pretrained(root / name)
    model = TRANSLATORS[name].auto.from_pretrained(root / name, attn_implementation="eager")
    if languages is not None:
        tokenizer.src_lang, tokenizer.tgt_lang = languages
    return model.eval(), tokenizer


def same(client: TestClient, output: Any, **spec: Any) -> None:
    """All attention is transformers'; it may have more queries after the end."""
    for kind in ("encoder", "decoder", "cross"):
        result = torch.tensor(get(client, "/attention", kind=kind, **spec)["attn"])
        attn = torch.cat(list(attentions(output, kind)))
        n_query, n_key = result.shape[-2:]
        torch.testing.assert_close(result, attn[:, :, :n_query, :n_key], **CLOSE)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_typed_target_is_framed_in_target_mode(client: TestClient, root: Path, name: str) -> None:
    model, tokenizer = own(root, name)
    with torch.inference_mode():
        inputs = tokenizer(A, text_target=B, return_tensors="pt")
        output = model(**inputs, output_attentions=True)
    same(client, output, model=name, text=A, target=B)
    answer = get(client, "/run", model=name, text=A, target=B)
    read = [model.config.decoder_start_token_id, *inputs.labels[0, :-1].tolist()]
    if name in TURNED:
        read = model.prepare_decoder_input_ids_from_labels(inputs.labels)[0].tolist()
    target = [token["id"] for token in answer["sequences"]["target"]]
    assert target == read[: len(target)] and len(read) - len(target) in (0, 1)


@pytest.mark.parametrize("name", OTHER)
def test_languages_are_chosen(client: TestClient, root: Path, name: str) -> None:
    source, target = OTHER[name]
    model, tokenizer = own(root, name, OTHER[name])
    with torch.inference_mode():
        output = model(**tokenizer(A, text_target=B, return_tensors="pt"), output_attentions=True)
    spec = {"model": name, "text": A, "target": B, "source_lang": source, "target_lang": target}
    same(client, output, **spec)
    tokens = get(client, "/tokenize", model=name, text=A, source_lang=source)["tokens"]
    assert [token["id"] for token in tokens] == tokenizer(A).input_ids


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("name", OTHER)
def test_decoding_begins_with_the_language(
    client: TestClient, root: Path, name: str, num_beams: int
) -> None:
    """No file says forced_bos_token_id: the language alone does."""
    source, target = OTHER[name]
    model, tokenizer = own(root, name, OTHER[name])
    raw = f"__{target}__" if name in ("M2M100", "PLBart") else target
    language = tokenizer.convert_tokens_to_ids(raw)
    spec = {"model": name, "text": A, "source_lang": source, "target_lang": target}
    answer = get(client, "/translate", **spec, num_beams=num_beams, max_new_tokens=9)
    inputs = tokenizer(A, return_tensors="pt")
    begins = {"forced_bos_token_id": language}
    if name in ("mBART", "PLBart"):  # their decoders read the language before they say anything
        begins = {"decoder_start_token_id": language}
    options = {"num_beams": num_beams, "max_new_tokens": 9, "do_sample": False}
    theirs = model.generate(**inputs, **begins, **options, forced_eos_token_id=None)[0].tolist()
    ours = [token["id"] for token in answer["tokens"]]
    begin = answer["sequences"]["target"][0]["id"]
    assert [begin, *ours] == theirs[: len(ours) + 1] and len(ours) > 3
    assert language in (begin, ours[0])
    assert f"target_lang={target}" in answer["links"]["attention"]


@pytest.mark.parametrize("name", MARKED)
def test_the_target_may_stand_in_the_source(client: TestClient, root: Path, name: str) -> None:
    code, mark = MARKED[name]
    model, tokenizer = own(root, name)
    with torch.inference_mode():
        inputs = tokenizer(f"{mark} {A}", text_target=B, return_tensors="pt")
        output = model(**inputs, output_attentions=True)
    same(client, output, model=name, text=A, target=B, target_lang=code)
    same(client, output, model=name, text=f"{mark} {A}", target=B)
    chosen = get(client, "/tokenize", model=name, text=A, target_lang=code)["tokens"]
    first = next(token for token in chosen if token["raw"] == mark)
    assert (first["special"], first["start"], first["end"], first["word"]) == (True, 0, 0, None)
    assert "".join(A[token["start"] : token["end"]] for token in chosen).replace(" ", "") == (
        A.replace(" ", "")
    )
    words = {token["word"] for token in chosen} - {None}
    assert words == set(range(7))


CHOSEN = [("NLLB", *OTHER["NLLB"]), ("Marian of two languages", None, "deu")]
USUAL = [
    ("NLLB", "eng_Latn", "fra_Latn"),
    ("Marian of two languages", None, None),
    ("translator", None, None),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/run", "/translate"])
@pytest.mark.parametrize(("name", "source", "target"), CHOSEN + USUAL)
def test_answers_name_the_languages_that_were_used(
    client: TestClient, path: str, method: str, name: str, source: str | None, target: str | None
) -> None:
    is_chosen = (name, source, target) in CHOSEN
    languages = {"source_lang": source, "target_lang": target}
    spec = {"model": name, "text": A, **(languages if is_chosen else {})}
    spec = {name: value for name, value in spec.items() if value is not None}
    sent = {"params": spec} if method == "GET" else {"json": spec}
    answer = client.request(method, f"/api/v1{path}", **sent)
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in languages} == languages


def test_the_language_that_a_text_names_itself_is_answered(client: TestClient) -> None:
    spec = {"model": "Marian of two languages", "text": f">>deu<< {A}"}
    for path in ("/run", "/translate"):
        assert get(client, path, **spec)["target_lang"] == "deu"


def test_a_text_and_a_choice_must_agree(client: TestClient) -> None:
    spec = {"model": "Marian of two languages", "text": f">>fra<< {A}"}
    assert get(client, "/run", **spec, target_lang="fra")
    answer = client.post("/api/v1/run", json={**spec, "target_lang": "deu"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "target_lang"


@pytest.mark.parametrize("field", ["source_lang", "target_lang"])
@pytest.mark.parametrize("path", ["/run", "/tokenize", "/translate", "/attention", "/embedding"])
def test_a_language_that_is_not_there_is_refused(client: TestClient, path: str, field: str) -> None:
    body = {"model": "NLLB", "text": A, field: "French"}
    answer = client.post(f"/api/v1{path}", json=body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == field and "fra_Latn" in error["message"]


@pytest.mark.parametrize("name", ["translator", "Marian of two vocabularies"])
def test_a_model_without_languages_has_none_to_choose(client: TestClient, name: str) -> None:
    body = {"model": name, "text": A, "target_lang": "fra"}
    answer = client.post("/api/v1/translate", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "target_lang"
    assert get(client, f"/models/{name}")["languages"] is None


def test_models_name_their_languages(client: TestClient) -> None:
    nllb = get(client, "/models/NLLB")["languages"]
    assert nllb["default"] == {"source": "eng_Latn", "target": "fra_Latn"}
    assert nllb["names"]["fra_Latn"] == {"en": "French", "zh": "法语"}
    assert "deu_Latn" in nllb["source"] and nllb["source"] == nllb["target"]
    m2m100 = get(client, "/models/M2M100")["languages"]
    assert m2m100["names"]["zh"]["en"] == "Chinese"
    marian = get(client, "/models/Marian of two languages")["languages"]
    assert (marian["source"], marian["target"]) == ([], ["deu", "fra"])
    assert marian["default"] == {"source": None, "target": None}


def test_two_languages_at_once_do_not_mix(client: TestClient, root: Path) -> None:
    """A tokenizer of transformers keeps the language that it was last set to."""
    _, tokenizer = own(root, "NLLB")
    codes = ("fra_Latn", "deu_Latn", "spa_Latn", "eng_Latn") * 12
    ids = {code: tokenizer.convert_tokens_to_ids(code) for code in codes}

    def first(code: str) -> int:
        tokens = get(client, "/tokenize", model="NLLB", text=A, source_lang=code)["tokens"]
        return int(tokens[0]["id"])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(first, codes)) == [ids[code] for code in codes]


def test_each_side_is_spelled_by_its_own_vocabulary(client: TestClient) -> None:
    spec = {"model": "Marian of two vocabularies", "text": A, "target": B}
    sequences = get(client, "/run", **spec)["sequences"]
    for text, side in ((A, "source"), (B, "target")):
        tokens = [token for token in sequences[side] if not token["special"]]
        assert "".join(token["raw"] for token in tokens).replace("▁", " ").strip() == text
        assert not any(token["unknown"] for token in tokens)


def twin(client: TestClient, path: str, **query: str) -> Any:
    answer = client.get(f"{path}.json", params=query)
    assert answer.status_code == 200, answer.text
    assert client.get(path, params=query).status_code == 200
    return answer.json()


@pytest.mark.parametrize("name", OTHER)
def test_pages_are_of_the_chosen_languages(client: TestClient, name: str) -> None:
    source, target = OTHER[name]
    spec = {"model": name, "text": A, "source_lang": source, "target_lang": target}
    answer = twin(client, "/explore", **spec)
    assert (answer["source_lang"], answer["target_lang"], answer["ignored"]) == (source, target, [])
    assert answer["run"]["sequences"] == get(client, "/run", **spec)["sequences"]
    usual = twin(client, "/explore", model=name, text=A)
    assert usual["run"]["sequences"] != answer["run"]["sequences"]
    translated = twin(client, "/translate", **spec)
    assert (translated["source_lang"], translated["target_lang"]) == (source, target)
    assert translated["translation"]["sequences"] == get(client, "/translate", **spec)["sequences"]


def test_the_target_of_a_mark_is_chosen_on_a_page(client: TestClient) -> None:
    spec = {"model": "Marian of two languages", "text": A}
    usual = twin(client, "/explore", **spec)
    assert (usual["source_lang"], usual["target_lang"]) == (None, None)
    answer = twin(client, "/explore", **spec, target_lang="deu")
    assert answer["run"]["sequences"]["source"][0]["raw"] == ">>deu<<"
    page = client.get("/translate", params={**spec, "target_lang": "deu"}).text
    assert '<option value="">none</option>' in page
    assert '<option value="deu" selected>German</option>' in page


@pytest.mark.parametrize("path", ["/explore", "/translate"])
def test_a_page_ignores_and_names_an_unknown_language(client: TestClient, path: str) -> None:
    usual = twin(client, path, model="NLLB", text=A)
    answer = twin(client, path, model="NLLB", text=A, target_lang="xx", source_lang="spa_Latn")
    assert [row["field"] for row in answer["ignored"]] == ["target_lang"]
    assert (answer["source_lang"], answer["target_lang"]) == ("spa_Latn", usual["target_lang"])
    none = twin(client, path, model="translator", text=A, source_lang="fr")
    assert [row["field"] for row in none["ignored"]] == ["source_lang"]
    assert none["ignored"][0]["message"].endswith("translator has no source languages")
    assert none["source_lang"] is None


def test_a_file_that_stands_alone_is_of_the_chosen_languages(client: TestClient) -> None:
    spec = {"model": "NLLB", "text": A}
    usual = client.get("/explore.html", params=spec)
    chosen = client.get("/explore.html", params={**spec, "target_lang": "deu_Latn"})
    assert chosen.status_code == usual.status_code == 200
    attention = re.compile(r'"attention": ?"([\w+/=]{200,})"')
    [before], [after] = (attention.findall(answer.text) for answer in (usual, chosen))
    assert before != after
