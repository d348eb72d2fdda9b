"""Score Against Truth in ImageJ's window: the numbers of `metrics`, a row for each run, and outlines in the image."""

import dataclasses

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from stormseg_ij import metrics, rois
from stormseg_ij.commands.scoring import TABLE, TAG
from stormseg_ij.commands.segmenting import coloured
from stormseg_ij.image import Image, write_labels
from stormseg_ij.roi_files import decoded

pytestmark = pytest.mark.window

SHAPE = (80, 100)
COLUMNS = ["Image", "Truth", "IoU", "F1", "FN %", "FP %", "Hausdorff px", "True", "Found", "Matched"]


@pytest.fixture(scope="module")
def java(ij):
    from scyjava import jimport

    return jimport


@pytest.fixture(autouse=True)
def _tidy(person):
    """Nothing is open before and after each test."""


@pytest.fixture(scope="module")
def truth():
    """Nuclei with gaps in their numbers."""
    field = ndimage.gaussian_filter(np.random.default_rng(8).normal(size=SHAPE), 3.0)
    return ndimage.label(field > np.quantile(field, 0.7))[0].astype(np.int32) * 2


@pytest.fixture(scope="module")
def found(truth):
    """The truth with two nuclei missed, one moved and one that is none."""
    labels = truth.copy()
    present = np.unique(truth[truth > 0])
    labels[np.isin(truth, present[[1, 4]])] = 0
    one = np.roll(truth == present[6], 2, axis=0)
    labels[truth == present[6]] = 0
    labels[one & (labels == 0)] = present[6]
    corner = np.argwhere(ndimage.uniform_filter((truth == 0).astype(float), 7, mode="constant") > 0.999)[0]
    labels[corner[0] - 2 : corner[0] + 3, corner[1] - 2 : corner[1] + 3] = present[-1] + 5
    return labels


@pytest.fixture(scope="module")
def pair(found, truth):
    return found, truth


@pytest.fixture
def scene(ij, bench, found):
    """An image of one plane whose nuclei are `found`."""
    imp = ij.to_imageplus(Image(np.ones(SHAPE, np.uint8), "storm.tif"))
    imp.show()
    made = [coloured(roi) for roi in rois.labels_to_rois(found, image_name="storm")]
    bench.session.put(imp, made, "append", command="test", by="hand")
    return imp


@pytest.fixture
def score(java):
    def command(imp, truth, more=""):
        java("ij.IJ").run(imp, "Score Against Truth", f"truth=[{truth}] {more}")

    return command


@pytest.fixture
def refused(java, score):
    """Run the command where it must fail; give its message."""

    def command(imp, truth, more=""):
        import jpype

        java("ij.IJ").redirectErrorMessages(True)
        with pytest.raises(jpype.JException, match="Macro canceled"):
            score(imp, truth, more)
        java("ij.IJ").redirectErrorMessages(False)
        return str(java("ij.IJ").getLog())

    return command


@pytest.fixture
def rows(java):
    """Rows of the table of scores; numbers where they are."""

    def read():
        table = java("ij.measure.ResultsTable").getResultsTable(TABLE)
        assert table is not None
        assert [str(heading) for heading in table.getHeadings()] == COLUMNS
        return [
            [str(table.getStringValue(name, i)) if name in COLUMNS[:2] else table.getValue(name, i) for name in COLUMNS]
            for i in range(table.size())
        ]

    return read


def _outlines(bench, imp):
    """Labels of the outlines that the command drew, by their colours."""
    drawn = {"ff00ff": [], "ff8c00": []}
    for data in bench.desk.overlay(imp, TAG):
        roi = decoded(data)
        drawn[roi.stroke_color[1:].hex()].append(roi)
    return drawn["ff00ff"], drawn["ff8c00"]


def _expected(found, truth, iou):
    score = dataclasses.asdict(metrics.score(found, truth, iou=iou))
    return [iou, *(score[key] for key in ("f1", "fn_percent", "fp_percent", "hausdorff_px", "n_true", "n_pred")),
            score["n_matched"]]  # fmt: skip


def _assert_drawn(bench, imp, found, truth, iou=0.7):
    """The overlay shows the pixels of what is missed and of what is false."""
    agreement = metrics.compare(found, truth, iou=iou)
    for drawn, labels, numbers in zip(
        _outlines(bench, imp), (truth, found), (agreement.missed, agreement.false), strict=True
    ):
        painted, _ = rois.rois_to_labels(drawn, SHAPE)
        np.testing.assert_array_equal(painted > 0, np.isin(labels, numbers))
        assert [rois.roi_number(roi.name.split(" ", 1)[1]) for roi in drawn] == numbers.tolist()
    assert len(agreement.missed) > 1
    assert len(agreement.false) > 0


@pytest.mark.parametrize("iou", [0.7, 0.3])
def test_against_a_label_image(bench, scene, score, rows, pair, tmp_path, iou):
    found, truth = pair
    write_labels(tmp_path / "true labels.tif", truth)
    score(scene, tmp_path / "true labels.tif", f"iou={iou}")
    (row,) = rows()
    assert row[:2] == ["storm.tif", "true labels.tif"]
    np.testing.assert_allclose(row[2:], _expected(found, truth, iou))
    _assert_drawn(bench, scene, found, truth, iou)


def test_against_a_roi_zip(bench, scene, score, rows, found, truth, tmp_path):
    rois.write_rois(tmp_path / "true.zip", rois.labels_to_rois(truth))
    score(scene, tmp_path / "true.zip")
    (row,) = rows()
    np.testing.assert_allclose(row[2:], _expected(found, truth, 0.7))
    _assert_drawn(bench, scene, found, truth)


def test_against_an_open_label_image(bench, scene, score, rows, found, truth):
    bench.desk.show_labels([truth], "the truth", scene)
    score(scene, "the truth")
    (row,) = rows()
    assert row[:2] == ["storm.tif", "the truth"]
    np.testing.assert_allclose(row[2:], _expected(found, truth, 0.7))


def test_a_row_for_each_run(java, bench, scene, score, rows, pair, tmp_path):
    """Of the overlay only our outlines are replaced."""
    found, truth = pair
    write_labels(tmp_path / "a.tif", truth)
    write_labels(tmp_path / "b.tif", found)
    theirs = java("ij.gui.Overlay")(java("ij.gui.Roi")(1, 2, 3, 4))
    scene.setOverlay(theirs)
    before = bench.desk.manager.rois()
    scene.setRoi(5, 6, 7, 8)
    score(scene, tmp_path / "a.tif")
    missed, false = _outlines(bench, scene)
    assert scene.getOverlay().size() == 1 + len(missed) + len(false)
    score(scene, tmp_path / "b.tif")
    assert scene.getOverlay().size() == 1  # nothing missed, nothing false
    score(scene, tmp_path / "a.tif")
    score(scene, tmp_path / "a.tif", "colour=false")
    assert _outlines(bench, scene) == ([], [])
    bounds = scene.getOverlay().get(0).getBounds()
    assert (bounds.x, bounds.y, bounds.width, bounds.height) == (1, 2, 3, 4)
    table = rows()
    assert [row[1] for row in table] == ["a.tif", "b.tif", "a.tif", "a.tif"]
    assert [row[3] for row in table[1:2]] == [1.0]
    assert table[0][2:] == table[2][2:] == table[3][2:]
    frame = java("ij.WindowManager").getFrame(TABLE)
    assert frame.getTextPanel().getLineCount() == 4
    assert bench.desk.manager.rois() == before
    assert scene.getRoi().getBounds().x == 5


def test_no_nucleus_found_is_a_score_too(java, ij, bench, score, rows, truth, tmp_path):
    imp = ij.to_imageplus(Image(np.ones(SHAPE, np.uint8), "empty.tif"))
    imp.show()
    write_labels(tmp_path / "a.tif", truth)
    score(imp, tmp_path / "a.tif")
    (row,) = rows()
    n = len(np.unique(truth)) - 1
    assert np.isnan(row[6])
    assert row[3:6] + row[7:] == [0.0, 100.0, 0.0, n, 0, 0]
    assert "the ROI Manager has no nucleus of empty.tif: scored as none found" in str(java("ij.IJ").getLog())
    assert len(_outlines(bench, imp)[0]) == n


def test_the_shown_plane_of_a_stack(java, ij, bench, score, rows, pair, tmp_path):
    found, truth = pair
    imp = ij.to_imageplus(Image(np.ones(SHAPE, np.uint8), "storm.tif"))
    stack = java("ij.ImageStack")(imp.getWidth(), imp.getHeight())
    for _ in range(3):
        stack.addSlice(ij.to_imageplus(Image(np.ones(SHAPE, np.uint8), "x")).getProcessor())
    imp.setStack(stack)
    imp.show()
    bench.session.put(
        imp, rois.labels_to_rois(found, image_name="storm", position=2), "append", command="test", by="hand"
    )
    others = rois.labels_to_rois(truth, image_name="storm", position=3)
    bench.session.put(imp, others, "append", command="test", by="hand")
    imp.setSlice(2)
    write_labels(tmp_path / "a.tif", truth)
    score(imp, tmp_path / "a.tif")
    bench.desk.show_labels([found * 0, truth, truth], "true stack", imp)
    score(imp, "true stack")
    rois.write_rois(
        tmp_path / "a.zip",
        [*rois.labels_to_rois(found, position=1), *rois.labels_to_rois(truth, position=2)],
    )
    score(imp, tmp_path / "a.zip")
    table = rows()
    assert {row[0] for row in table} == {"storm.tif:2"}
    for row in table:
        np.testing.assert_allclose(row[2:], _expected(found, truth, 0.7))
    assert {roi.position for drawn in _outlines(bench, imp) for roi in drawn} == {2}
    log = str(java("ij.IJ").getLog())
    assert f"the ROIs: only the shown plane, 2, is scored; {len(others)} ROIs on other planes left out" in log
    assert imp.getCurrentSlice() == 2


def test_notes_go_to_the_log(java, bench, scene, score, rows, truth, tmp_path):
    twice = [*rois.labels_to_rois(truth), rois.labels_to_rois(truth)[0]]
    rois.write_rois(tmp_path / "twice.zip", twice)
    score(scene, tmp_path / "twice.zip")
    assert rows()[0][7] == len(twice) - 1
    assert f"twice.zip: {twice[0].name}: left out: it lies under earlier ROIs" in str(java("ij.IJ").getLog())


def test_what_is_no_truth(ij, java, bench, scene, refused, tmp_path, truth):
    message = refused(scene, "")
    assert "truth is empty; give a label image, a ROI zip, or the title of an open label image" in message
    message = refused(scene, "nowhere.tif")
    assert "truth=nowhere.tif is no file and no open image; give the path, or the title of an open one" in message
    write_labels(tmp_path / "small.tif", truth[:50, :60])
    message = refused(scene, tmp_path / "small.tif")
    assert "the truth small.tif is 60 x 50 pixels, storm.tif is 100 x 80; give that of this image" in message
    message = refused(scene, "storm.tif")
    assert "truth=storm.tif is the active image itself" in message
    tifffile.imwrite(tmp_path / "float.tif", truth + np.float32(0.5))
    assert "values that are no integers" in refused(scene, tmp_path / "float.tif")
    ij.rgb_to_imageplus(np.zeros((*SHAPE, 3), np.uint8), name="rgb").show()
    assert "rgb is no label image: RGB converted" in refused(scene, "rgb")
    stack = java("ij.IJ").createImage("five", "8-bit", SHAPE[1], SHAPE[0], 5)
    stack.show()
    assert "the truth five has 5 planes, not 1; give that of this image" in refused(scene, "five")
    assert java("ij.measure.ResultsTable").getResultsTable(TABLE) is None
    assert scene.getOverlay() is None


def test_in_batch_mode(java, bench, truth, found, tmp_path):
    write_labels(tmp_path / "true.tif", truth)
    tifffile.imwrite(tmp_path / "storm.tif", np.ones(SHAPE, np.uint8), imagej=True)
    rois.write_rois(tmp_path / "storm.zip", rois.labels_to_rois(found))
    source = """
    setBatchMode(true);
    folder = getArgument();
    open(folder + "/storm.tif");
    roiManager("Open", folder + "/storm.zip");
    run("Score Against Truth", "truth=[" + folder + "/true.tif] iou=0.5 colour=false");
    return "" + Table.get("F1", 0, "Nuclei Scores") + " " + nImages;
    """
    returned = str(java("ij.IJ").runMacro(source, str(tmp_path)))
    f1, images = returned.split()
    assert float(f1) == pytest.approx(metrics.score(found, truth, iou=0.5).f1, abs=1e-4)  # as the macro writes it
    assert images == "1"
