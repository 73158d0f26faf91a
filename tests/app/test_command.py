"""python -m attention_atlas.app with settings it cannot take."""

from __future__ import annotations

import sys

import pytest
from attention_atlas.app.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "tpu"], "device 'tpu' is not available; this machine has"),
        (["--device", "cpu:x"], "device 'cpu:x' cannot be used"),
        (["--port", "99999"], "less than or equal to 65535"),
        (["--models", "berd"], "no model named 'berd'; there are bert, gpt, translator, recurrent"),
    ],
)
def test_a_setting_that_cannot_be_taken_is_one_clear_error(monkeypatch, capsys, arguments, says):
    monkeypatch.setattr(sys, "argv", ["attention-atlas", *arguments])
    assert main() == 2
    assert says in capsys.readouterr().err
