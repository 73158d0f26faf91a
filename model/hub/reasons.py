"""Why a model cannot be opened: a word for programs, a sentence for people.

Each sentence is ours. What a library raised is written to the log and not shown.
"""

from __future__ import annotations

import errno
import logging
import re
from pathlib import Path
from typing import Literal

import torch

log = logging.getLogger(__name__)

Reason = Literal[
    "not-found",
    "offline",
    "no-safetensors",
    "no-tokenizer",
    "missing-package",
    "damaged",
    "remote-code",
    "too-large",
    "no-memory",
    "no-space",
    "too-slow",
    "not-text",
    "unsupported",
    "failed",
]
# What `pip install` calls a module of another name.
PIP = {"google": "protobuf", "MeCab": "mecab-python3", "fugashi": "fugashi[unidic-lite]"}
EXTRA = {"transformers", "huggingface_hub", "accelerate", "gguf", "sentencepiece", "protobuf"}
LIBRARY = re.compile(r"requires the (\w+) library", re.IGNORECASE)
INSTALL = re.compile(r"pip install (?:-U |--upgrade )?[`'\"]?([A-Za-z][\w.\[\]-]*)")
FULL = ("not enough memory", "can't allocate memory", "out of memory")


class BadModel(Exception):
    """A model that cannot be opened, and why: a sentence and the values in it."""

    def __init__(self, reason: Reason, template: str, **values: object) -> None:
        self.reason = reason
        self.template = template
        self.values = values
        self.message = template.format(**values)
        super().__init__(self.message)


def unexpected(error: Exception, reason: Reason, template: str, **values: object) -> BadModel:
    """What to say of an error that a library raised; the log has the error itself."""
    if isinstance(error, BadModel):
        return error
    log.warning("%s", template.format(**values), exc_info=error)
    if package := missing_package(error):
        return needs(package)
    if is_full(error):
        return BadModel("no-space", "the disk is full: nothing can be kept of this model")
    if is_read_only(error):
        return BadModel(
            "no-space",
            "{folder} cannot be written to: what was converted or fetched is kept there",
            folder=Path(str(error.filename)).name if isinstance(error, OSError) else "the cache",
        )
    if is_out_of_memory(error):
        return BadModel("no-memory", "the memory ran out while the model was loaded")
    return BadModel(reason, template, **values)


def needs(*packages: str) -> BadModel:
    """Packages that are not installed, and the command that installs them."""
    is_extra = EXTRA.issuperset(packages)
    command = "pip install 'attention-atlas[hub]'" if is_extra else f"pip install {packages[0]}"
    return BadModel(
        "missing-package",
        "this model needs the Python package {packages}, which is not installed: {command}",
        packages=", ".join(packages),
        command=command,
    )


def missing_package(error: Exception) -> str | None:
    """The package that is missing, as pip calls it, if that is what the error is about."""
    if not isinstance(error, ImportError):
        return None
    text = str(error)
    if match := INSTALL.search(text) or LIBRARY.search(text):
        return match[1].lower()
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    module = error.name.split(".")[0]
    return PIP.get(module, module)


def is_full(error: Exception) -> bool:
    """Whether a disk has no space left, for the user or at all."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_read_only(error: Exception) -> bool:
    """Whether a file system cannot be written to."""
    return isinstance(error, OSError) and error.errno == errno.EROFS


def is_out_of_memory(error: Exception) -> bool:
    """Whether there was too little memory, of the machine or of the GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in FULL)
