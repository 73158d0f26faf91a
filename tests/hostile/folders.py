"""Every folder and file of this kind, by name."""

from __future__ import annotations

from tests.hostile.configs import CONFIGS, ODD_CONFIGS
from tests.hostile.headers import SAFETENSORS
from tests.hostile.packed import GGUF
from tests.hostile.tokenizers import ODD_TOKENIZERS, TOKENIZERS

KINDS = {"config": CONFIGS, "safetensors": SAFETENSORS, "gguf": GGUF, "tokenizer": TOKENIZERS}
HOSTILE = {f"{kind}: {name}": make for kind, makes in KINDS.items() for name, make in makes.items()}
ODD = {
    **{f"config: {name}": make for name, make in ODD_CONFIGS.items()},
    **{f"tokenizer: {name}": make for name, make in ODD_TOKENIZERS.items()},
}
