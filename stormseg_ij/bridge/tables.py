"""ImageJ's tables: its own Measure into Results, and rows for tables of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.bridge.imagej import ImageJ, ImagePlus
from stormseg_ij.bridge.java import java_errors
from stormseg_ij.errors import BridgeError

Floats = NDArray[np.float64]

ResultsTable: TypeAlias = Any
"""An `ij.measure.ResultsTable`."""

Roi: TypeAlias = Any
"""An `ij.gui.Roi`."""

_RESULTS = "Results"
_NO_LUT_UPDATE = 2  # ij.process.ImageProcessor.NO_LUT_UPDATE
_ROWS_WITH_DIGITS = 24
_SUMMARY_ROWS = 4  # Mean, SD, Min, Max, of Analyze > Summarize


class Tables:
    """ImageJ's Results and the tables of ours; without a window they are filled all the same.

    Parameters
    ----------
    ij : ImageJ
    """

    def __init__(self, ij: ImageJ) -> None:
        import scyjava

        self._ij = ij
        self._jimport: Callable[[str], Any] = scyjava.jimport
        self._analyzer: Any = self._jimport("ij.plugin.filter.Analyzer")
        self._flags: Any = self._jimport("ij.measure.Measurements")

    def measure(
        self, imp: ImagePlus, rois: Sequence[Roi], planes: Sequence[int], *,
        each: Callable[[int], None] = lambda _: None,
    ) -> ResultsTable:  # fmt: skip
        """Measure ROIs as the ROI Manager's Measure does: what Set Measurements asks for, by ImageJ's own Analyzer.

        The image keeps its selection, its shown plane and all else: another one, which nobody sees, shares its pixels,
        calibration and threshold. Only "Redirect to" makes ImageJ look at a third image, which gets its plane back.

        Parameters
        ----------
        imp : ImagePlus
        rois : sequence of Roi
            Areas that have a pixel in the image. They are changed.
        planes : sequence of int
            Of the stack for each ROI, counted from 1; 1 for a single plane.
        each : callable
            Told the index of the next ROI. What it raises ends the measurement, and Results stays as it was.

        Returns
        -------
        ResultsTable
            For `show`; not in Results yet.

        Raises
        ------
        BridgeError
            If Java's memory is too small, or the image of "Redirect to" is missing or has another size.
        """
        with java_errors("measure"):
            asked = int(self._analyzer.getMeasurements())
            hidden, place = self._twin(imp), self._place(imp) if asked & self._flags.STACK_POSITION else None
            redirected = self._redirected(hidden)
            # What Analyzer would do with them goes by the image's window, or belongs to Measure in the menu.
            asked &= ~(int(self._flags.STACK_POSITION) | int(self._flags.ADD_TO_OVERLAY))
            rows = self._jimport("ij.measure.ResultsTable")()
            for _ in range(int(self._flags.MAX_STANDARDS)):  # of so many rows Analyze > Calibrate takes the means
                rows.incrementCounter()
            analyzer = self._analyzer(hidden, asked, rows)
            analyzer.disableReset(True)  # or it might clear Results
            plane, threshold = 0, self._threshold(imp)
            try:
                for i, (roi, wanted) in enumerate(zip(rois, planes, strict=True)):
                    each(i)
                    if wanted != plane:
                        plane = wanted
                        self._go_to(hidden, plane, threshold)
                    hidden.setRoi(roi, False)
                    analyzer.measure()
                    for heading, number in place(plane) if place is not None else ():
                        rows.addValue(heading, float(number))
            finally:
                if redirected is not None:
                    redirected[0].setSlice(redirected[1])
            return rows

    def show(self, rows: ResultsTable, extra: Sequence[Mapping[str, str | float]]) -> int:
        """Add measured rows at the end of Results, with further columns for each, and show the table.

        Returns
        -------
        int
            Rows of the table now.
        """
        with java_errors("fill the Results table"):
            self._analyzer()  # gives the table the digits that Set Measurements asks for
            table, skip = self._analyzer.getResultsTable(), int(self._flags.MAX_STANDARDS)
            self._remove_summary(table)
            first = int(table.size())
            if first == 0 and table.getColumnHeading(table.LAST_HEADING) is None:
                table.setDefaultHeadings()
            labelled = int(rows.size()) > skip and rows.getLabel(skip) is not None
            for heading in [str(heading) for heading in rows.getHeadings()][labelled:]:
                values, texts = _column(rows, heading, skip)
                self._extend(table, heading, first, values, texts, own=False)
            for heading in dict.fromkeys(name for one in extra for name in one):
                given = [one.get(heading, np.nan) for one in extra]
                texts = {i: value for i, value in enumerate(given) if isinstance(value, str)}
                values = np.array([np.nan if isinstance(value, str) else value for value in given], np.float64)
                self._extend(table, heading, first, values, texts, own=True)
            for i in range(len(extra) if labelled else 0):
                table.setLabel(rows.getLabel(skip + i), first + i)
            table.show(_RESULTS)
            return int(table.size())

    def append(self, title: str, rows: Sequence[Mapping[str, str | float]]) -> None:
        """Add rows at the end of the table with this title, which is opened if it is not there.

        Parameters
        ----------
        title : str
            Without a window ImageJ knows one table only: the rows go into Results.
        rows : sequence of mappings
            Values by column; NaN is an empty one.
        """
        with java_errors(f"fill the table {title}"):
            kind = self._jimport("ij.measure.ResultsTable")
            if self._ij.headless:
                title = _RESULTS
            table = kind.getResultsTable() if title == _RESULTS else kind.getResultsTable(title)
            if table is None:
                table = kind()
                table.showRowNumbers(True)
            for row in rows:
                table.incrementCounter()
                for heading, value in row.items():
                    table.addValue(heading, value if isinstance(value, str) else float(value))
            table.show(title)

    # ---- the image that is measured

    def _twin(self, imp: ImagePlus) -> ImagePlus:
        """Make an image of the same pixels that is in no window and in no list."""
        count = int(imp.getStackSize())
        stack = imp.getStack() if count > 1 else self._jimport("ij.ImageStack")(imp.getWidth(), imp.getHeight())
        if count == 1:
            stack.addSlice(None, imp.getProcessor().getPixels())
        elif not stack.isVirtual():
            # A stack of its own, for an ImagePlus writes into its stack when it changes the plane. The shown plane's
            # pixels are those of the processor: a filter may have replaced them.
            own, shown = self._jimport("ij.ImageStack")(imp.getWidth(), imp.getHeight()), int(imp.getCurrentSlice())
            for plane in range(1, count + 1):
                pixels = imp.getProcessor().getPixels() if plane == shown else stack.getPixels(plane)
                own.addSlice(stack.getSliceLabel(plane), pixels)
            stack = own
        hidden = self._jimport("ij.ImagePlus")(imp.getTitle(), stack)
        hidden.setIgnoreGlobalCalibration(True)
        hidden.setCalibration(imp.getCalibration())
        return hidden

    def _threshold(self, imp: ImagePlus) -> tuple[float, float] | None:
        """Return the image's threshold; None where it has none."""
        processor = imp.getProcessor()
        low, high = float(processor.getMinThreshold()), float(processor.getMaxThreshold())
        return None if low == float(processor.NO_THRESHOLD) else (low, high)

    def _go_to(self, hidden: ImagePlus, plane: int, threshold: tuple[float, float] | None) -> None:
        """Bring the hidden image to a plane, with the threshold of the shown one."""
        hidden.setSlice(plane)
        if threshold is not None:
            hidden.getProcessor().setThreshold(*threshold, _NO_LUT_UPDATE)

    def _place(self, imp: ImagePlus) -> Callable[[int], list[tuple[str, int]]]:
        """Return what gives a plane's columns of "Stack position"."""
        if not (imp.isHyperStack() or imp.isComposite()):
            return lambda plane: [("Slice", plane)]
        sizes = [int(size) for size in (imp.getNChannels(), imp.getNSlices(), imp.getNFrames())]

        def place(plane: int) -> list[tuple[str, int]]:
            numbers = [int(number) for number in imp.convertIndexToPosition(plane)]
            parts = zip(("Ch", "Slice", "Frame"), numbers, sizes, strict=True)
            return [(heading, number) for heading, number, size in parts if size > 1]

        return place

    def _redirected(self, hidden: ImagePlus) -> tuple[ImagePlus, int] | None:
        """Return the image of "Redirect to", with its plane; None where nothing is redirected."""
        if not self._analyzer.isRedirectImage():
            return None
        other = self._analyzer.getRedirectImage(hidden)
        if other is None:
            raise BridgeError(
                f"{hidden.getTitle()} is not measured: the image to redirect to is missing or has another size; choose "
                'another, or None, under "Redirect to" in Analyze > Set Measurements'
            )
        return other, int(other.getCurrentSlice())

    # ---- Results

    def _remove_summary(self, table: ResultsTable) -> None:
        """Take the rows of Analyze > Summarize out, as Measure does."""
        last = int(table.size()) - 1
        if last + 1 >= _SUMMARY_ROWS and str(table.getLabel(last)) == "Max":
            table.deleteRows(last + 1 - _SUMMARY_ROWS, last)

    def _extend(
        self, table: ResultsTable, heading: str, first: int, values: Floats, texts: Mapping[int, str], *, own: bool
    ) -> None:
        """Add values to a column of Results from row `first` on; `own` columns are none of Set Measurements'."""
        from jpype import JArray, JDouble

        if table.columnExists(heading):
            before = np.array(table.getColumn(heading), np.float64)[:first]
        else:
            empty = own or int(self._analyzer.getMeasurements()) & int(self._flags.NaN_EMPTY_CELLS)
            before = np.full(first, np.nan if empty else 0.0)
        # One call for the whole column: a call for each cell takes a second for some thousand nuclei.
        column = np.concatenate([before, values])
        table.setValues(heading, JArray.of(column, JDouble))
        early = column[:_ROWS_WITH_DIGITS]
        if np.all((early == np.rint(early)) | np.isnan(early)):  # ImageJ chooses a column's digits by its first rows
            table.setDecimalPlaces(table.getColumnIndex(heading), table.AUTO_FORMAT)
        for i, text in texts.items():
            table.setValue(heading, first + i, text)
        if len(values) and heading not in self._jimport("ij.measure.ResultsTable").getDefaultHeadings():
            # Columns that were added by name stay where Set Measurements asks for other ones.
            last = len(values) - 1
            table.addValue(heading, texts[last] if last in texts else float(values[last]))


def _column(rows: ResultsTable, heading: str, skip: int) -> tuple[Floats, dict[int, str]]:
    """Return a column's numbers, and its texts by row."""
    index = rows.getColumnIndex(heading)
    values = np.array(rows.getColumnAsDoubles(index), np.float64)[skip:]
    texts = {int(i): str(rows.getStringValue(index, skip + int(i))) for i in np.flatnonzero(np.isnan(values))}
    return values, {i: text for i, text in texts.items() if text != "NaN"}
