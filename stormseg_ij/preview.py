"""What other thresholds would find, shown at once: the network runs one time, the rest as often as the user likes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from stormseg_ij.errors import ImageError
from stormseg_ij.estimate import ONE_GO_PX
from stormseg_ij.image import Image, Labels
from stormseg_ij.pipeline import Clock, Progress, draw, number, refuse_unfit, sized, thresholds
from stormseg_ij.preprocess import preprocess, resized_shape
from stormseg_ij.scale import LARGEST_SIZE_PX
from stormseg_ij.settings import LEAST_PROBABILITY, SegmentSettings

if TYPE_CHECKING:
    from stormseg_ij.desk import Processing
    from stormseg_ij.models import Model


class Preview:
    """An image, or the part of it that the user sees, as the network saw it.

    It holds no pixels, only what the network returned: some 150 bytes for each of its polygons.

    Parameters
    ----------
    image : Image
        Cut by the caller to what is to be seen. Gray values are normalised by this part, as `pipeline.segment` does
        when it gets the part; other parts of an uneven image can differ a little.
    settings : SegmentSettings
        A number as size is that of the whole image; with ``auto`` the scale is found in this part.
        Refinement and tiles are left out.
    ij : Processing
        Does the resizing, blur and equalization.
    model : Model
    progress : pipeline.Progress, optional
        Told how far scale, preprocessing and network are; what it raises ends the work.
    whole_shape : (int, int), optional
        Of the image that this one is a part of, if it is.

    Attributes
    ----------
    settings : SegmentSettings
        As used for this part, thresholds and size filled.
    size : int
        Longer side of the whole image at this scale: with it in place of ``auto``, `pipeline.segment` resizes alike.
    notes : tuple of str
        What a user should know, one line each.

    Raises
    ------
    ImageError
        If the network's input would have more than `estimate.ONE_GO_PX` pixels, and where `pipeline.segment` raises it.
    """

    def __init__(
        self,
        image: Image,
        settings: SegmentSettings,
        *,
        ij: Processing,
        model: Model,
        progress: Progress | None = None,
        whole_shape: tuple[int, int] | None = None,
    ) -> None:
        refuse_unfit(image)
        clock = Clock(progress or Progress())
        with clock("find scale"):
            self.settings, scale, _ = sized(image, settings, model, ij, whole_shape)
        height, width = resized_shape(image.shape, scale.size)
        if height * width > ONE_GO_PX:
            reason = f"{width} x {height} pixels for the network, a preview shows up to {ONE_GO_PX}"
            raise ImageError(f"{image.name} makes {reason}; zoom in, or give a smaller size")
        with clock("preprocess") as told:
            small = preprocess(image, self.settings.preprocessing(scale.size), ij, progress=told)
        with clock("network"):
            self._seen = model.look(model.info.normalize(small.pixels), least_probability=LEAST_PROBABILITY)
        self.notes = small.notes
        self.size = _whole_size(scale.size, settings, image.shape, whole_shape)
        self._shape, self._scale = image.shape, small.scale

    def nuclei(
        self,
        *,
        probability: float | None = None,
        nms: float | None = None,
        overlap_rules: str | None = None,
        min_area_fraction: float | None = None,
    ) -> tuple[Labels, dict[int, float]]:
        """Return the nuclei as `pipeline.segment` finds them without refinement, in one go.

        Parameters
        ----------
        probability, nms, overlap_rules, min_area_fraction : optional
            As in `SegmentSettings`; what is left out is as in `settings`.

        Returns
        -------
        labels : ndarray of int32, shape (Y, X)
            0 is background, 1..N one value per nucleus, at the size of the image.
        scores : dict of int to float
            Probability of each nucleus by label.

        Raises
        ------
        SettingsError
            For a value out of range.
        """
        given: dict[str, Any] = {
            "probability": probability,
            "nms": nms,
            "overlap_rules": overlap_rules,
            "min_area_fraction": min_area_fraction,
        }
        used = dataclasses.replace(self.settings, **{key: value for key, value in given.items() if value is not None})
        probability, nms = thresholds(used)
        candidates = self._seen.candidates(probability=probability, nms=nms)
        return number(*draw(candidates, self._shape, self._scale, used), used)


def _whole_size(size: int, settings: SegmentSettings, part: tuple[int, int], whole: tuple[int, int] | None) -> int:
    """Return the whole image's size that goes with a part's: the user's own where there is one."""
    if settings.size != "auto":
        return int(settings.size)
    return min(round(size * max(whole or part) / max(part)), LARGEST_SIZE_PX)
