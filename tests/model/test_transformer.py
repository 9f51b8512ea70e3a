"""The transformer is torch's own, and nobody sees what they must not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recexp.errors import RecexpError
from recexp.model.dropout import Dropout
from recexp.model.transformer import Layer, Transformer, View

WIDTH, HEADS, HIDDEN = 16, 4, 24


def transformer(norm: str = "after", view: str = "all", activation: str = "gelu", dropout: float = 0.0) -> Transformer:
    torch.manual_seed(0)
    return Transformer(WIDTH, 3, HEADS, HIDDEN, activation, norm, view, dropout).eval()


def reference(ours: Transformer, norm: str, activation: str) -> nn.TransformerEncoder:
    """Torch's encoder with the same weights."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, HIDDEN, 0.0, activation, batch_first=True, norm_first=norm == "before"
    )
    final = nn.LayerNorm(WIDTH) if norm == "before" else None
    theirs = nn.TransformerEncoder(layer, len(ours.layers), norm=final, enable_nested_tensor=False).eval()
    for own, other in zip(ours.layers, theirs.layers, strict=True):
        _copy(own, other)
    return theirs


def _copy(own: Layer, other: nn.TransformerEncoderLayer) -> None:
    attention = other.self_attn
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([own.query.weight, own.key_value.weight]))
        attention.in_proj_bias.copy_(torch.cat([own.query.bias, own.key_value.bias]).normal_())
        own.query.bias.copy_(attention.in_proj_bias[:WIDTH])
        own.key_value.bias.copy_(attention.in_proj_bias[WIDTH:])
    pairs = {
        attention.out_proj: own.output,
        other.linear1: own.inner,
        other.linear2: own.outer,
        other.norm1: own.attention_norm,
        other.norm2: own.feed_norm,
    }
    for theirs, ours in pairs.items():
        theirs.load_state_dict(ours.state_dict())


def histories() -> tuple[Tensor, Tensor]:
    return torch.randn(5, 9, WIDTH, generator=torch.Generator().manual_seed(1)), torch.tensor([9, 1, 4, 8, 2])


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("view", ["all", "earlier"])
@pytest.mark.parametrize("norm", ["after", "before"])
def test_equals_the_encoder_of_torch(norm: str, view: str, activation: str) -> None:
    ours = transformer(norm, view, activation)
    x_NLD, length_N = histories()
    padding_NL = torch.arange(9) >= length_N[:, None]
    later_LL = nn.Transformer.generate_square_subsequent_mask(9).isinf() if view == "earlier" else None
    expected = reference(ours, norm, activation)(x_NLD, mask=later_LL, src_key_padding_mask=padding_NL)
    torch.testing.assert_close(ours(x_NLD, length_N)[~padding_NL], expected[~padding_NL], atol=1e-5, rtol=0)


@pytest.mark.parametrize("view", ["all", "earlier"])
@pytest.mark.parametrize("norm", ["after", "before"])
def test_some_places_get_what_they_get_among_all(norm: str, view: str) -> None:
    ours = transformer(norm, view)
    x_NLD, length_N = histories()
    places_NM = torch.stack([length_N - 1, (length_N - 1) // 2], dim=1)
    some, every = ours(x_NLD, length_N, places_NM), ours(x_NLD, length_N)
    torch.testing.assert_close(some, every.gather(1, places_NM[..., None].expand(-1, -1, WIDTH)))


@pytest.mark.parametrize("view", ["all", "earlier"])
def test_padding_changes_nothing(view: str) -> None:
    ours = transformer(view=view)
    x_NLD, length_N = histories()
    filled_NL = torch.arange(9) < length_N[:, None]
    other = torch.where(filled_NL[..., None], x_NLD, 77.0)
    assert torch.equal(ours(x_NLD, length_N)[filled_NL], ours(other, length_N)[filled_NL])


def test_only_the_earlier_is_seen() -> None:
    x_NLD, length_N = histories()
    later = x_NLD.clone()
    later[:, 5:] += 1.0
    causal, free = transformer(view="earlier"), transformer(view="all")
    torch.testing.assert_close(causal(x_NLD, length_N)[:, :5], causal(later, length_N)[:, :5], rtol=0, atol=0)
    assert not torch.equal(causal(x_NLD, length_N)[0, 5:], causal(later, length_N)[0, 5:])
    assert not torch.equal(free(x_NLD, length_N)[0, :5], free(later, length_N)[0, :5])


@pytest.mark.parametrize("view", ["all", "earlier"])
def test_attention_weights_sum_to_one(view: str) -> None:
    """Values that are all 1 come out as 1 where, and only where, the weights of a row sum to one."""
    layer = transformer(view=view).layers[0]
    x_NLD, length_N = histories()
    with torch.no_grad():
        layer.key_value.weight[WIDTH:] = 0.0
        layer.key_value.bias[WIDTH:] = 1.0
        layer.output.weight.copy_(torch.eye(WIDTH))
        layer.output.bias.zero_()
    for places in (None, (length_N - 1)[:, None]):
        seen = View.of(view, length_N, 9)
        query = x_NLD if places is None else x_NLD[:, :1]
        mixed = layer.attend(query, x_NLD, seen if places is None else seen.at(places, 9))
        torch.testing.assert_close(mixed, torch.ones_like(mixed))


@pytest.mark.parametrize("view", ["all", "earlier"])
def test_16_bits_give_nearly_the_same(view: str) -> None:
    ours = transformer(view=view)
    x_NLD, length_N = histories()
    filled_NL = torch.arange(9) < length_N[:, None]
    exact = ours(x_NLD, length_N)[filled_NL]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = ours(x_NLD, length_N)[filled_NL]
    torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0)
    assert not torch.equal(rough.float(), exact)


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    dropout = Dropout(0.2).train()
    torch.manual_seed(0)
    y = dropout(torch.ones(200, 501))
    assert (y == 0).double().mean().item() == pytest.approx(0.2, abs=0.005)
    assert y.mean().item() == pytest.approx(1.0, abs=0.01)
    assert len(y.unique()) == 2
    shares = (y.view(-1)[: 8 * 12_000].view(-1, 8) == 0).double().mean(0)
    assert shares.sub(51 / 256).abs().max() < 0.015, "every byte of a word is as random as the others"
    assert not torch.equal(dropout(torch.ones(200, 501)), y)
    torch.manual_seed(0)
    assert torch.equal(dropout(torch.ones(200, 501)), y)
    assert torch.equal(dropout.eval()(torch.ones(3)), torch.ones(3))


def test_dropout_of_whole_rows() -> None:
    y = Dropout(0.5).train().whole_rows(torch.ones(500, 7))
    assert torch.equal(y, y[:, :1].expand(-1, 7))
    assert sorted(y.unique().tolist()) == [0.0, 2.0]


def test_dropout_changes_training_alone() -> None:
    ours = transformer(dropout=0.3)
    x_NLD, length_N = histories()
    assert torch.equal(ours(x_NLD, length_N), ours(x_NLD, length_N))
    ours.train()
    assert not torch.equal(ours(x_NLD, length_N), ours(x_NLD, length_N))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((WIDTH, 1, 3, HIDDEN, "gelu", "after", "all", 0.0), "num_heads=3"),
        ((WIDTH, 1, 4, HIDDEN, "gelo", "after", "all", 0.0), "gelu"),
        ((WIDTH, 1, 4, HIDDEN, "gelu", "afer", "all", 0.0), "after"),
        ((WIDTH, 1, 4, HIDDEN, "gelu", "after", "al", 0.0), "all"),
    ],
)
def test_impossible_options_are_refused(options: tuple[object, ...], message: str) -> None:
    with pytest.raises(RecexpError, match=message):
        Transformer(*options)  # type: ignore[arg-type]
