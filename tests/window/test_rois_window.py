"""The ROI zip in the real ROI Manager, and its Measure."""

import numpy as np
import pytest
from scipy import ndimage

from stormseg_ij import measure, rois
from stormseg_ij.image import Calibration, Image

pytestmark = pytest.mark.window


@pytest.fixture
def scene():
    """A calibrated image, and labels with gaps, holes and pieces."""
    rng = np.random.default_rng(4)
    field = ndimage.gaussian_filter(rng.normal(size=(120, 150)), 2.0)
    labels = ndimage.label(field > np.quantile(field, 0.6))[0].astype(np.int32) * 3
    labels[labels == 6] = 3
    pixels = rng.integers(0, 5_000, labels.shape).astype(np.uint16)
    return labels, Image(pixels, "scene", Calibration(0.02, 0.02, "micron"))


@pytest.fixture
def manager(ij):
    from scyjava import jimport

    analyzer, constants = jimport("ij.plugin.filter.Analyzer"), jimport("ij.measure.Measurements")
    ticked = analyzer.getMeasurements()
    overlaid = constants.ADD_TO_OVERLAY | constants.LIMIT | constants.INVERT_Y | constants.STACK_POSITION
    analyzer.setMeasurements(0xFFFFFF & ~overlaid & ~constants.SCIENTIFIC_NOTATION)
    manager = jimport("ij.plugin.frame.RoiManager").getRoiManager()
    yield manager
    analyzer.setMeasurements(ticked)
    manager.reset()
    manager.close()
    results = jimport("ij.WindowManager").getWindow("Results")
    if results is not None:
        jimport("ij.IJ").run("Clear Results")
        results.dispose()


def test_zip_in_the_roi_manager(ij, manager, scene, tmp_path):
    from scyjava import jimport

    labels, image = scene
    made = rois.labels_to_rois(labels, image_name=image.name, model="none", scores={3: 0.5})
    rois.write_rois(tmp_path / "rois.zip", made)
    imp = ij.to_imageplus(image)
    imp.show()
    try:
        macro = jimport("ij.IJ").runMacro
        macro('roiManager("Open", getArgument());', str(tmp_path / "rois.zip"))
        macro('roiManager("Deselect"); roiManager("Measure");', "")
        table = jimport("ij.measure.ResultsTable").getResultsTable()
        expected = measure.measure(labels, image)
        names = [f"nucleus_{label:04d}" for label in np.unique(labels[labels > 0])]
        assert [str(roi.getName()) for roi in manager.getRoisAsArray()] == names
        assert [str(manager.getName(i)) for i in range(manager.getCount())] == names
        assert manager.getRoisAsArray()[0].getProperty("score") == "0.5"
        assert table.size() == len(names)
        assert [str(table.getLabel(row)) for row in range(len(names))] == [f"scene:{name}" for name in names]
        compared = [name for name in measure.COLUMNS if table.columnExists(name)]
        assert set(measure.COLUMNS) - set(compared) == {"ROI", "Label", "area_px"}
        for name in compared:
            found = np.array(table.getColumnAsDoubles(table.getColumnIndex(name)))
            np.testing.assert_allclose(found, expected[name], rtol=1e-6, atol=1e-9, err_msg=name)
    finally:
        imp.changes = False
        imp.close()


def test_rois_saved_by_the_roi_manager(ij, manager, scene, tmp_path):
    from scyjava import jimport

    labels, _ = scene
    rois.write_rois(tmp_path / "rois.zip", rois.labels_to_rois(labels))
    macro = jimport("ij.IJ").runMacro
    macro('roiManager("Open", getArgument());', str(tmp_path / "rois.zip"))
    macro('roiManager("Deselect"); roiManager("Save", getArgument());', str(tmp_path / "saved.zip"))
    back, _ = rois.rois_to_labels(rois.read_rois(tmp_path / "saved.zip"), labels.shape)
    np.testing.assert_array_equal(back, labels)
