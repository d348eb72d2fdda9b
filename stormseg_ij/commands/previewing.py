"""The preview in the dialog of Segment Nuclei: what other thresholds would find, drawn into the image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from stormseg_ij.commands.job import plural
from stormseg_ij.commands.segmenting import coloured, selected_area
from stormseg_ij.errors import StormsegError
from stormseg_ij.imagej_settings import SegmentNucleiSettings, in_keys
from stormseg_ij.preview import Preview
from stormseg_ij.roi_files import encoded
from stormseg_ij.rois import iterate_rois
from stormseg_ij.settings import from_mapping

if TYPE_CHECKING:
    from stormseg_ij.bridge.desktop import Desktop
    from stormseg_ij.desk import ImagePlus
    from stormseg_ij.models import Model

_TAG = "preview"
_QUICK = ("probability", "nms", "overlap_rules", "min_area_fraction")
"""Settings that need no new run of the network."""
_SEEN = ("model", "size", "blur", "equalize", "plane")
"""Settings that do."""


class Previewer:
    """Draws what the dialog's settings would find; the newest ones only.

    The part of the image that is previewed is the selection, else what the window shows. Its overlay is put back when
    the preview ends.

    Parameters
    ----------
    imp : ImagePlus or None
    desk : Desktop
    load_model : callable
    """

    def __init__(self, imp: ImagePlus | None, desk: Desktop, load_model: Callable[[str], Model]) -> None:
        self._imp, self._desk, self._load_model = imp, desk, load_model
        self._lock = threading.Lock()
        self._wanted: Mapping[str, str] | None = None  # empty: nothing is to be drawn; None: nothing is to be done
        self._worker = ThreadPoolExecutor(1, "stormseg-preview")
        self._tell: Callable[[str], None] = desk.status
        self._preview: Preview | None = None
        self._made_for: tuple[object, ...] = ()

    def tell(self, say: Callable[[str], None]) -> None:
        """Set where the number of nuclei, and what goes wrong, is said."""
        self._tell = say

    def changed(self, values: Mapping[str, str] | None) -> None:
        """Take the dialog's values, or None where there is no preview; returns at once."""
        with self._lock:
            self._wanted = values or {}
        self._worker.submit(self._draw)

    def close(self) -> None:
        """End the preview, and take its outlines away."""
        self.changed(None)
        self._worker.submit(self._desk.leave_thread)
        self._worker.shutdown(wait=True)

    def _draw(self) -> None:
        with self._lock:
            values, self._wanted = self._wanted, None
        if self._imp is None or values is None:
            return
        if not values:
            self._desk.put_overlay(self._imp, [], _TAG)
            return
        try:
            self._show(from_mapping(SegmentNucleiSettings, values))
        except StormsegError as error:
            self._tell(in_keys(str(error)))

    def _is_newer(self) -> bool:
        with self._lock:
            return self._wanted is not None

    def _show(self, settings: SegmentNucleiSettings) -> None:
        if self._imp is None:
            return
        rows, columns = self._seen_part(self._imp)
        key = (*(getattr(settings, name) for name in _SEEN), str(rows), str(columns))
        if self._preview is None or key != self._made_for:
            self._tell("Preview: the network looks at the image ...")
            image = self._desk.image(self._imp, plane=settings.plane)
            part = image.with_pixels(np.ascontiguousarray(image.pixels[rows, columns]))
            model = self._load_model(settings.model)
            self._preview = Preview(part, settings, ij=self._desk.ij, model=model, whole_shape=image.shape)
            self._made_for = key
        if self._is_newer():
            return
        labels, scores = self._preview.nuclei(
            probability=settings.probability,
            nms=settings.nms,
            overlap_rules=settings.overlap_rules,
            min_area_fraction=settings.min_area_fraction,
        )
        rois = [encoded(coloured(roi)) for roi in iterate_rois(labels, scores=scores)]
        self._desk.put_overlay(self._imp, rois, _TAG, origin=(columns.start, rows.start))
        used = self._preview.settings
        probability = used.probability if settings.probability is None else settings.probability
        nms = used.nms if settings.nms is None else settings.nms
        count = plural(len(scores), "nucleus", "nuclei")
        self._tell(f"Preview: {count} at probability {probability:g}, NMS {nms:g}, size {self._preview.size}")

    def _seen_part(self, imp: ImagePlus) -> tuple[slice, slice]:
        """Return rows and columns of the selection, or of what the window shows."""
        area = selected_area(self._desk, imp)
        return self._desk.visible(imp) if area is None else area.box
