"""Candidates that overlap: which are one nucleus, and which of two gets the pixels that both claim.

No full-size mask per nucleus: the label image holds for each pixel the number of its region, which is the set of pixels
that the same candidates claim. Only regions with several claimants are looked at, the pair that shares most pixels
first; areas, centres of mass and shared pixels follow each step without being counted again.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Instance
from stormseg_ij.image import Labels

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Verdict = Literal["merge", "give to the first", "give to the second", "low", "split"]

_ON_THE_LINE = 1e-9  # square pixels: rounding does not decide where a pixel on the dividing line goes


@dataclass(frozen=True)
class OverlapRules:
    """What happens to two candidates with common pixels, by the share of its area that each has in common.

    The first rule that fits: a share of `merge` or more of either: they are one. Both shares at most `low`: all shared
    pixels go to one, see `low_to`. One share below `low`: they go to the one with the greater share. Else they are
    divided, see `split`.

    Attributes
    ----------
    merge, low : float
        Fractions of an area; infinite `merge`: nothing is merged; infinite `low`: nothing is divided.
    low_to : {"random", "probable"}
        Who gets shared pixels that are few for both: either one, or the more probable one.
    split : {"bisector", "major axis"}
        The line that divides shared pixels: the perpendicular bisector of the segment between the two centres of mass,
        or the major axis of the shared pixels. Shared pixels without a major axis, or with one that does not lie
        between the centres, are divided along the bisector. Pixels on the line go to the more probable candidate; so
        do all where both centres are the same point.

    References
    ----------
    Mela & Liu 2021, Methods, "Post processing" and Fig. 10. The paper leaves open what is done at exactly 10 and 50 %.

    Examples
    --------
    >>> PAPER.verdict(0.5, 0.2), PAPER.verdict(0.1, 0.1), PAPER.verdict(0.09, 0.3), PAPER.verdict(0.1, 0.3)
    ('merge', 'low', 'give to the second', 'split')
    """

    merge: float
    low: float
    low_to: Literal["random", "probable"]
    split: Literal["bisector", "major axis"]

    def verdict(self, first: float, second: float) -> Verdict:
        """Say which rule fits two candidates with these shares."""
        if max(first, second) >= self.merge:
            return "merge"
        if max(first, second) <= self.low:
            return "low"
        if min(first, second) < self.low:
            return "give to the first" if first > second else "give to the second"
        return "split"


PAPER = OverlapRules(merge=0.5, low=0.1, low_to="random", split="bisector")
"""Mela & Liu 2021."""

NOTEBOOK = OverlapRules(merge=0.6, low=0.15, low_to="probable", split="major axis")
"""The code published with the paper, which has other thresholds and lines than its text.

Not taken over: that labels are added up where a pair was skipped, that only the first conflict of a candidate is looked
at, that shares equal to a threshold fit no rule, and the least area in pixels.
"""

SCORE = OverlapRules(merge=math.inf, low=math.inf, low_to="probable", split="bisector")
"""The more probable candidate keeps all shared pixels: no rule but the score."""

RULES = {"paper": PAPER, "notebook": NOTEBOOK, "score": SCORE}
"""By the name that settings use."""


@dataclass(slots=True)
class _Region:
    """Pixels that the same instances claim.

    Attributes
    ----------
    claimants : tuple of int
        Numbers of instances.
    area, sum_y, sum_x : int
        Number of pixels, and sums of their coordinates.
    box : (int, int, int, int)
        First row and column and those after the last; may be larger than the region.
    """

    claimants: tuple[int, ...]
    area: int
    sum_y: int
    sum_x: int
    box: tuple[int, int, int, int]

    @classmethod
    def of(cls, claimants: tuple[int, ...], y: Integers, x: Integers) -> _Region:
        """Measure the pixels."""
        box = (int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1)
        return cls(claimants, y.size, int(y.sum()), int(x.sum()), box)

    def take_out(self, part: _Region) -> None:
        """Subtract pixels that are now of another region."""
        self.area -= part.area
        self.sum_y -= part.sum_y
        self.sum_x -= part.sum_x


class Claims:
    """Instances and the pixels that they claim.

    Parameters
    ----------
    labels : ndarray of int32, shape (Y, X)
        All 0; is changed in place: holds the numbers of regions. The instances' own regions come first.
    count : int
        How many instances will be added. They have the numbers 1 to `count`, in the order in which they come.
    """

    def __init__(self, labels: Labels, count: int) -> None:
        self._labels = labels
        self._count = count
        self._next = count + 1
        self._areas, self._sums_y, self._sums_x, self._scores = [0], [0], [0], [0.0]
        self._into = list(range(count + 1))  # what each was merged into
        self._regions: dict[int, _Region] = {}  # those with several claimants, and what became of them
        self._contested: defaultdict[int, set[int]] = defaultdict(set)  # regions of each instance that others claim too
        self._shared: defaultdict[int, dict[int, int]] = defaultdict(dict)  # pixels of each pair, in both directions
        self._changed: set[tuple[int, int]] = set()  # pairs that share more or fewer pixels than before

    def add(self, instance: Instance) -> None:
        """Let the next instance claim its pixels."""
        number, mask = len(self._areas), instance.mask
        in_rows, in_columns = np.count_nonzero(mask, axis=1), np.count_nonzero(mask, axis=0)
        area = int(in_rows.sum())
        self._areas.append(area)
        self._sums_y.append(instance.top * area + int(in_rows @ np.arange(in_rows.size)))
        self._sums_x.append(instance.left * area + int(in_columns @ np.arange(in_columns.size)))
        self._scores.append(instance.score)
        view = self._labels[instance.box]
        there = view[mask]
        if there.any():
            y, x = np.nonzero(mask)
            taken = there > 0
            self._claim_too(number, there[taken], y[taken] + instance.top, x[taken] + instance.left)
            mask = mask & (view == 0)
        view[mask] = number

    def _claim_too(self, number: int, there: Labels, y: Integers, x: Integers) -> None:
        """Make new regions of the pixels that others claim already."""
        for key in np.unique(there).tolist():
            old = self._regions.get(key)
            here = there == key
            new = _Region.of((*(old.claimants if old else (key,)), number), y[here], x[here])
            for other in new.claimants[:-1]:
                self._share(other, number, new.area)
            self._enter(new, y[here], x[here])
            if old is not None:
                old.take_out(new)
                if old.area == 0:
                    del self._regions[key]
                    for other in old.claimants:
                        self._contested[other].discard(key)

    def _enter(self, region: _Region, y: Integers, x: Integers) -> int:
        """Give a region the next number."""
        key = self._next
        self._next += 1
        self._regions[key] = region
        self._labels[y, x] = key
        for number in region.claimants:
            self._contested[number].add(key)
        return key

    def _share(self, one: int, other: int, pixels: int) -> None:
        """Note that two share so many pixels more."""
        now = self._shared[one].get(other, 0) + pixels
        if now:
            self._shared[one][other] = self._shared[other][one] = now
            self._changed.add((min(one, other), max(one, other)))
        else:
            del self._shared[one][other], self._shared[other][one]

    # ---- the rules

    def settle(self, rules: OverlapRules, rng: np.random.Generator) -> None:
        """Apply the rules until no pixel is claimed by two, to the pair that shares most pixels first.

        After each step, what it changed counts as it is then: areas, centres, and the pixels shared with others. Of
        pairs that share equally many pixels that with the lowest numbers comes first.
        """
        heap: list[tuple[int, int, int]] = []
        while self._changed or heap:
            for pair in self._changed:
                if pair[1] in self._shared[pair[0]]:
                    heapq.heappush(heap, (-self._shared[pair[0]][pair[1]], *pair))
            self._changed.clear()
            while heap and not self._changed:
                pixels, one, other = heapq.heappop(heap)
                if self._shared[one].get(other) == -pixels:  # else it has changed since, and is there anew or settled
                    self._settle_pair(one, other, rules, rng)

    def _settle_pair(self, one: int, other: int, rules: OverlapRules, rng: np.random.Generator) -> None:
        first, second = sorted((one, other), key=lambda number: (-self._scores[number], number))
        pixels = self._shared[first][second]
        verdict = rules.verdict(pixels / self._areas[first], pixels / self._areas[second])
        if verdict == "merge":
            self._merge(first, second)
            return
        common = sorted(self._contested[first] & self._contested[second])
        if verdict == "split":
            self._split(first, second, common, rules)
            return
        if verdict == "low":
            to_first = rules.low_to == "probable" or rng.random() < 0.5
        else:
            to_first = verdict == "give to the first"
        for key in common:
            self._give_up(key, second if to_first else first)

    def _give_up(self, key: int, loser: int) -> None:
        """Let one claimant of a region leave it to the others."""
        region = self._regions[key]
        region.claimants = tuple(number for number in region.claimants if number != loser)
        self._contested[loser].discard(key)
        for number in region.claimants:
            self._share(loser, number, -region.area)
        self._weigh(loser, region, -1)
        self._unless_alone(key)

    def _weigh(self, number: int, region: _Region, sign: int) -> None:
        self._areas[number] += sign * region.area
        self._sums_y[number] += sign * region.sum_y
        self._sums_x[number] += sign * region.sum_x

    def _unless_alone(self, key: int) -> None:
        """Look no more at a region that only one claims."""
        claimants = self._regions[key].claimants
        if len(claimants) == 1:
            self._contested[claimants[0]].discard(key)

    def _merge(self, one: int, other: int) -> None:
        """Merge two into the larger one, which keeps its number; the work goes with the regions of the smaller one."""
        big, small = sorted((one, other), key=lambda number: (-self._areas[number], number))
        for neighbour in self._shared.pop(small):
            del self._shared[neighbour][small]
        self._areas[big] += self._areas[small]
        self._sums_y[big] += self._sums_y[small]
        self._sums_x[big] += self._sums_x[small]
        for key in self._contested.pop(small):
            region = self._regions[key]
            others = tuple(number for number in region.claimants if number not in (big, small))
            if big in region.claimants:
                self._weigh(big, region, -1)  # was counted twice
            else:
                self._contested[big].add(key)
                for number in others:
                    self._share(big, number, region.area)
            region.claimants = (*others, big)
            self._unless_alone(key)
        self._scores[big] = max(self._scores[big], self._scores[small])
        self._into[small] = big

    def _split(self, first: int, second: int, common: list[int], rules: OverlapRules) -> None:
        """Divide the regions that two claim along a line."""
        pixels = [self._pixels(key) for key in common]
        line = self._major_axis(first, second, pixels) if rules.split == "major axis" else None
        line = line or self._bisector(first, second, pixels[0])
        for key, (y, x) in zip(common, pixels, strict=True):
            to_second = line.is_beyond(y, x)
            if to_second.any() and not to_second.all():
                part = _Region.of(self._regions[key].claimants, y[to_second], x[to_second])
                self._regions[key].take_out(part)
                self._give_up(self._enter(part, y[to_second], x[to_second]), first)
                self._give_up(key, second)
            else:
                self._give_up(key, first if to_second.all() else second)

    def _pixels(self, key: int) -> tuple[Integers, Integers]:
        top, left, bottom, right = self._regions[key].box
        y, x = np.nonzero(self._labels[top:bottom, left:right] == key)
        return y + top, x + left

    def _centre(self, number: int, origin: tuple[int, int]) -> tuple[float, float]:
        """Return the centre of mass; its distance from a near origin is exact in images of any size."""
        area = self._areas[number]
        return (self._sums_y[number] - area * origin[0]) / area, (self._sums_x[number] - area * origin[1]) / area

    def _bisector(self, first: int, second: int, pixels: tuple[Integers, Integers]) -> _Line:
        origin = int(pixels[0][0]), int(pixels[1][0])
        (y, x), (to_y, to_x) = self._centre(first, origin), self._centre(second, origin)
        return _Line(origin, ((y + to_y) / 2.0, (x + to_x) / 2.0), (to_y - y, to_x - x))

    def _major_axis(self, first: int, second: int, pixels: list[tuple[Integers, Integers]]) -> _Line | None:
        """Return the longest line through the pixels' centre; None if there is none, or not between the two."""
        y, x = (np.concatenate(column) for column in zip(*pixels, strict=True))
        origin = int(y[0]), int(x[0])
        y, x = y - origin[0], x - origin[1]
        n, sum_y, sum_x = y.size, int(y.sum()), int(x.sum())
        yy, xx = n * int(y @ y) - sum_y**2, n * int(x @ x) - sum_x**2
        xy = n * int(x @ y) - sum_x * sum_y
        if yy == xx and xy == 0:
            return None
        angle = 0.5 * math.atan2(2 * xy, xx - yy)  # of the axis, from x to y
        normal = math.cos(angle), -math.sin(angle)
        (from_y, from_x), (to_y, to_x) = self._centre(first, origin), self._centre(second, origin)
        towards = normal[0] * (to_y - from_y) + normal[1] * (to_x - from_x)
        if abs(towards) <= _ON_THE_LINE:
            return None
        sign = math.copysign(1.0, towards)
        return _Line(origin, (sum_y / n, sum_x / n), (sign * normal[0], sign * normal[1]))

    # ---- what came of it

    def owners(self) -> NDArray[np.int32]:
        """Return to whom each region belongs, by the region's number; 0 for background; after `settle`."""
        roots = np.arange(self._count + 1, dtype=np.int32)
        for number, into in enumerate(self._into):
            root = into
            while self._into[root] != root:
                root = self._into[root] = self._into[self._into[root]]
            roots[number] = root
        table = np.zeros(self._next, np.int32)
        table[: self._count + 1] = roots
        for key, region in self._regions.items():
            table[key] = roots[region.claimants[0]]
        return table

    def areas(self) -> Integers:
        """Return the pixels of each instance by its number, those of what it was merged with included."""
        areas = np.array(self._areas, np.int64)
        areas[np.array(self._into) != np.arange(self._count + 1)] = 0
        return areas

    def scores(self, numbers: Iterable[int]) -> list[float]:
        """Return their scores: the larger one of two that were merged."""
        return [self._scores[number] for number in numbers]


@dataclass(frozen=True)
class _Line:
    """A line through a point, given from the origin, and the direction (y, x) across it."""

    origin: tuple[int, int]
    point: tuple[float, float]
    across: tuple[float, float]

    def is_beyond(self, y: Integers, x: Integers) -> Mask:
        """Say which pixels lie beyond the line, seen in its direction; those on it do not."""
        along_y = (y - self.origin[0] - self.point[0]) * self.across[0]
        along_x = (x - self.origin[1] - self.point[1]) * self.across[1]
        return np.asarray(along_y + along_x > _ON_THE_LINE)
