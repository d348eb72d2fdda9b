"""ImageJ's Results, and the ROI Manager's own Measure that fills it."""

import numpy as np

OURS = ("ROI", "score")
"""Columns of Measure Nuclei that ImageJ's Measure does not have."""


def table(java):
    """Results, column by column: numbers, and what the window shows."""
    results = java("ij.measure.ResultsTable").getResultsTable()
    columns = {}
    for heading in [str(heading) for heading in results.getHeadings()]:
        columns[heading] = [str(text) for text in results.getColumnAsStrings(heading)]
        if heading not in ("Label", "ROI", "GroupName"):
            columns[heading] = (np.array(results.getColumn(heading)), columns[heading])
    return columns


def by_roi_manager(java, imp):
    """Empty Results, and fill it by the ROI Manager's own button."""
    java("ij.IJ").runMacro('run("Clear Results");')
    manager = java("ij.plugin.frame.RoiManager").getInstance2()
    manager.deselect()
    manager.runCommand(imp, "Measure")
    return table(java)


def assert_equal(found, expected, *, ours=OURS):
    assert list(found) == [*expected, *ours]
    for heading, column in expected.items():
        if isinstance(column, list):
            assert found[heading] == column, heading
        else:
            np.testing.assert_array_equal(found[heading][0], column[0], err_msg=heading)  # to the last bit
            assert found[heading][1] == column[1], heading


def draw(java, imp):
    """Add ROIs as a person draws them."""
    from jpype import JArray, JFloat

    gui = "ij.gui."
    x, y = (
        JArray.of(np.array([5.3, 40.8, 22.1, 9.9], np.float32)),
        JArray.of(np.array([3.2, 9.7, 44.4, 30.0], np.float32)),
    )
    polygon = java(f"{gui}PolygonRoi")(x, y, 4, java(f"{gui}Roi").POLYGON)
    spline = java(f"{gui}PolygonRoi")(JArray(JFloat)(x), JArray(JFloat)(y), 4, java(f"{gui}Roi").POLYGON)
    spline.fitSpline()
    composite = java(f"{gui}ShapeRoi")(java(f"{gui}OvalRoi")(60, 50, 30, 20))
    composite.xor(java(f"{gui}ShapeRoi")(java(f"{gui}Roi")(70, 40, 8, 40)))
    grouped = java(f"{gui}Roi")(3, 4, 17, 9)
    grouped.setGroup(3)
    made = [
        polygon, spline, composite, grouped, java(f"{gui}OvalRoi")(80, 60, 19, 14), java(f"{gui}Roi")(100, 80, 40, 40),
        java(f"{gui}EllipseRoi")(10.5, 60.25, 40.0, 70.75, 0.6),
        java(f"{gui}RotatedRectRoi")(20.5, 20.5, 60.25, 40.5, 12.5),
    ]  # fmt: skip
    manager = java("ij.plugin.frame.RoiManager").getRoiManager()
    for i, roi in enumerate(made):
        roi.setName(f"drawn {i}")
        manager.add(imp, roi, -1)
    return len(made)
