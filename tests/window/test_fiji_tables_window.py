"""What Groovy does with ImageJ's tables and pixels in Fiji is what the bridge does: bit by bit, side by side."""

import base64
import json
import math
import sys
from pathlib import Path

import jpype
import numpy as np
import pytest
import tifffile
from fiji import put_on_class_path
from results import draw
from scipy import ndimage
from scyjava import jimport

from stormseg_ij import rois
from stormseg_ij.bridge.desktop import Desktop
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
STEPS = {
    "smaller": [["resize", 53, 41]], "larger": [["resize", 150, 101]], "blurred": [["blur", 1.7]],
    "16-bit": [["to_16bit", None]], "limited": [["to_16bit", [0.25, 1.5]]],
    "all": [["resize", 70, 57], ["blur", 0.8], ["to_16bit", None], ["equalize"]], "none": [],
}  # fmt: skip

STANDINS = {
    "Desk.groovy": "class Desk { ij.ImagePlus imageOf(int number) { ij.WindowManager.getImage(number) } }",
    "Rois.groovy": """
        class Rois {
            static ij.gui.Roi decoded(String roi) { ij.io.RoiDecoder.openFromByteArray(roi.decodeBase64()) }
            static int reads
            Map<Long, ij.gui.Roi> listed() {
                reads++
                def rois = ij.plugin.frame.RoiManager.getInstance2()?.getRoisAsArray()?.toList() ?: []
                rois.withIndex(1).collectEntries { roi, number -> [(number as Long): roi] }
            }
        }
        """,
    "Calls.groovy": """
        class Calls {
            static tables = new Tables(new Desk(), new Rois())
            static parsed(String json) { new groovy.json.JsonSlurper().parseText(json) }
            static int measure(String json, int rois) {
                int left = rois
                tables.measure(parsed(json), { -> left-- == 0 })
            }
            static void addRows(String json) { tables.addRows(parsed(json)) }
            static process(pixels, String json) {
                new Processing().process([pixels: pixels, steps: parsed(json)])
            }
            static equalization(histogram) { new Processing().equalization([histogram: histogram]) }
        }
        """,
}


@pytest.fixture(scope="module")
def load(ij, repository, tmp_path_factory):
    """Load a class of Java, of Appose, or of the Groovy files."""
    folder = tmp_path_factory.mktemp("groovy")
    for name, source in STANDINS.items():
        (folder / name).write_text(source, encoding="utf-8")
    put_on_class_path()
    groovy, thread = jimport("groovy.lang.GroovyClassLoader"), jimport("java.lang.Thread").currentThread()
    loader, before = groovy(groovy.class_.getClassLoader()), thread.getContextClassLoader()
    thread.setContextClassLoader(loader)  # by which Appose finds what makes shared memory here
    for path in (folder, repository / "fiji_scripts" / "lib"):
        loader.addClasspath(str(path))
    yield lambda name: jpype.JClass(loader.loadClass(name))
    thread.setContextClassLoader(before)


@pytest.fixture(scope="module")
def calls(load):
    return load("Calls")


@pytest.fixture(autouse=True)
def _tidy(ij):
    """Set Measurements asks for everything; nothing is open afterwards."""
    _ask(EVERYTHING)
    yield
    jimport("ij.IJ").runMacro('close("*");')
    manager = jimport("ij.plugin.frame.RoiManager").getInstance2()
    if manager is not None:
        manager.reset()
        manager.close()
    _ask("area mean min redirect=None decimal=3")
    _clear()


def _ask(asked):
    jimport("ij.plugin.filter.Analyzer").setMeasurements(0)
    jimport("ij.IJ").run("Set Measurements...", asked)


def _clear():
    """Empty Results and close the tables."""
    images = jimport("ij.WindowManager")
    jimport("ij.IJ").runMacro('run("Clear Results");')
    for title in list(images.getNonImageTitles()):
        if isinstance(window := images.getWindow(title), jimport("ij.text.TextWindow")):
            window.close(False)


def _pixels(dtype, seed=1, shape=SHAPE):
    pixels = np.random.default_rng(seed).normal(0.4, 0.4, shape)
    return pixels.astype(dtype) if dtype == "float32" else (pixels.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


@pytest.fixture
def shown(ij):
    """Show an image, of several planes where there are several arrays."""

    def show(*planes, calibration=MICRONS, title="storm.tif"):
        imp = ij.to_imageplus(Image(planes[0], title, calibration))
        if len(planes) > 1:
            stack = jimport("ij.ImageStack")(imp.getWidth(), imp.getHeight())
            for i, plane in enumerate(planes):
                stack.addSlice(f"plane {i}", ij.to_imageplus(Image(plane, title)).getProcessor())
            imp.setStack(stack)
        imp.show()
        return imp

    return show


def _wanted(imp=None, planes=(1,)):
    """Nuclei, and what a person drew if an image is given; texts and numbers in further columns, some missing."""
    labels = ndimage.label(ndimage.gaussian_filter(_pixels("float32", 4), 2.0) > 0.42)[0].astype(np.int32)  # with holes
    found = [roi.tobytes() for roi in rois.labels_to_rois(labels, image_name="storm")]
    if imp is not None:
        draw(jimport, imp)
        found += range(1, jimport("ij.plugin.frame.RoiManager").getInstance2().getCount() + 1)  # as the bridge counts
    scores = [
        {},
        {"score": 0.1 + 0.2},
        {"score": float("nan"), "count": 7},
        {"score": 1},
        {"kind": "odd", "mixed": 2.5},
    ]
    return [
        Measured(
            roi, planes[i % len(planes)], {"ROI": f"nucleus {i}", **scores[i % 5], "mixed": "é" if i % 3 else 1e-9}
        )
        for i, roi in enumerate(found)
    ]


def _sent(cells):
    """What the worker sends of a row: JSON has no NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in cells.items()}


def _json(imp, wanted):
    """What the worker sends to measure."""
    listed = [
        {
            "roi": base64.b64encode(one.roi).decode() if isinstance(one.roi, bytes) else one.roi,
            "plane": one.plane,
            "extra": _sent(one.extra),
        }
        for one in wanted
    ]
    return json.dumps({"image": int(imp.getID()), "wanted": listed})


def _table(title="Results"):
    """All of a table: headings, numbers to the last bit, texts, labels, and the text in its window."""
    results = jimport("ij.measure.ResultsTable").getResultsTable(title)
    columns = []
    for heading in [str(heading) for heading in results.getHeadings()]:
        index, texts = int(results.getColumnIndex(heading)), [str(text) for text in results.getColumnAsStrings(heading)]
        numbers = np.array(results.getColumn(heading)).tobytes() if index < int(results.COLUMN_NOT_FOUND) else b""
        columns.append((heading, texts, numbers))
    labels = [str(results.getLabel(i)) for i in range(results.size())]
    window = jimport("ij.WindowManager").getWindow(title)
    return columns, labels, str(window.getTextPanel().getText()), bool(results.showRowNumbers())


def _side_by_side(ij, calls, imp, wanted, before=lambda: None):
    """Measure by the bridge and by Groovy, from the same start; give the number of rows."""
    _clear()
    before()
    rows = Desktop(ij).measure(imp, wanted)
    expected = _table()
    _clear()
    before()
    assert calls.measure(_json(imp, wanted), -1) == rows
    found = _table()
    for mine, theirs in zip(found[0], expected[0], strict=True):
        assert mine == theirs
    assert found == expected
    assert len(expected[1]) == rows >= len(wanted)
    return rows


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("calibration", [None, MICRONS, Calibration(0.1, 0.3, "um")], ids=["none", "square", "oblong"])
def test_rows(ij, calls, shown, dtype, calibration):
    imp = shown(_pixels(dtype), calibration=calibration)
    _side_by_side(ij, calls, imp, _wanted(imp))


@pytest.mark.parametrize(
    "asked", [f"{EVERYTHING} limit invert", "mean median limit redirect=None decimal=7",
              "area scientific redirect=None decimal=2", f"{EVERYTHING} nan add", "redirect=None decimal=3"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_set_measurements_asks(ij, calls, shown, dtype, asked):
    imp = shown(_pixels(dtype))
    if dtype != "float32":
        straight = jimport("ij.measure.Calibration").STRAIGHT_LINE
        imp.getCalibration().setFunction(straight, jpype.JArray.of(np.array([5.0, 0.25])), "OD")
    highest = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    imp.getProcessor().setThreshold(0.2 * highest, 0.7 * highest, 1)
    _ask(asked)
    _side_by_side(ij, calls, imp, _wanted())


def test_values_that_are_not_numbers(ij, calls, shown):
    pixels = _pixels("float32")
    pixels[20:50, 20:50] = np.nan
    pixels[60:70, 60:70] = np.inf
    _side_by_side(ij, calls, shown(pixels), _wanted())


def test_redirected(ij, calls, shown):
    imp = shown(_pixels("uint8"), _pixels("uint8", 2))
    other = shown(_pixels("uint16"), _pixels("uint16", 5), title="other.tif")
    other.setSlice(2)
    _ask(EVERYTHING.replace("None", "other.tif"))
    digits = lambda: jimport("ij.measure.ResultsTable").getResultsTable().setPrecision(2)  # noqa: E731
    _side_by_side(ij, calls, imp, _wanted(planes=(1, 2)), digits)
    assert other.getCurrentSlice() == 2


def test_redirected_to_an_image_of_another_size(calls, shown):
    imp = shown(_pixels("uint8"))
    shown(_pixels("uint8", shape=(20, 30)), title="small.tif")
    _ask(EVERYTHING.replace("None", "small.tif"))
    jimport("ij.IJ").redirectErrorMessages(True)
    with pytest.raises(jpype.JException, match=r"storm\.tif is not measured: the image to redirect to is missing"):
        calls.measure(_json(imp, _wanted()), -1)
    jimport("ij.IJ").redirectErrorMessages(False)


@pytest.mark.parametrize("kind", ["stack", "hyperstack", "composite", "virtual"])
def test_planes(ij, calls, shown, tmp_path, kind):
    planes = [_pixels("uint16", seed) for seed in range(12)]
    if kind == "virtual":
        tifffile.imwrite(tmp_path / "virtual.tif", np.stack(planes), imagej=True)
        imp = jimport("ij.plugin.FileInfoVirtualStack").openVirtual(str(tmp_path / "virtual.tif"))
        imp.show()
        assert imp.getStack().isVirtual()
    else:
        imp = shown(*planes)
    if kind in ("hyperstack", "composite"):
        imp.setDimensions(2, 3, 2)
        imp.setOpenAsHyperStack(True)
    if kind == "composite":
        imp.hide()
        imp = jimport("ij.CompositeImage")(imp, 1)
        imp.show()
    imp.setSlice(4)
    if kind == "stack":  # a filter may give the shown plane other pixels than the stack has
        imp.getProcessor().setPixels(ij.to_imageplus(Image(planes[5], "")).getProcessor().getPixels())
    imp.getProcessor().setThreshold(9_000, 40_000, 1)
    _ask(f"{EVERYTHING} limit")
    _side_by_side(ij, calls, imp, _wanted(planes=(4, 4, 1, 12, 7)))


def test_rgb(ij, calls):
    imp = ij.rgb_to_imageplus(np.stack([_pixels("uint8", seed) for seed in (1, 2, 3)], axis=-1), name="storm.tif")
    imp.show()
    _side_by_side(ij, calls, imp, _wanted())


@pytest.mark.parametrize(
    ("macro", "rows"),
    [
        ('run("Measure");', 1),
        ('run("Measure"); run("Measure"); run("Summarize");', 2),
        ('run("Measure"); IJ.renameResults("kept");', 0),
        ('for (i = 0; i < 30; i++) setResult("Mean", i, i / 7); updateResults();', 30),
        ('setResult("Gene", 0, "lmnb1"); setResult("Mean", 0, 7); setResult("score", 0, 3); updateResults();', 1),
        ('setResult("Label", 0, "a"); setResult("score", 0, "no"); setResult("kind", 1, 2); updateResults();', 2),
    ],
    ids=["measured", "summarized", "renamed", "digits", "elsewhere", "texts"],
)
@pytest.mark.parametrize("empty", ["", " nan"])
def test_rows_are_added_to_those_there(ij, calls, shown, macro, rows, empty):
    _ask(f"{EVERYTHING}{empty}")
    imp, wanted = shown(_pixels("uint8")), _wanted()
    before = lambda: jimport("ij.IJ").runMacro(macro)  # noqa: E731
    assert _side_by_side(ij, calls, imp, wanted, before) == rows + len(wanted)


def test_columns_stay_when_less_is_measured(ij, calls, shown):
    imp, wanted = shown(_pixels("uint8")), _wanted()
    tables = []
    for measure in (lambda: Desktop(ij).measure(imp, wanted), lambda: calls.measure(_json(imp, wanted), -1)):
        _clear()
        _ask(EVERYTHING)
        jimport("ij.IJ").runMacro('run("Measure"); IJ.renameResults("kept");')  # a table without headings
        measure()
        jimport("ij.IJ").run(imp, "Measure", "")
        tables.append(_table())
        _ask("area perimeter redirect=None decimal=3")
        measure()
        tables.append(_table())
    assert tables[:2] == tables[2:]
    headings = {heading for heading, *_ in tables[1][0]}
    assert headings - {"Slice"} == {"Area", "Perim.", "ROI", "mixed", "score", "count", "kind"}


def test_nothing_else_changes(ij, calls, load, shown):
    planes = [_pixels("uint16", seed) for seed in (1, 2)]
    imp = shown(*planes)
    wanted = _wanted(imp, planes=(2, 1))
    manager = jimport("ij.plugin.frame.RoiManager").getInstance2()
    manager.setSelectedIndexes([1, 4])
    imp.setRoi(10, 20, 30, 40)
    imp.setSlice(1)
    imp.getProcessor().setThreshold(9, 99, 1)
    overlay, processor, roi, imp.changes = imp.getOverlay(), imp.getProcessor(), imp.getRoi(), False
    entries = Desktop(ij).manager.entries()
    reads = load("Rois").getReads()
    calls.measure(_json(imp, wanted), -1)
    assert load("Rois").getReads() == reads + 1  # not once for each ROI
    assert Desktop(ij).manager.entries() == entries
    assert list(manager.getSelectedIndexes()) == [1, 4]
    assert (imp.getCurrentSlice(), imp.changes, imp.isLocked()) == (1, False, False)
    assert (imp.getOverlay(), imp.getProcessor(), imp.getRoi()) == (overlay, processor, roi)
    assert (processor.getMinThreshold(), processor.getMaxThreshold()) == (9.0, 99.0)
    assert jimport("ij.WindowManager").getImageCount() == 1
    assert jimport("ij.plugin.filter.Analyzer").getUMeans() is None
    for i, pixels in enumerate(planes):
        np.testing.assert_array_equal(ij.from_imageplus(imp, plane=i + 1).pixels, pixels)


@pytest.mark.parametrize("rois_before", [0, 2, "last"])
def test_a_stop_leaves_results_as_they_were(calls, shown, rois_before):
    imp, wanted = shown(_pixels("uint8")), _wanted()
    jimport("ij.IJ").run(imp, "Measure", "")
    before = _table()
    with pytest.raises(jpype.JException, match="stopped by Escape"):
        calls.measure(_json(imp, wanted), len(wanted) if rois_before == "last" else rois_before)
    assert _table() == before


def test_a_roi_that_is_gone(ij, calls, shown):
    imp = shown(_pixels("uint8"))
    wanted = _wanted(imp)
    jimport("ij.IJ").run(imp, "Measure", "")
    before = _table()
    jimport("ij.plugin.frame.RoiManager").getInstance2().reset()
    message = "the ROI Manager was changed meanwhile; start again"
    with pytest.raises(jpype.JException, match=message):
        calls.measure(_json(imp, wanted), -1)
    with pytest.raises(BridgeError, match=message):
        Desktop(ij).measure(imp, wanted)
    assert _table() == before


@pytest.mark.parametrize("title", ["Results", "Nuclei per image"])
def test_rows_of_our_own(ij, calls, title):
    rows = [{"image": "a", "n": 12, "area": 0.1}, {"image": "b é", "area": math.nan}, {"more": 1 / 3, "area": 2}]
    tables = []
    sent = json.dumps({"title": title, "rows": [_sent(row) for row in rows]})
    for add in (lambda: Desktop(ij).add_rows(title, rows), lambda: calls.addRows(sent)):
        _clear()
        add()
        add()
        tables.append(_table(title))
    assert tables[0] == tables[1]
    assert len(tables[0][1]) == 6


@pytest.fixture
def array(load):
    """Make an array in shared memory as Appose hands them over."""
    kind, shape = load("org.apposed.appose.NDArray"), load("org.apposed.appose.NDArray$Shape")
    types, orders = load("org.apposed.appose.NDArray$DType"), load("org.apposed.appose.NDArray$Shape$Order")

    def make(pixels):
        made = kind(types.fromLabel(pixels.dtype.name), shape(orders.C_ORDER, jpype.JArray(jpype.JInt)(pixels.shape)))
        np.frombuffer(memoryview(made.buffer()), pixels.dtype)[:] = pixels.ravel()
        return made

    return make


def _taken(made):
    """Copy what came back, and close it."""
    shape = tuple(int(size) for size in made.shape().toIntArray())
    pixels = np.frombuffer(memoryview(made.buffer()), str(made.dType().label())).reshape(shape).copy()
    made.close()
    return pixels


def _by_bridge(ij, pixels, steps):
    imp = ij.to_imageplus(Image(pixels, "storm", MICRONS))
    methods = {"resize": ij.resize, "blur": ij.gaussian_blur, "to_16bit": ij.to_16bit, "equalize": ij.equalize}
    for name, *values in steps:
        methods[name](imp, *values)
    return ij.from_imageplus(imp).pixels


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels(ij, calls, array, dtype, steps):
    pixels = _pixels(dtype)
    sent = array(pixels)
    found = _taken(calls.process(sent, json.dumps(steps)))
    expected = _by_bridge(ij, pixels, steps)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    if sys.platform == "linux":
        assert not Path("/dev/shm", str(sent.shm().name()).lstrip("/")).exists()  # closed by who received it


def test_what_cannot_be_equalized(calls, array):
    sent = array(_pixels("float32"))
    with pytest.raises(jpype.JException, match="ImageJ cannot equalize a 32-bit image; convert it to 8-bit or 16-bit"):
        calls.process(sent, '[["equalize"]]')
    with pytest.raises(jpype.JException, match="ImageJ cannot hold float64 pixels"):
        calls.process(array(np.ones(SHAPE)), "[]")


@pytest.mark.parametrize("values", [256, 65_536])
def test_equalization(ij, calls, array, values):
    counts = np.random.default_rng(3).integers(0, 900, values).astype(np.int64)
    counts[values // 3 : values // 2] = 0
    counts[7] = 2**31 - 1 - counts.sum()
    found, expected = _taken(calls.equalization(array(counts.astype(np.int32)))), ij.equalization(counts)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
