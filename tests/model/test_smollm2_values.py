"""Known effects of SmolLM2's heads and MLPs, of attention and of layers, on one pair of texts.

"When John and Mary went to the shops, John gave the bag to" predicts " Mary" rather than " John";
in the corrupted text the second " John" is " Mary". The values are those of an implementation by
hooks in float32, most of them checked with TransformerLens 4.3: they are met to the printed digits.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf
from attention_atlas.model.analysis import lab, paths
from attention_atlas.model.analysis.attributions import attribution, row_of
from attention_atlas.model.analysis.logit_lens import logit_lens
from attention_atlas.model.analysis.paths import Node, Pair
from attention_atlas.model.analysis.writes import Writes, head_writes, writes
from attention_atlas.model.hub import in_memory
from attention_atlas.model.hub.library import packaged
from attention_atlas.model.metrics import first_token, previous_token
from attention_atlas.model.protocol import Batch
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import ATTN, Edit, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor

NAME = "SmolLM2-135M-Instruct"
JOHN = "When John and Mary went to the shops, John gave the bag to"
MARY = JOHN.replace(", John", ", Mary")
JOHN_1, MARY_1, JOHN_2, TO = 1, 3, 9, 13  # positions
pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(NAME not in packaged(), reason="make pretrained installs the models"),
]
Effects = dict[tuple[int, int], float]  # of a layer's head


@pytest.fixture(scope="module")
def smollm2() -> Loaded:
    """In float32, as the values are; a file that was unpacked to disk is in float16."""
    path = Path(packaged()[NAME])
    file = {"gguf_file": path.name}
    model = hf.AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **file)
    return in_memory.loaded(model, hf.AutoTokenizer.from_pretrained(path.parent, **file), NAME)


@pytest.fixture(scope="module")
def pair(smollm2: Loaded) -> Pair:
    clean, corrupted = (lab.text_of(smollm2, Spec(text)) for text in (JOHN, MARY))
    return Pair(clean, corrupted, lab.metric_of(clean))


@pytest.fixture(scope="module")
def parts(pair: Pair) -> Writes:
    return writes(pair.clean, difference(pair))


def difference(pair: Pair) -> lab.LogitDifference:
    assert isinstance(pair.metric, lab.LogitDifference)
    return pair.metric


def ends(pair: Pair) -> tuple[float, float]:
    """The metric of the clean and of the corrupted text."""
    first, second = (lab.value_of(text, pair.metric) for text in (pair.clean, pair.corrupted))
    return first, second


def test_mary_is_predicted_rather_than_john(smollm2: Loaded, pair: Pair) -> None:
    assert difference(pair) == lab.LogitDifference(TO, 5099, 2322)
    assert ends(pair) == pytest.approx((3.12139, -4.1569), abs=1e-4)
    best = run(smollm2, Spec(JOHN)).predictions["next_token"][:5]
    assert [guess["text"] for guess in best] == [" Mary", " John", " the", " his", " Sarah"]
    assert [guess["probability"] for guess in best] == pytest.approx(
        [0.8419, 0.0371, 0.0271, 0.0118, 0.0089], abs=1e-4
    )


ZERO = {
    (1, 3): -2.412, (17, 0): -1.3953, (18, 0): -1.2798, (20, 0): -1.6479, (23, 3): -2.3209,
    (29, 0): 1.1456, (29, 1): -1.1688,
}  # fmt: skip
MEAN_POSITIONS = {
    (1, 3): -0.0917, (17, 0): -0.6118, (20, 0): -1.22, (23, 3): -1.62, (29, 0): 1.0649,
    (29, 1): -1.0572,
}  # fmt: skip
RESAMPLE = {
    (1, 3): -0.0025, (17, 0): -0.002, (20, 0): -1.6081, (23, 3): -4.9544, (29, 0): 1.646,
    (29, 1): -1.9262,
}  # fmt: skip


@pytest.mark.parametrize(
    ("how", "effects"),
    [("zero", ZERO), ("mean_positions", MEAN_POSITIONS), ("resample", RESAMPLE)],
)
def test_ablations_of_known_heads(pair: Pair, how: lab.How, effects: Effects) -> None:
    given = lab.replacements(how, "decoder", pair.clean, pair.corrupted)
    rows = lab.selections(pair.clean, "decoder", "heads")
    start = ends(pair)[0]
    for (layer, head), effect in effects.items():
        edit = Edit("replace", "decoder", layer, z=given[layer], where=rows[head : head + 1])
        with torch.inference_mode():
            change = lab.measured(pair.clean, pair.metric, [edit]).item() - start
        assert change == pytest.approx(effect, rel=1e-3, abs=1e-4), (layer, head)


DENOISE = {
    (17, 4): 0.0994, (20, 0): 0.2641, (23, 2): 0.0573, (23, 3): 0.74, (24, 4): -0.1535,
    (29, 0): -0.2618, (29, 1): 0.2959,
}  # fmt: skip


def test_the_whole_map_of_patched_heads(pair: Pair) -> None:
    given = lab.replacements("denoise", "decoder", pair.clean, pair.corrupted)
    values = lab.sweep(pair.corrupted, pair.metric, "decoder", given, "heads")
    clean, corrupted = ends(pair)
    effect = lab.scaled(torch.stack(list(values)), corrupted, clean)
    assert effect.shape == (30, 9)
    for place, share in DENOISE.items():
        assert effect[place].item() == pytest.approx(share, rel=1e-3, abs=1e-4), place
    assert effect.sum().item() == pytest.approx(1.0099, rel=1e-3)
    assert effect.argmax() == 23 * 9 + 3
    together = lab.together(pair.corrupted, pair.metric, "decoder", given)
    assert together == pytest.approx(clean, abs=1e-3), "with every head patched, the clean text's"


# What heads add to the query of L23 H3, in the corrupted text, as a share of the way.
INTO_QUERY = {
    (18, 0): 0.0067, (19, 2): -0.0544, (20, 0): -0.0402, (21, 5): 0.0186, (22, 1): 0.00103,
    (22, 7): 0.007,
}  # fmt: skip


def test_paths_into_the_query_of_a_known_head(pair: Pair) -> None:
    every = paths.paths_to(pair.corrupted, Node("decoder", 23, 3), "q")
    assert len(every) == 23 * 9
    clean, corrupted = ends(pair)
    shares = lab.scaled(torch.tensor(paths.exact(pair, every)), corrupted, clean)
    effects = {path.sender[1:]: share.item() for path, share in zip(every, shares, strict=True)}
    for place, share in INTO_QUERY.items():
        assert effects[place] == pytest.approx(share, abs=5e-5), place
    assert sum(effects.values()) == pytest.approx(-0.0704, abs=1e-4)


# Direct logit attribution: heads, MLPs, and their sums.
HEADS = {
    (20, 0): 0.225, (23, 0): -0.3875, (23, 1): 0.6501, (23, 2): 0.7107, (23, 3): 1.9166,
    (23, 7): 0.7436, (24, 4): -0.8664, (28, 1): -0.3961, (29, 0): -0.9368, (29, 1): 1.2286,
}  # fmt: skip
MLPS = {18: 0.4784, 26: 0.9311, 28: 1.8481, 29: 1.4727}


def test_direct_writes_of_known_heads(parts: Writes) -> None:
    heads = parts.heads["decoder"]
    for place, effect in HEADS.items():
        assert heads[place].item() == pytest.approx(effect, abs=1e-4), place
    for layer, effect in MLPS.items():
        assert parts.mlps[layer].item() == pytest.approx(effect, abs=1e-4), layer
    sums = heads.sum().item(), parts.mlps.sum().item(), parts.embedding
    assert sums == pytest.approx((0.1, 3.0611, -0.0397), abs=1e-4)
    assert heads[23].sum().item() == pytest.approx(3.6647, abs=1e-4)
    assert parts.bias == 0, "a Llama has no biases"
    assert parts.sum == pytest.approx(parts.value, abs=1e-5)


def test_a_head_looks_at_one_name_and_writes_the_other(pair: Pair, parts: Writes) -> None:
    row = head_writes(pair.clean, TO, parts, "decoder", 23, 3)
    assert row.attn[[JOHN_2, 0, MARY_1]].tolist() == pytest.approx([0.634, 0.18, 0.103], abs=5e-4)
    assert row.k_tokens[row.looks].text == " John"
    assert row.looks == row.largest == JOHN_2
    assert row.is_against(difference(pair)), "what it writes from John favours Mary"
    other = head_writes(pair.clean, TO, parts, "decoder", 20, 0).attn
    assert other[[JOHN_2, 0, MARY_1]].tolist() == pytest.approx([0.563, 0.156, 0.135], abs=5e-4)


def test_in_the_corrupted_text_it_looks_at_the_other_name(smollm2: Loaded) -> None:
    attn = run(smollm2, Spec(MARY)).records["decoder"].attn[23, 3, TO]
    assert attn[JOHN_2].item() == pytest.approx(0.625, abs=5e-4)


# The rank of " Mary" after the embedding and after each layer.
RANKS = [
    1867, 1357, 1479, 1612, 1285, 1162, 1286, 1125, 1055, 1275, 1595, 1214, 937, 885, 1008, 945,
    1002, 1149, 1094, 910, 829, 794, 856, 800, 125, 141, 158, 132, 107, 32, 0,
]  # fmt: skip


def test_ranks_of_mary_after_each_layer(pair: Pair) -> None:
    ranks = [reading.rank for reading in logit_lens(pair.clean, difference(pair))]
    assert ranks == pytest.approx(RANKS, abs=2), "near 1000 neighbours are close together"
    assert ranks[23] > 6 * ranks[24], "the jump is layer 23's"


def test_integrated_gradients_do_not_converge(pair: Pair) -> None:
    row = row_of(pair.clean, pair.metric, 23, 3, None)
    result = attribution(row, "integrated_gradients")
    assert result.complete is not None and result.complete.number > 0.5
    assert (result.values, result.reason) == (None, "property-fails")
    for method in ("attention", "flow", "norms", "gradient_attention", "value_zeroing"):
        assert attribution(row, method).values is not None, method


@pytest.fixture(scope="module")
def repeated(smollm2: Loaded) -> Tensor:
    """Attention (L, H, 100, 100) of 50 random tokens, twice."""
    torch.manual_seed(0)
    ids = torch.randint(1000, 40_000, (50,)).repeat(2)[None]
    tape = Tape(ATTN)
    with torch.inference_mode():
        smollm2.model.read(Batch(ids), tape)
    return torch.stack([step.attn[0] for step in sorted(tape, key=lambda step: step.layer)])


INDUCTION = {(17, 3): 0.714, (17, 4): 0.646, (17, 5): 0.575, (18, 6): 0.919, (18, 7): 0.534}
PREVIOUS = {(2, 1): 0.721, (11, 1): 0.835, (16, 0): 0.902}


def test_heads_that_copy_what_came_after_the_first_time(repeated: Tensor) -> None:
    """Over 49 of the 50 repeated tokens, as the values are."""
    induction = repeated[:, :, 50:99].diagonal(1, dim1=-2, dim2=-1).mean(-1)
    assert {k: induction[k].item() for k in INDUCTION} == pytest.approx(INDUCTION, abs=6e-4)
    previous = previous_token(repeated)
    assert {k: previous[k].item() for k in PREVIOUS} == pytest.approx(PREVIOUS, abs=6e-4)


def test_many_heads_look_at_the_first_token(repeated: Tensor) -> None:
    sink = first_token(repeated[:, :, 1:])  # the first token itself can look nowhere else
    assert sink.mean().item() == pytest.approx(0.456, abs=6e-4)
    assert (sink > 0.5).sum() == 114
