"""Names of a tokenizer's languages."""

from __future__ import annotations

import pytest
from attention_atlas.app.language_names import language_names


@pytest.mark.parametrize(
    ("code", "english", "chinese"),
    [
        ("fra_Latn", "French", "法语"),
        ("fr_XX", "French", "法语"),
        ("fr", "French", "法语"),
        ("fra", "French", "法语"),
        ("zh_CN", "Chinese", "中文"),
        ("kea_Latn", "Kabuverdianu", "卡布佛得鲁语"),
        ("python", "python", "python"),
    ],
)
def test_a_code_has_a_name(code: str, english: str, chinese: str) -> None:
    assert language_names([code]) == {code: {"en": english, "zh": chinese}}


def test_codes_of_one_language_are_told_apart() -> None:
    names = language_names(["zho_Hant", "zho_Hans", "aka_Latn", "twi_Latn", "pt_BR", "pt_PT"])
    assert {code: name["en"] for code, name in names.items()} == {
        "aka_Latn": "Akan (aka_Latn)",
        "twi_Latn": "Akan (twi_Latn)",
        "zho_Hans": "Chinese (Simplified)",
        "zho_Hant": "Chinese (Traditional)",
        "pt_BR": "Portuguese (Brazil)",
        "pt_PT": "Portuguese (Portugal)",
    }
    assert names["zho_Hans"]["zh"] == "中文（简体）"
