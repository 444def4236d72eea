"""Encoder and decoder features of one image, patch by patch, in two dimensions: Fig. 5 of the Hetero-AE paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unremarkable.errors import UsageError
from unremarkable.explain.style import ABNORMAL, INK, LINE, MUTED, NORMAL, legend, new_axes
from unremarkable.scoring.heatmap import colours

if TYPE_CHECKING:
    from unremarkable.methods.base import Method

Floats = NDArray[np.floating]

#: neighbours that t-SNE keeps close, as van der Maaten and Hinton (JMLR 9, 2008) advise: 5 to 50
_PERPLEXITY = 30.0


def patch_pairs(
    method: Method, image: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, int]] | None:
    """Encoder and decoder features of one image `(C, H, W)`: `(P, F)` each, and the grid (h, w), P = h w.

    None for methods that do not compare an encoder with a decoder.
    """
    import torch

    device = next((p.device for p in method.parameters()), torch.device("cpu"))
    with torch.no_grad():
        found = method.feature_pairs(torch.from_numpy(np.ascontiguousarray(image[None])).to(device))
    if found is None:
        return None
    encoder, decoder = (side[0].flatten(1).T.float().cpu().numpy() for side in found)
    return encoder, decoder, (found[0].shape[-2], found[0].shape[-1])


def embed_pairs(encoder: Floats, decoder: Floats, *, seed: int = 0) -> NDArray[np.float64]:
    """Both sets of features in one t-SNE embedding, `(2, P, 2)`: encoder first, then decoder.

    Args:
        encoder: `(P, C)`, one row a patch of the image.
        decoder: `(P, C)`, the same patches.
        seed: of the embedding.

    Raises:
        UsageError: other shapes, fewer than three patches, or values that are not finite.
    """
    if encoder.shape != decoder.shape or encoder.ndim != 2 or len(encoder) < 3:
        raise UsageError(f"t-SNE needs (P, C) twice, of at least 3 patches, not {encoder.shape} and {decoder.shape}")
    both = np.concatenate([encoder, decoder]).astype(np.float64)
    if not np.isfinite(both).all():
        raise UsageError("t-SNE needs finite features")
    from sklearn.manifold import TSNE

    # Features are as small as 1e-3 or as large as 1e3; t-SNE's optimiser wants neither.
    both = (both - both.mean(axis=0)) / max(float(both.std()), 1e-12)
    perplexity = min(_PERPLEXITY, (len(both) - 1) / 3)
    # Constant features leave no principal axis to start from.
    start = "pca" if min(both.shape) >= 2 and both.std() > 0 else "random"
    placed = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(both)
    return np.asarray(placed, dtype=np.float64).reshape(2, -1, 2)


def embedding_figure(embedding: Floats, distances: Floats | None = None) -> Figure:
    """Encoder and decoder features `(2, P, 2)` as `embed_pairs` gives them (Fig. 5a); a line joins each pair.

    Args:
        embedding: encoder first, then decoder.
        distances: `(P,)` anomaly values of the patches; the pairs of the highest tenth are joined by a strong line.
    """
    figure, axes = new_axes("t-SNE 1", "t-SNE 2")
    encoder, decoder = embedding
    strong = _highest(distances, len(encoder))
    for index, (a, b) in enumerate(zip(encoder, decoder, strict=True)):
        far = bool(strong[index])
        axes.plot(
            [a[0], b[0]], [a[1], b[1]], color=INK if far else LINE, linewidth=1.2 if far else 0.8, zorder=2 - (not far)
        )
    axes.plot(*encoder.T, marker="o", markersize=4.5, linestyle="none", color=NORMAL, label="encoder", zorder=3)
    axes.plot(*decoder.T, marker="^", markersize=4.5, linestyle="none", color=ABNORMAL, label="decoder", zorder=3)
    if strong.any():
        axes.plot([], [], color=INK, linewidth=1.2, label="most anomalous tenth")
    _without_numbers(axes)
    legend(axes, "lower center", ncols=3, bbox_to_anchor=(0.5, 1.0))
    return figure


def difference_figure(embedding: Floats, distances: Floats) -> Figure:
    """Encoder minus decoder place of each patch (Fig. 5b), in the heat map's colours: normal patches lie at the origin.

    Arguments as `embedding_figure`.
    """
    figure, axes = new_axes("t-SNE 1, encoder − decoder", "t-SNE 2, encoder − decoder")
    difference = embedding[0] - embedding[1]
    order = np.argsort(distances)  # the most anomalous on top
    scale = ListedColormap(colours() / 255)
    drawn = axes.scatter(
        difference[order, 0], difference[order, 1], c=np.asarray(distances)[order], cmap=scale, s=26, linewidths=0
    )
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    bar = figure.colorbar(drawn, ax=axes, pad=0.02)
    bar.set_label("anomaly value of the patch", color=INK, fontsize=9.5)
    bar.ax.tick_params(colors=MUTED, labelsize=9, length=0)
    bar.outline.set_visible(False)
    _without_numbers(axes)
    return figure


def _highest(distances: Floats | None, count: int) -> NDArray[np.bool_]:
    if distances is None or not count:
        return np.zeros(count, dtype=bool)
    values = np.asarray(distances)
    # Of constant values none stands out.
    return np.asarray((values >= np.quantile(values, 0.9)) & (values > values.min()))


def _without_numbers(axes: Axes) -> None:
    """The places of t-SNE have no unit; only which points lie together means something."""
    axes.tick_params(labelbottom=False, labelleft=False)
