from __future__ import annotations

import numpy as np
import pytest
import torch

from unremarkable.errors import UsageError
from unremarkable.explain.features import difference_figure, embed_pairs, embedding_figure, patch_pairs
from unremarkable.explain.style import svg
from unremarkable.methods.registry import make_options, method_class


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    encoder = rng.normal(size=(40, 12))
    decoder = encoder + 0.01 * rng.normal(size=encoder.shape)
    decoder[:4] += 8
    return encoder, decoder


@pytest.fixture(scope="module")
def embedding(pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return embed_pairs(*pairs)


def test_pairs_that_agree_lie_together_and_others_apart(embedding: np.ndarray) -> None:
    assert embedding.shape == (2, 40, 2)
    distance = np.linalg.norm(embedding[0] - embedding[1], axis=1)
    assert distance[:4].min() > 3 * np.median(distance[4:])


def test_what_cannot_be_embedded_says_why(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    encoder, decoder = pairs
    for a, b in ((encoder, decoder[:5]), (encoder[:2], decoder[:2]), (encoder[0], decoder[0])):
        with pytest.raises(UsageError, match="at least 3 patches"):
            embed_pairs(a, b)
    with pytest.raises(UsageError, match="finite"):
        embed_pairs(np.full_like(encoder, np.nan), decoder)


def test_constant_features_are_embedded_too() -> None:
    assert np.isfinite(embed_pairs(np.ones((4, 3)), np.ones((4, 3)))).all()


def test_figures_show_every_patch(embedding: np.ndarray) -> None:
    distances = np.arange(40.0)
    axes = embedding_figure(embedding, distances).axes[0]
    drawn = {line.get_label(): line for line in axes.get_lines()}
    assert np.array_equal(drawn["encoder"].get_xydata(), embedding[0])
    assert np.array_equal(drawn["decoder"].get_xydata(), embedding[1])
    assert "most anomalous tenth" in drawn
    assert "most anomalous tenth" not in {str(x.get_label()) for x in embedding_figure(embedding).axes[0].get_lines()}
    # Of constant values none stands out.
    assert len(embedding_figure(embedding, np.ones(40)).axes[0].get_lines()) == 42
    figure = difference_figure(embedding, distances)
    points = figure.axes[0].collections[0].get_offsets()
    assert np.allclose(points, embedding[0] - embedding[1])
    svg(figure, "difference")


def test_a_method_that_compares_encoder_and_decoder_offers_its_features_and_others_none() -> None:
    image = np.random.default_rng(0).random((1, 64, 64)).astype(np.float32)
    for name, expected in (("hetero-ae", True), ("autoencoder", False), ("knn", False)):
        cls = method_class(name)
        torch.manual_seed(0)
        method = cls(make_options(cls, {}), (64, 64), 1).eval()
        found = patch_pairs(method, image)
        assert (found is not None) == expected
        if found is not None:
            encoder, decoder, grid = found
            assert encoder.shape == decoder.shape
            assert len(encoder) == grid[0] * grid[1] == 16
            features = method.features(torch.from_numpy(image[None]))[0]  # type: ignore[attr-defined]
            coarse = features[-1][0].flatten(1).T.detach().numpy()
            assert np.allclose(encoder[:, -coarse.shape[1] :], coarse, atol=1e-5)
