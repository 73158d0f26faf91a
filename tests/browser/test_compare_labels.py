"""Compare shows what fine-tuned heads say of both texts, and an adapter beside its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import transformers as hf
from playwright.sync_api import Page, expect

import attention_atlas as atlas
from tests import saved
from tests.browser.screens import CHINESE, DARK, LIGHT, PHONE, violations
from tests.browser.working import opened

TEXTS = {"text": "the river bank", "text_b": "the money bank", "word": "bank"}
NAMED = ["light", "dark", "phone", "chinese"]
NAMES = {"id2label": {0: "water", 1: "money"}, "label2id": {"water": 0, "money": 1}}


@pytest.fixture(scope="module")
def client(server: str) -> Any:
    with atlas.Client(server) as client:
        yield client


@pytest.fixture(scope="module")
def tuned(client: atlas.Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier, opened on the server: its name there."""
    folder = tmp_path_factory.mktemp("tuned")
    saved.bert(folder, hf.BertForSequenceClassification, **NAMES)
    return str(client.open_model(str(folder))["name"])


def compared(client: atlas.Client, a: str, b: str) -> tuple[Any, Any]:
    runs = [{"model": a, "text": TEXTS["text"]}, {"model": b, "text": TEXTS["text_b"]}]
    fields = client.compare(*runs, TEXTS["word"]).fields
    return fields["a"]["predictions"], fields["b"]["predictions"]


def test_labels_of_both_texts_stand_beside_each_other(
    page: Page, client: atlas.Client, tuned: str
) -> None:
    opened(page, "/compare", model=tuned, **TEXTS)
    a, b = compared(client, tuned, tuned)
    inside = {row["label"]: row["probability"] for row in b["labels"]}
    rows = page.locator("#predicted-labels tbody tr")
    expect(rows).to_have_count(2)
    for i, row in enumerate(a["labels"]):
        p, q = row["probability"], inside[row["label"]]
        expect(rows.nth(i).locator("th")).to_have_text(row["label"])
        expect(rows.nth(i).locator("td")).to_have_text([f"{x:.3f}" for x in (p, q, p - q)])


def test_a_model_without_labels_has_no_such_table(page: Page) -> None:
    opened(page, "/compare")
    expect(page.locator("#predicted")).to_be_hidden()


def test_labels_of_tokens_are_those_of_the_compared_word(
    page: Page, client: atlas.Client, tmp_path: Path
) -> None:
    saved.bert(tmp_path, hf.BertForTokenClassification, **NAMES)
    name = client.open_model(str(tmp_path))["name"]
    opened(page, "/compare", model=name, **TEXTS)
    a, b = compared(client, name, name)
    [of_a, of_b] = [
        next(row["labels"] for row in run["token_labels"] if row["position"] == 3) for run in (a, b)
    ]
    inside = {row["label"]: row["probability"] for row in of_b}
    rows = page.locator("#predicted-labels tbody tr")
    wanted = [of_a[0]["probability"], inside[of_a[0]["label"]]]
    expect(rows.first.locator("td")).to_have_text(
        [f"{x:.3f}" for x in (*wanted, wanted[0] - wanted[1])]
    )
    expect(page.locator("#predicted-labels caption")).to_contain_text("bank")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks for it
def test_an_adapter_is_compared_with_its_base(
    page: Page, client: atlas.Client, tmp_path: Path
) -> None:
    base = saved.bert(tmp_path / "base", hf.BertForSequenceClassification, **NAMES)
    model = hf.AutoModelForSequenceClassification.from_pretrained(base)
    settings: Any = {"task_type": "SEQ_CLS", "target_modules": ["query"]}
    peft.get_peft_model(model, peft.LoraConfig(r=2, **settings)).save_pretrained(
        tmp_path / "adapter"
    )
    name = client.open_model(str(tmp_path / "adapter"))["name"]
    opened(page, "/compare", model=name, **TEXTS)
    page.get_by_role("link", name=f"Compare {name} with").click()
    expect(page.locator("#predicted-labels tbody tr")).to_have_count(2)
    expect(page.locator("select[name=model_b]")).to_have_value(name)
    expect(page.locator("#with-base a")).to_have_count(0)


@pytest.mark.parametrize("setting", [LIGHT, DARK, PHONE, CHINESE], ids=NAMED)
def test_axe_finds_no_violation(page: Page, tuned: str, setting: Any) -> None:
    opened(page, "/compare", model=tuned, **TEXTS)
    heading = "A 中的概率" if setting is CHINESE else "probability in A"
    expect(page.locator("#predicted-labels thead")).to_contain_text(heading)
    assert violations(page) == []
