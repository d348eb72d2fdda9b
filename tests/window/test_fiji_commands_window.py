"""Every command in Fiji leaves what it leaves in ImageJ hosted by Python, and finds what the command line finds."""

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from driver import Driver, until
from fiji import put_on_class_path, running
from roifile import ImagejRoi

from stormseg_ij import commands, headers
from stormseg_ij.roi_files import write_rois
from stormseg_ij.rois import iterate_rois, labels_to_rois

pytestmark = pytest.mark.window

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\t\n]*")
TITLE = "tissue one.tif"
WITHOUT_NUCLEI = ("Preprocess STORM Image", "Segment Nuclei")
MASK_RCNN = "Segment Nuclei, by Mask R-CNN"
OPTIONS = {
    "Preprocess STORM Image": "size=120 blur=1.5 equalize=true", "Segment Nuclei": "rois=replace label_image=true",
    "Measure Nuclei": "nuclei=all", "Score Against Truth": "truth=[TRUTH] iou=0.5", "Smooth Nuclei": "sigma=1.5",
    "Labels to ROIs": "rois=append", MASK_RCNN: "model=mask-rcnn-storm size=180",
}  # fmt: skip
ALIKE = [command.name for command in headers.commands() if command.name not in ("Restore Nuclei", "StormSeg Doctor")]
CASES = [*ALIKE, MASK_RCNN]


class Hosted:
    """ImageJ hosted by Python: its commands take the macro's line."""

    def __init__(self, workbench):
        self.driver = Driver(workbench)

    def macro(self, name, options=""):
        return self.driver.macro(f'run("{name}", "{options}");')


@pytest.fixture(scope="session", autouse=True)
def _jars():
    """Before ImageJ starts, if it does not run already: as in Fiji."""
    put_on_class_path()


@pytest.fixture(scope="module")
def fiji(ij, elsewhere, tmp_path_factory):
    with running(ij, tmp_path_factory.mktemp("fiji")) as made:
        yield made


@pytest.fixture(scope="module")
def make_scene(sample, result, tmp_path_factory):
    """Make the same scene for any door: the image in a folder of its own, and its nuclei in the ROI Manager."""
    rois = list(iterate_rois(result.labels, image_name="tissue one", model="stardist-storm", scores=result.scores))
    truth = tmp_path_factory.mktemp("truth") / "truth of.zip"
    write_rois(truth, rois[:-3])

    def make(door, *, nuclei=True):
        door.driver.tidy()
        folder = tmp_path_factory.mktemp("scene")
        shutil.copy(sample, folder)
        imp = door.driver.open(folder / TITLE)
        if nuclei:
            door.driver.put(*rois)
        return imp

    make.truth = truth
    return make


def prepare(door, name, imp):
    """Do what a person does before the command."""
    driver = door.driver
    if name in ("Merge Nuclei", "Smooth Nuclei"):
        driver.select(0, 1)
    elif name in ("Split Nucleus", "Delete Nuclei"):
        driver.select(2)
    elif name == "Fill Holes in Nuclei":
        labels = np.zeros((imp.getHeight(), imp.getWidth()), np.int32)
        labels[20:60, 30:80] = 900
        labels[30:40, 40:55] = 0
        driver.put(*labels_to_rois(labels, image_name="tissue one"))
        driver.select(len(driver.names()) - 1)
    elif name == "Redraw Nucleus":
        driver.select(2)
        driver.macro("getSelectionBounds(x, y, width, height); makeRectangle(x + 1, y + 2, width - 3, height - 3);")
    elif name in ("Undo Correction", "Show Corrections"):
        driver.select(1)
        door.macro("Delete Nuclei")
    elif name == "Labels to ROIs":
        door.macro("ROIs to Labels")
        driver.manager().reset()


def left_by(door, make_scene, case):
    """Run a command in its scene; return what was said, and the state without the times of day."""
    name = case.partition(",")[0]
    imp = make_scene(door, nuclei=name not in WITHOUT_NUCLEI)
    prepare(door, name, imp)
    before = door.driver.state()
    outcome = door.macro(name, OPTIONS.get(case, " ").replace("TRUTH", str(make_scene.truth)))
    state = door.driver.state()
    assert name == "Next Nucleus to Review" or state != before, outcome
    log = [re.sub(r"in [\d.]+ s", "", line) for line in outcome.log]
    texts = {title: _TIME.sub("TIME", text) for title, text in state["texts"].items()}
    return outcome.said, log, {**state, "texts": texts}


@pytest.fixture(scope="module")
def elsewhere(ij, make_scene):
    """What each command leaves in ImageJ hosted by Python."""
    workbench = commands.install(ij)
    try:
        door = Hosted(workbench)
        return {case: left_by(door, make_scene, case) for case in CASES}
    finally:
        workbench.close()


@pytest.mark.parametrize("case", CASES)
def test_each_command_leaves_what_it_leaves_elsewhere(fiji, make_scene, elsewhere, case):
    assert left_by(fiji, make_scene, case) == elsewhere[case]


def test_segment_finds_what_the_command_line_finds(fiji, make_scene, result, tmp_path):
    imp = make_scene(fiji, nuclei=False)
    outcome = fiji.menu("Segment Nuclei")
    assert (outcome.said, outcome.dialogs) == ([], [])
    fiji.driver.seen(lambda: fiji.driver.manager().save(str(tmp_path / "in Fiji.zip")))
    found, wanted = (_coordinates(path) for path in (tmp_path / "in Fiji.zip", result.save(tmp_path)["rois"]))
    assert len(found) == result.count > 10
    assert list(found) == list(wanted)
    assert found == wanted
    assert imp.getOverlay() is None


def _coordinates(path):
    """Return the bytes of all that says where a ROI lies, by the names in a zip."""
    with zipfile.ZipFile(path) as file:
        rois = {name: ImagejRoi.frombytes(file.read(name)) for name in file.namelist()}
    return {
        name: (
            roi.roitype, roi.subtype, (roi.left, roi.top, roi.right, roi.bottom),
            *(None if part is None else np.asarray(part).tobytes()
              for part in (roi.integer_coordinates, roi.subpixel_coordinates, roi.multi_coordinates)),
        )
        for name, roi in rois.items()
    }  # fmt: skip


def test_what_a_person_fills_in_is_done(fiji, make_scene, result):
    imp = make_scene(fiji, nuclei=False)
    outcome = fiji.menu("Segment Nuclei", {"rois": "overlay", "label_image": True, "refine": "no"})
    assert outcome.said == []
    assert fiji.driver.names() == []
    assert imp.getOverlay().size() > 10
    assert [str(image.getTitle()) for image in fiji.driver.images()] == [TITLE, "tissue one_labels"]
    usual = {"rois": "append", "label_image": False, "refine": "auto"}
    fiji.driver.macro(f'selectImage("{TITLE}");')
    fiji.menu("Segment Nuclei", usual, cancel=True)
    assert fiji.driver.names() == []
    fiji.menu("Segment Nuclei", usual)
    assert len(fiji.driver.names()) == result.count


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("Segment Nuclei", "sise=512", "no setting 'sise'; did you mean 'size'?"),
        ("Segment Nuclei", "size=9999999", "size '9999999': give a whole number from 8 to 100000 or 'auto'"),
        ("Smooth Nuclei", "sigma=0", "sigma '0': give a number above 0"),
        ("Score Against Truth", "truth=nowhere.zip", "nowhere.zip"),
    ],
)
def test_what_is_wrong_in_a_macro_is_one_line_and_changes_nothing(fiji, make_scene, name, options, fault):
    make_scene(fiji)
    fiji.driver.select(0)
    before = fiji.driver.state()
    (said,) = fiji.macro(name, options).said
    assert fault in said
    assert "\n" not in said
    assert fiji.driver.state() == before


@pytest.mark.parametrize("name", ["Segment Nuclei", "Measure Nuclei", "Undo Correction"])
def test_without_an_image_a_command_says_so(fiji, name):
    fiji.driver.tidy()
    (said,) = fiji.macro(name, "x=1").said
    assert "no image" in said.lower(), said


def test_restore_brings_back_what_was_corrected(fiji, make_scene):
    imp = make_scene(fiji)
    folder = str(imp.getOriginalFileInfo().directory)
    fiji.driver.select(1)
    fiji.macro("Delete Nuclei", " ")
    left = fiji.driver.rois()
    until(lambda: len(list(Path(folder).iterdir())) > 1, "the nuclei are saved")
    fiji.driver.close_manager()
    assert fiji.macro("Restore Nuclei", " ").said == []
    assert fiji.driver.rois() == left


def test_the_doctor_tells_what_there_is(fiji):
    fiji.driver.tidy()
    assert fiji.macro("StormSeg Doctor", " ").said == []
    ((title, text),) = fiji.driver.texts().items()
    assert "StormSeg" in title
    for word in ("Java", "tensorflow", "stardist-storm"):
        assert word in text
