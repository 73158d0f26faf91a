"""Weights come back as they were, or not at all."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest
import torch
from attention_atlas.model import checkpoint
from attention_atlas.model.checkpoint import BadWeights, from_hugging_face, to_hugging_face
from attention_atlas.model.transformer import GPT, EncoderDecoder
from safetensors.torch import load_file, save_file
from torch import Tensor


@pytest.fixture
def path(gpt: GPT, tmp_path: Path) -> Path:
    checkpoint.save(gpt, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def changed(path: Path, *, drop: str = "", **extra: Tensor) -> Path:
    """The same file with a tensor less, more, or of another shape."""
    tensors = load_file(path) | extra
    tensors.pop(drop, None)
    save_file(tensors, path)
    return path


def test_weights_come_back_as_float16_kept_them(gpt: GPT, path: Path) -> None:
    expected = {name: tensor.half().float() for name, tensor in gpt.state_dict().items()}
    copy = GPT(gpt.config)
    checkpoint.load(copy, path)
    torch.testing.assert_close(copy.state_dict(), expected, atol=0, rtol=0)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    assert {parameter.dtype for parameter in copy.parameters()} == {torch.float32}


def test_rounded_weights_are_near(gpt: GPT, path: Path) -> None:
    full = load_file(path)
    checkpoint.save(gpt, path, coarse=True)
    for name, tensor in load_file(path).items():
        if tensor.ndim != 2:
            torch.testing.assert_close(tensor, full[name], atol=0, rtol=0)
            continue
        gap = (tensor.float() - gpt.state_dict()[name]).abs().max()
        assert gap <= gpt.state_dict()[name].std() / 24 + 1e-6


@pytest.mark.parametrize("matrix", [torch.zeros(3, 5), torch.full((3, 5), 0.3)])
def test_a_matrix_without_deviation_is_not_rounded(matrix: Tensor) -> None:
    torch.testing.assert_close(checkpoint.rounded(matrix), matrix, atol=0, rtol=0)


def test_rounded_weights_are_exact_in_float16_and_compress_to_less() -> None:
    full = torch.randn(300, 400, generator=torch.manual_seed(3)) * 0.03
    matrix = checkpoint.rounded(full)
    torch.testing.assert_close(matrix.half().float(), matrix, atol=0, rtol=0)
    before, packed = (len(zlib.compress(t.half().numpy().tobytes())) for t in (full, matrix))
    assert packed < 0.65 * before


def test_saving_gives_the_files_sha256(gpt: GPT, path: Path) -> None:
    assert checkpoint.save(gpt, path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_positions_that_are_computed_are_not_saved(
    encoder_decoder: EncoderDecoder, tmp_path: Path
) -> None:
    checkpoint.save(encoder_decoder, tmp_path / "model.safetensors")
    assert "position" not in load_file(tmp_path / "model.safetensors")
    checkpoint.load(EncoderDecoder(encoder_decoder.config), tmp_path / "model.safetensors")


def test_a_missing_tensor_is_named(gpt: GPT, path: Path) -> None:
    with pytest.raises(BadWeights, match=r"does not fit: norm\.bias \(1 tensors\)"):
        checkpoint.load(gpt, changed(path, drop="norm.bias"))


def test_an_extra_tensor_is_named(gpt: GPT, path: Path) -> None:
    with pytest.raises(BadWeights, match=r"does not fit: stranger \(1 tensors\)"):
        checkpoint.load(gpt, changed(path, stranger=torch.zeros(3)))


def test_a_misshapen_tensor_is_named(gpt: GPT, path: Path) -> None:
    with pytest.raises(BadWeights, match=r"does not fit: norm\.bias \(1 tensors\)"):
        checkpoint.load(gpt, changed(path, **{"norm.bias": torch.zeros(9)}))


@pytest.mark.parametrize("n_byte", [0, 4, 100, 5000])
def test_a_truncated_file_is_named(gpt: GPT, path: Path, n_byte: int) -> None:
    path.write_bytes(path.read_bytes()[:n_byte])
    with pytest.raises(BadWeights, match=r"model\.safetensors is damaged"):
        checkpoint.load(gpt, path)


def test_a_missing_file_is_named(gpt: GPT, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=rf"none\.safetensors is not in {tmp_path}"):
        checkpoint.load(gpt, tmp_path / "none.safetensors")


def test_weights_that_do_not_fit_change_nothing(gpt: GPT, path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in gpt.state_dict().items()}
    with pytest.raises(BadWeights):
        checkpoint.load(gpt, changed(path, drop="norm.bias"))
    with pytest.raises(BadWeights):
        from_hugging_face(gpt, {})
    torch.testing.assert_close(gpt.state_dict(), before, atol=0, rtol=0)


WRONG = {
    "transformer.ln_f.bias": torch.zeros(9),
    "transformer.h.0.attn.c_attn.weight": torch.zeros(24, 8),
    "transformer.h.2.ln_1.weight": torch.zeros(8),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_foreign_tensor_that_does_not_fit_is_named(gpt: GPT, name: str) -> None:
    with pytest.raises(BadWeights, match=rf"the state dict does not fit: {name} \(1 tensors\)"):
        from_hugging_face(gpt, to_hugging_face(gpt) | {name: WRONG[name]})


def test_a_missing_foreign_tensor_is_named(gpt: GPT) -> None:
    state = to_hugging_face(gpt)
    del state["transformer.h.1.mlp.c_fc.bias"]
    with pytest.raises(BadWeights, match=r"transformer\.h\.1\.mlp\.c_fc\.bias \(1 tensors\)"):
        from_hugging_face(gpt, state)


def test_a_tied_tensor_may_be_left_out(gpt: GPT) -> None:
    state = to_hugging_face(gpt)
    del state["lm_head.weight"]
    copy = GPT(gpt.config)
    from_hugging_face(copy, state)
    torch.testing.assert_close(copy.state_dict(), gpt.state_dict(), atol=0, rtol=0)


def test_a_head_that_is_not_tied_is_refused(gpt: GPT) -> None:
    state = to_hugging_face(gpt) | {"lm_head.weight": torch.ones(50, 8)}
    with pytest.raises(BadWeights, match=r"lm_head\.weight must be as ours"):
        from_hugging_face(gpt, state)


@pytest.mark.parametrize("name", ["model.encoder.embed_positions.weight", "final_logits_bias"])
def test_what_ours_cannot_learn_is_refused(encoder_decoder: EncoderDecoder, name: str) -> None:
    state = to_hugging_face(encoder_decoder)
    state[name] = state[name] + 1
    with pytest.raises(BadWeights, match=rf"{name}.* must be as ours"):
        from_hugging_face(encoder_decoder, state)
