"""From a network's candidates to labels at the original size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from stormseg_ij.candidates import Candidates, Instance
from stormseg_ij.image import Labels
from stormseg_ij.overlap_rules import RULES, Claims, OverlapRules
from stormseg_ij.regions import blocks, find_regions

__all__ = ["RULES", "OverlapRules", "resolve"]

_TOLD_EVERY = 1000  # candidates


def resolve(
    candidates: Candidates,
    shape: tuple[int, int],
    *,
    scale: tuple[float, float],
    rules: OverlapRules,
    min_area_fraction: float,
    rng: np.random.Generator,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[Labels, dict[int, float]]:
    """Draw candidates at the original size, remove small ones and settle where they overlap.

    Candidates under `min_area_fraction` of their mean area go first, then the rules are applied, then nuclei go that
    have become smaller than that. The order of the candidates changes nothing: they are sorted by place, size and
    score. Beside the labels, memory holds one bit per pixel of each candidate's box, and 1 to 3 kB for each that
    overlaps others.

    Parameters
    ----------
    candidates : Candidates
    shape : (int, int)
        Of the original image.
    scale : (float, float)
        Network pixels per original pixel in y and x.
    rules : OverlapRules
        One of `RULES`, or others.
    min_area_fraction : float
        Of the mean area of all candidates in this image, as drawn; 0 removes nothing, 0.25 in the paper.
    rng : numpy.random.Generator
        For the rule that leaves small overlaps to chance.
    progress : callable
        Told the finished fraction now and then; what it raises ends the work.

    Returns
    -------
    labels : ndarray of int32, shape `shape`
        Numbered in reading order of each nucleus' first pixel. A nucleus can be in several pieces.
    scores : dict of int to float
        Of each label. A merged nucleus has the larger score of its parts: it is at least as sure as the surer one.

    References
    ----------
    Mela & Liu 2021, Methods, "Post processing".

    Examples
    --------
    >>> square = np.array([[-0.4, -0.4, 1.4, 1.4], [-0.4, 1.4, 1.4, -0.4]], np.float32)
    >>> two = Candidates(np.stack([square + 1, square]), np.array([0.5, 0.9], np.float32))
    >>> labels, scores = resolve(
    ...     two, (3, 3), scale=(1, 1), rules=RULES["score"], min_area_fraction=0, rng=np.random.default_rng(0)
    ... )
    >>> labels.tolist(), scores[2]
    ([[1, 1, 0], [1, 1, 2], [0, 2, 2]], 0.5)
    """
    labels = np.zeros(shape, np.int32)
    drawn = []
    for i in range(len(candidates)):
        if instance := candidates.draw(i, shape, scale):
            drawn.append(_Drawn.of(instance))
        if i % _TOLD_EVERY == 0:
            progress(0.5 * i / len(candidates))
    least_px = min_area_fraction * sum(one.area for one in drawn) / max(1, len(drawn))
    drawn = sorted((one for one in drawn if one.area >= least_px), reverse=True)
    claims = Claims(labels, len(drawn))
    while drawn:
        claims.add(drawn.pop().instance())
        if len(drawn) % _TOLD_EVERY == 0:
            progress(1.0 - 0.5 * len(drawn) / len(candidates))
    claims.settle(rules, rng)
    return labels, _number(labels, claims, least_px)


class _Drawn(NamedTuple):
    """An instance with its mask packed into bits; in the order of its fields candidates are sorted."""

    top: int
    left: int
    height: int
    width: int
    area: int
    score: float
    bits: bytes

    @classmethod
    def of(cls, instance: Instance) -> _Drawn:
        """Pack its mask."""
        height, width = instance.mask.shape
        bits = np.packbits(instance.mask).tobytes()
        return cls(instance.top, instance.left, height, width, instance.area, instance.score, bits)

    def instance(self) -> Instance:
        """Unpack it."""
        bits = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=self.height * self.width)
        return Instance(self.top, self.left, bits.view(np.bool_).reshape(self.height, self.width), self.score)


def _number(labels: Labels, claims: Claims, least_px: float) -> dict[int, float]:
    """Turn regions into labels in reading order, without nuclei that are too small; return the labels' scores."""
    owners, areas = claims.owners(), claims.areas()
    regions = find_regions(labels)
    first = np.full(areas.size, labels.size, np.int64)
    np.minimum.at(first, owners[regions.labels], regions.first)
    first[areas < least_px] = labels.size
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < labels.size)]
    table = np.zeros(areas.size, np.int32)
    table[order] = np.arange(1, order.size + 1)
    table = table[owners]
    for top, block in blocks(labels):
        labels[top : top + len(block)] = table[block]
    return dict(enumerate(claims.scores(order.tolist()), start=1))
