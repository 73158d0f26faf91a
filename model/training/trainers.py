"""The training task of each bundled model, by its name."""

from __future__ import annotations

from attention_atlas.model.training.bert_task import BertTask
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.translator_task import RecurrentTask, TranslatorTask

TRAINERS = {task.name: task for task in (TranslatorTask, RecurrentTask, BertTask, GPTTask)}
