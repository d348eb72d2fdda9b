"""From a network's candidates to labels at the original size."""

from __future__ import annotations

import numpy as np

from stormseg_ij.candidates import Candidates
from stormseg_ij.image import Labels


def render(
    candidates: Candidates, shape: tuple[int, int], *, scale: tuple[float, float]
) -> tuple[Labels, dict[int, float]]:
    """Draw candidates at the original size; where two overlap, the more probable one keeps the pixels.

    Parameters
    ----------
    candidates : Candidates
    shape : (int, int)
        Of the original image.
    scale : (float, float)
        Network pixels per original pixel in y and x. The polygons are scaled, then drawn: outlines stay smooth.

    Returns
    -------
    labels : ndarray of int32, shape `shape`
    scores : dict of int to float
        Of each label that has pixels.

    Examples
    --------
    >>> square = np.array([[[-0.4, -0.4, 1.4, 1.4], [-0.4, 1.4, 1.4, -0.4]]], np.float32)
    >>> labels, scores = render(Candidates(square, np.array([0.5], np.float32)), (5, 5), scale=(0.5, 0.5))
    >>> labels.max(axis=0).tolist(), scores
    ([1, 1, 1, 1, 0], {1: 0.5})
    """
    labels = np.zeros(shape, np.int32)
    scores: dict[int, float] = {}
    for number, index in enumerate(np.argsort(candidates.scores, kind="stable").tolist(), start=1):
        instance = candidates.draw(index, shape, scale)
        if instance is not None:
            labels[instance.box][instance.mask] = number
            scores[number] = instance.score
    present = set(np.unique(labels).tolist())
    return labels, {number: score for number, score in scores.items() if number in present}
