"""Measure Nuclei in ImageJ's window: the rows that the ROI Manager's own Measure gives, and nothing else changes."""

import time

import numpy as np
import pytest
from results import assert_equal, by_roi_manager, draw, table
from scipy import ndimage

from stormseg_ij import measure, rois
from stormseg_ij.commands.job import StoppedError
from stormseg_ij.commands.segmenting import coloured
from stormseg_ij.desk import Measured
from stormseg_ij.errors import BridgeError
from stormseg_ij.image import Calibration, Image

pytestmark = pytest.mark.window

SHAPE = (90, 110)
MICRONS = Calibration(0.02, 0.02, "micron")
EVERYTHING = (
    "area mean standard modal min centroid center perimeter bounding fit shape feret's integrated median skewness "
    "kurtosis area_fraction stack display redirect=None decimal=4"
)


@pytest.fixture(scope="module")
def java(ij):
    from scyjava import jimport

    return jimport


@pytest.fixture(autouse=True)
def _asked(java, person):
    """Set Measurements asks for everything; the desk is tidy afterwards."""
    java("ij.plugin.filter.Analyzer").setMeasurements(0)
    java("ij.IJ").run("Set Measurements...", EVERYTHING)
    yield
    java("ij.IJ").run("Set Measurements...", "area mean min redirect=None decimal=3")
    java("ij.IJ").runMacro('run("Clear Results");')
    results = java("ij.WindowManager").getWindow("Results")
    if results is not None:
        results.close()


def _labels(seed=4, shape=SHAPE):
    """Labels with gaps, holes and pieces."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    labels = ndimage.label(field > np.quantile(field, 0.6))[0].astype(np.int32) * 3
    labels[labels == 6] = 3
    return labels


def _pixels(dtype, seed=1, shape=SHAPE):
    values = np.random.default_rng(seed).random(shape) * {"uint8": 255, "uint16": 60_000, "float32": 2}[dtype]
    values[:, ::7] = 0.0
    return (values - (0.5 if dtype == "float32" else 0.0)).astype(dtype)


@pytest.fixture
def shown(ij, java):
    """Show an image, of several planes where there are several arrays."""

    def show(*planes, calibration=MICRONS, title="storm.tif"):
        imp = ij.to_imageplus(Image(planes[0], title, calibration))
        if len(planes) > 1:
            stack = java("ij.ImageStack")(imp.getWidth(), imp.getHeight())
            for i, plane in enumerate(planes):
                stack.addSlice(f"plane {i}", ij.to_imageplus(Image(plane, title)).getProcessor())
            imp.setStack(stack)
        imp.show()
        return imp

    return show


@pytest.fixture
def add(bench):
    """Add nuclei to the ROI Manager, with scores."""

    def put(imp, labels, *, position=0):
        scores = {int(label): label / 1000.0 for label in np.unique(labels)}
        made = rois.labels_to_rois(labels, image_name="storm", model="m", scores=scores, position=position)
        made = [coloured(roi) for roi in made]
        bench.session.put(imp, made, "append", command="test", by="model m")
        return made

    return put


@pytest.fixture
def run(java):
    def command(imp, options="nuclei=all"):
        java("ij.IJ").run(imp, "Measure Nuclei", options)
        return table(java)

    return command


@pytest.fixture
def refused(java):
    """Run the command where it must fail; give its message."""

    def command(imp, options="nuclei=all"):
        import jpype

        java("ij.IJ").redirectErrorMessages(True)
        with pytest.raises(jpype.JException, match="Macro canceled"):
            java("ij.IJ").run(imp, "Measure Nuclei", options)
        java("ij.IJ").redirectErrorMessages(False)
        return str(java("ij.IJ").getLog())

    return command


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "calibration", [None, MICRONS, Calibration(0.1, 0.3, "micron")], ids=["none", "square", "oblong"]
)
def test_rows_are_those_of_the_roi_manager(java, shown, add, run, dtype, calibration):
    imp, labels = shown(_pixels(dtype), calibration=calibration), _labels()
    made = add(imp, labels)
    drawn = draw(java, imp)
    found = run(imp)
    assert_equal(found, by_roi_manager(java, imp))
    assert found["ROI"] == [*(roi.name for roi in made), *(f"drawn {i}" for i in range(drawn))]
    scores = [*(rois.roi_number(roi.name) / 1000.0 for roi in made), *[np.nan] * drawn]
    np.testing.assert_allclose(found["score"][0], scores)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_rows_are_those_of_measure(java, shown, add, run, dtype):
    imp, labels = shown(_pixels(dtype)), _labels()
    add(imp, labels)
    found = run(imp)
    expected = measure.measure(labels, Image(_pixels(dtype), "storm", MICRONS))
    compared = set(measure.COLUMNS) - {"ROI", "Label", "area_px"}
    assert compared < set(found)
    for heading in compared:
        np.testing.assert_allclose(found[heading][0], expected[heading], rtol=1e-6, atol=1e-9, err_msg=heading)
    assert found["ROI"] == expected["ROI"].tolist()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_set_measurements_asks(java, shown, add, run, dtype):
    """A threshold to limit to, calibrated grays, Y from below, few columns, scientific notation."""
    imp = shown(_pixels(dtype))
    add(imp, _labels())
    if dtype != "float32":
        from jpype import JArray

        imp.getCalibration().setFunction(
            java("ij.measure.Calibration").STRAIGHT_LINE, JArray.of(np.array([5.0, 0.25])), "OD"
        )
    highest = {"uint8": 255, "uint16": 60_000, "float32": 2}[dtype]
    imp.getProcessor().setThreshold(0.2 * highest, 0.7 * highest, 1)
    for asked in (
        f"{EVERYTHING} limit invert", "mean median limit redirect=None decimal=7",
        "area scientific redirect=None decimal=2",
    ):  # fmt: skip
        java("ij.plugin.filter.Analyzer").setMeasurements(0)
        java("ij.IJ").runMacro('run("Clear Results");')
        java("ij.IJ").run("Set Measurements...", asked)
        found = run(imp)
        assert_equal(found, by_roi_manager(java, imp))
        if "limit" in asked:
            assert np.nanmax(found["Mean"][0]) > np.nanmin(found["Mean"][0])


def test_redirected_to_another_image(java, shown, add, run):
    imp = shown(_pixels("uint8"), _pixels("uint8", 2))
    add(imp, _labels(), position=2)
    other = shown(_pixels("uint16"), _pixels("uint16", 5), title="other.tif")
    other.setSlice(1)
    java("ij.IJ").run("Set Measurements...", EVERYTHING.replace("None", "other.tif"))
    found = run(imp)
    assert other.getCurrentSlice() == 1
    assert found["Max"][0].max() > 255
    assert_equal(found, by_roi_manager(java, imp))


def test_redirected_to_an_image_of_another_size(bench, java, shown, add):
    imp = shown(_pixels("uint8"))
    (roi, *_) = add(imp, _labels())
    shown(_pixels("uint8", shape=(20, 30)), title="small.tif")
    java("ij.IJ").run("Set Measurements...", EVERYTHING.replace("None", "small.tif"))
    java("ij.IJ").redirectErrorMessages(True)
    with pytest.raises(BridgeError, match=r"storm\.tif is not measured: the image to redirect to"):
        bench.desk.measure(imp, [Measured(roi.tobytes())])
    java("ij.IJ").redirectErrorMessages(False)


def test_each_nucleus_on_its_plane(java, shown, add, run):
    planes = [_pixels("uint16", seed) for seed in (1, 2, 3)]
    imp, labels = shown(*planes), _labels()
    for position in (3, 1):
        add(imp, np.where(labels == 3 * position, labels, 0), position=position)
    imp.setSlice(2)
    found = run(imp)
    assert found["Slice"][0].tolist() == [3.0, 1.0]
    assert found["Label"] == ["storm.tif:nucleus_0009:plane 2", "storm.tif:nucleus_0003:plane 0"]
    assert_equal(found, by_roi_manager(java, imp))
    java("ij.IJ").runMacro('run("Clear Results");')
    add(imp, np.where(labels == 12, labels, 0))  # on all planes: measured on the one that is shown
    imp.setSlice(2)
    assert run(imp)["Slice"][0].tolist() == [3.0, 1.0, 2.0]
    np.testing.assert_allclose(table(java)["Mean"][0][-1], planes[1][labels == 12].mean())


@pytest.mark.parametrize("composite", [False, True])
def test_hyperstack(java, bench, shown, run, composite):
    planes = [_pixels("uint16", seed) for seed in range(12)]
    imp = shown(*planes)
    imp.setDimensions(2, 3, 2)
    imp.setOpenAsHyperStack(True)
    if composite:
        imp.hide()
        imp = java("ij.CompositeImage")(imp, 1)
        imp.show()
    labels = _labels()
    made = rois.labels_to_rois(np.where(np.isin(labels, [3, 9]), labels, 0), image_name="storm")
    for roi, (c, z, t) in zip(made, [(2, 3, 1), (1, 1, 2)], strict=True):
        roi.c_position, roi.z_position, roi.t_position = c, z, t
    bench.session.put(imp, made, "append", command="test", by="hand")
    imp.setPosition(1, 2, 1)
    found = run(imp)
    assert (imp.getC(), imp.getZ(), imp.getT()) == (1, 2, 1)
    assert [found[name][0].tolist() for name in ("Ch", "Slice", "Frame")] == [[2.0, 1.0], [3.0, 1.0], [1.0, 2.0]]
    np.testing.assert_allclose(found["Mean"][0], [planes[5][labels == 3].mean(), planes[6][labels == 9].mean()])
    assert_equal(found, by_roi_manager(java, imp), ours=("ROI",))


def test_rgb(ij, java, add, run):
    rng = np.random.default_rng(5)
    imp = ij.rgb_to_imageplus(rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8), name="storm.tif")
    imp.show()
    add(imp, _labels())
    assert_equal(run(imp), by_roi_manager(java, imp))


def test_nothing_else_changes(ij, java, bench, shown, add, run):
    planes = [_pixels("uint16", seed) for seed in (1, 2)]
    imp = shown(*planes)
    add(imp, _labels(), position=2)
    manager = java("ij.plugin.frame.RoiManager").getInstance2()
    manager.setSelectedIndexes([1, 4])
    imp.setRoi(10, 20, 30, 40)
    imp.setSlice(1)
    imp.getProcessor().setThreshold(9, 99, 1)
    overlay = imp.getOverlay()
    imp.changes = False
    java("ij.IJ").run("Set Measurements...", f"{EVERYTHING} add")  # "Add to overlay"
    asked = java("ij.plugin.filter.Analyzer").getMeasurements()
    entries = bench.desk.manager.rois()
    processor = imp.getProcessor()
    run(imp)
    assert java("ij.plugin.filter.Analyzer").getMeasurements() == asked
    assert list(manager.getSelectedIndexes()) == [1, 4]
    assert bench.desk.manager.rois() == entries
    bounds = imp.getRoi().getBounds()
    assert (bounds.x, bounds.y, bounds.width, bounds.height) == (10, 20, 30, 40)
    assert (imp.getCurrentSlice(), imp.changes, imp.isLocked()) == (1, False, False)
    assert imp.getOverlay() == overlay
    assert imp.getProcessor() == processor
    assert (processor.getMinThreshold(), processor.getMaxThreshold()) == (9.0, 99.0)
    assert java("ij.WindowManager").getImageCount() == 1
    assert java("ij.plugin.filter.Analyzer").getUMeans() is None  # Analyze > Calibrate takes them for the user's own
    for i, pixels in enumerate(planes):
        np.testing.assert_array_equal(ij.from_imageplus(imp, plane=i + 1).pixels, pixels)


def test_rows_are_added_to_those_there(java, shown, add, run):
    imp, labels = shown(_pixels("uint8")), _labels()
    imp.setRoi(1, 1, 20, 20)
    java("ij.IJ").run(imp, "Measure", "")
    made = add(imp, labels)
    run(imp)
    found = run(imp)
    names = [roi.name for roi in made]
    assert found["ROI"] == ["", *names, *names]
    assert found["Area"][0][0] == pytest.approx(400 * 0.02**2)
    assert np.isnan(found["score"][0][0])
    np.testing.assert_array_equal(found["Mean"][0][1 : 1 + len(names)], found["Mean"][0][1 + len(names) :])
    lines = java("ij.IJ").getTextPanel().getLineCount()
    assert lines == 1 + 2 * len(names)
    # Other measurements: ImageJ takes columns out that are no longer asked for; ours stay.
    java("ij.plugin.filter.Analyzer").setMeasurements(0)
    java("ij.IJ").run("Set Measurements...", "area perimeter redirect=None decimal=3")
    fewer = table(java)
    assert "Mean" not in fewer
    assert fewer["ROI"] == ["", *names, *names]
    # The next plain Measure finds its columns.
    java("ij.IJ").run(imp, "Measure", "")
    assert len(table(java)["Area"][0]) == lines + 1


def test_summary_rows_go_as_measure_takes_them(java, shown, add, run):
    imp = shown(_pixels("uint8"))
    made = add(imp, _labels())
    run(imp)
    java("ij.IJ").run("Summarize")
    assert table(java)["Label"][-1] == "Max"
    found = run(imp)
    assert found["ROI"] == [roi.name for roi in made] * 2
    assert "Max" not in found["Label"]


def test_a_table_from_elsewhere_is_kept(java, shown, add, run):
    imp = shown(_pixels("uint8"))
    java("ij.IJ").runMacro('setResult("Gene", 0, "lmnb1"); setResult("Mean", 0, 7); updateResults();')
    made = add(imp, _labels())
    found = run(imp)
    results = java("ij.measure.ResultsTable").getResultsTable()
    assert [str(results.getStringValue("Gene", 0)), found["Mean"][0][0]] == ["lmnb1", 7.0]
    assert found["ROI"] == ["", *(roi.name for roi in made)]
    expected = by_roi_manager(java, imp)
    for heading in ("Area", "Mean", "Perim.", "Solidity"):
        np.testing.assert_array_equal(found[heading][0][1:], expected[heading][0])


def test_selected_ones_only(java, shown, add, run, refused):
    imp = shown(_pixels("uint8"))
    made = add(imp, _labels())
    manager = java("ij.plugin.frame.RoiManager").getInstance2()
    manager.deselect()
    message = refused(imp, "nuclei=selected")
    assert "no nucleus of storm.tif is selected in the ROI Manager; select some, or give nuclei=all" in message
    manager.setSelectedIndexes([2, 5])
    assert run(imp, "nuclei=selected")["ROI"] == [made[2].name, made[5].name]


def test_no_nuclei(java, shown, refused):
    message = refused(shown(_pixels("uint8")))
    assert "the ROI Manager has no ROI of storm.tif; segment it, or open its ROI zip" in message
    assert java("ij.measure.ResultsTable").getResultsTable().size() == 0


def test_nuclei_in_the_overlay(bench, shown, run):
    imp, labels = shown(_pixels("uint8")), _labels()
    made = rois.labels_to_rois(labels, image_name="storm", scores={3: 0.5})
    bench.session.put(imp, made, "overlay", command="test", by="hand")
    found = run(imp)
    assert found["ROI"] == [roi.name for roi in made]
    assert found["score"][0][0] == 0.5


def test_what_cannot_be_measured_is_told(java, shown, add, run):
    imp = shown(_pixels("uint8"), _pixels("uint8", 2))
    labels = _labels()
    add(imp, np.where(labels == 3, labels, 0))
    add(imp, np.where(labels == 9, labels, 0), position=7)
    manager = java("ij.plugin.frame.RoiManager").getInstance2()
    for name, roi in (("line", java("ij.gui.Line")(1, 1, 9, 9)), ("far", java("ij.gui.Roi")(900, 5, 20, 20))):
        roi.setName(name)
        manager.add(imp, roi, -1)
    assert run(imp)["ROI"] == ["nucleus_0003"]
    log = str(java("ij.IJ").getLog())
    assert "line: left out: a line selection has no area" in log
    assert "far: left out: it lies outside the image" in log
    assert "nucleus_0009: left out: it lies on plane 7 of 2" in log


def test_a_stop_leaves_results_as_they_were(bench, java, shown, add, refused, monkeypatch):
    imp = shown(_pixels("uint8"))
    add(imp, _labels())
    java("ij.IJ").run(imp, "Measure", "")

    def stop(i):
        if i == 2:
            raise StoppedError("stopped by Escape")

    with pytest.raises(StoppedError):
        bench.desk.measure(imp, [Measured(entry.identity) for entry in bench.desk.manager.entries()], each=stop)
    assert len(table(java)["Area"][0]) == 1
    monkeypatch.setattr(bench.desk, "escape_pressed", lambda: True)
    refused(imp)
    assert len(table(java)["Area"][0]) == 1


def test_in_batch_mode(java, bench, tmp_path):
    import tifffile

    labels = _labels()
    tifffile.imwrite(tmp_path / "storm.tif", _pixels("uint8"), imagej=True)
    rois.write_rois(tmp_path / "storm.zip", rois.labels_to_rois(labels))
    source = """
    setBatchMode(true);
    folder = getArgument();
    open(folder + "/storm.tif");
    roiManager("Open", folder + "/storm.zip");
    run("Measure Nuclei", "nuclei=all");
    return "" + nResults + " " + getResultString("ROI", nResults - 1) + " " + nImages;
    """
    before = java("ij.WindowManager").getImageCount()
    returned = str(java("ij.IJ").runMacro(source, str(tmp_path)))
    present = np.unique(labels[labels > 0])
    assert returned == f"{len(present)} nucleus_{present[-1]:04d} 1"
    assert java("ij.WindowManager").getImageCount() == before


def test_five_thousand_nuclei(java, shown, add, run):
    side = 71
    labels = np.zeros((side * 40, side * 40), np.int32)
    y, x = np.mgrid[:40, :40]
    disc = (y - 19) ** 2 + (x - 20) ** 2 < 300
    for number in range(1, 5_001):
        row, column = divmod(number - 1, side)
        labels[row * 40 : row * 40 + 40, column * 40 : column * 40 + 40][disc] = number
    imp = shown(_pixels("uint16", shape=labels.shape))
    add(imp, labels)
    start = time.process_time()
    found = run(imp)
    seconds = time.process_time() - start
    assert len(found["ROI"]) == 5_000
    assert seconds < 15.0  # of all threads, so that a busy computer does not count; 2.5 s pass where it is not
