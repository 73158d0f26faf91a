"""/arithmetic/…: the claims of the lecture notes, measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from attention_atlas.model.analysis import feed_forward

TEXT = "Bob cashed a check at the bank"


def test_the_variance_of_dot_products_is_their_width(get):
    for width in get("/arithmetic/scaling", d_k=512, n_key=64)["widths"]:
        assert width["variance"] == pytest.approx(width["d_k"], rel=0.1)


def test_the_scale_keeps_the_softmax_soft(get):
    answer = get("/arithmetic/scaling", d_k=1024)
    first, last = answer["widths"][0], answer["widths"][-1]
    assert [width["d_k"] for width in answer["widths"]] == [2**i for i in range(11)]
    assert first["entropy"]["plain"] == pytest.approx(first["entropy"]["scaled"])
    assert last["entropy"]["scaled"] == pytest.approx(first["entropy"]["scaled"], abs=0.15)
    assert last["entropy"]["plain"] < 0.2
    assert last["gradient"]["plain"] < last["gradient"]["scaled"] / 3
    assert last["entropy"]["scaled"] < math.log(answer["n_key"])


@pytest.mark.parametrize(("model", "layer"), [("bert", 0), ("gpt", 5), ("translator", 3)])
def test_the_heads_parts_are_the_whole(get, model, layer):
    answer = get("/arithmetic/heads", model=model, text=TEXT, layer=layer)
    n_head = 12 if model == "bert" else 8
    assert np.shape(answer["norms"]) == (n_head, len(answer["tokens"]))
    assert answer["error"] < 1e-4
    assert len(answer["output"]) == len(answer["tokens"])


def test_heads_can_be_fewer_or_more_at_the_same_d_model(get):
    request = {"model": "gpt", "text": TEXT, "layer": 2}
    answer = get("/arithmetic/heads", **request)["regrouped"]
    assert [(cut["n_head"], cut["n_head"] * cut["d"]) for cut in answer] == [
        (n, 256) for n in (1, 2, 4, 8, 16, 32)
    ]
    attn = np.array(get("/attention", **request)["attn"])[0]
    entropy = -(attn * np.log(np.where(attn > 0, attn, 1))).sum(-1).mean()
    expected = next(cut for cut in answer if cut["n_head"] == 8)
    assert expected["entropy"] == pytest.approx(entropy, abs=1e-5)
    assert answer[0]["apart"] == pytest.approx(0, abs=1e-6), "one head does not differ from itself"
    assert expected["apart"] > 0.01


@pytest.mark.parametrize("model", ["bert", "gpt", "translator"])
def test_the_residual_stream_is_the_hidden_states(get, model):
    answer = get("/arithmetic/blocks", model=model, text=TEXT)["layers"]
    hidden = np.array(get("/hidden-states", model=model, text=TEXT)["hidden"])
    lengths = np.linalg.norm(hidden, axis=-1).mean(-1)
    np.testing.assert_allclose([b["residual"] for b in answer], lengths[:-1], rtol=1e-4)


def test_layer_norm_is_over_dimensions_and_batch_norm_over_tokens(get):
    for block in get("/arithmetic/blocks", model="bert", text=TEXT)["layers"]:
        assert block["token_std"][1] == pytest.approx(1, abs=1e-2)
        assert block["dimension_std"][1] == pytest.approx(1, abs=1e-2)
        assert block["token_std"][0] != pytest.approx(block["dimension_std"][0], abs=1e-3)


def test_residuals_and_norms_keep_the_gradient_alive(get):
    stacks = get("/arithmetic/gradients", depth=48)["stacks"]
    assert all(len(lengths) == 49 and lengths[-1] == 1 for lengths in stacks.values())
    assert stacks["plain"][0] < 1e-9
    assert 0.1 < stacks["residual_norm"][0] < 100
    assert get("/arithmetic/gradients", depth=48)["stacks"] == stacks, "the seed says all"


def test_no_gradient_is_lost_to_the_precision(get):
    for lengths in get("/arithmetic/gradients", depth=64)["stacks"].values():
        assert min(lengths) > 0
        assert lengths[-1] == 1


def test_layer_norm_is_pytorchs_on_the_same_activations(get):
    """GPT norms what comes into a layer: its hidden states are the activations."""
    layers = get("/arithmetic/blocks", model="gpt", text=TEXT)["layers"]
    hidden = torch.tensor(get("/hidden-states", model="gpt", text=TEXT)["hidden"])
    for layer, x in zip(layers, hidden, strict=False):
        normed = torch.nn.functional.layer_norm(x, x.shape[-1:])
        spreads = [y.std(-1, unbiased=False).mean().item() for y in (x, normed)]
        assert layer["token_std"] == pytest.approx(spreads, rel=1e-5)
        by_hand = (x - x.mean(-1, keepdim=True)) / (x.var(-1, False, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(by_hand, normed, atol=1e-5, rtol=0)


def test_the_cost_is_measured(get):
    answer = get("/arithmetic/cost", n_max=256, n_loop=32)
    assert [size["n"] for size in answer["sizes"]] == [64, 128, 256]
    assert [size["n_number"] for size in answer["sizes"]] == [8 * n * n for n in (64, 128, 256)]
    assert all(size["seconds"] > 0 and size["fused_seconds"] > 0 for size in answer["sizes"])
    assert answer["loop"]["error"] < 1e-4
    assert answer["loop"]["loop"] > answer["loop"]["product"]


def test_memory_grows_as_the_square_of_the_tokens_but_for_a_fused_kernel(get):
    answer = get("/arithmetic/cost", n_max=512, n_loop=1)
    *_, half, whole = answer["sizes"]
    assert whole["bytes"] > 4 * whole["n_number"], "at least the weights, in float32"
    assert whole["bytes"] / half["bytes"] == pytest.approx(4, rel=0.1)
    assert answer["exponents"]["bytes"] == pytest.approx(2, abs=0.1)
    assert whole["fused_bytes"] / half["fused_bytes"] < 3
    assert whole["fused_bytes"] < whole["bytes"] / 4


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        ("scaling", {"d_k": 1_000_000}, "must be 1 to 4096"),
        ("scaling", {"d_k": 0}, "must be 1 to 4096"),
        ("gradients", {"depth": 1000}, "at most 64"),
        ("cost", {"n_max": 100_000}, "at most 1024"),
        ("heads", {"model": "bert", "text": "hi", "layer": 6}, "bert has layers 0 to 5"),
        ("heads", {"model": "recurrent", "text": "hola"}, "no layers of self-attention"),
        ("blocks", {"model": "bert", "text": ""}, "the text is empty"),
    ],
)
def test_what_cannot_be_is_said_with_its_limit(client, path, asked, said):
    answer = client.get(f"/api/v1/arithmetic/{path}", params=asked)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("model", "name"), [("bert", "gelu"), ("gpt", "gelu"), ("translator", "relu")]
)
def test_activations_are_those_that_the_layer_computes(get, app, model, name):
    """The network's own output, from what entered its activation, is the layer's update."""
    with app.state.service.lent(model) as loaded:
        read = feed_forward.activations(loaded, TEXT, 1)
        network = loaded.model.self_attention_layers()[1].feed_forward
        with torch.inference_mode():
            update = network.W_out(read.after).norm(dim=-1).mean().item()
    block = get("/arithmetic/blocks", model=model, text=TEXT)["layers"][1]
    assert update == pytest.approx(block["feed_forward"], rel=1e-4)
    answer = get("/arithmetic/activations", model=model, text=TEXT, layer=1)
    assert answer["activation"] == name
    assert sum(answer["counts"]) == len(answer["tokens"]) * answer["d_ff"]
    assert answer["negative"] == pytest.approx((read.before < 0).float().mean().item(), abs=1e-6)
    assert len(answer["edges"]) == len(answer["counts"]) + 1
