"""The report: what it tells, what it warns of, and that nothing in a folder can break or enter the page."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from stormseg_ij.errors import ImageError, SettingsError, StormsegError
from stormseg_ij.image import Calibration, Image, write_labels, write_png
from stormseg_ij.metrics import compare, evaluate, summarize
from stormseg_ij.pipeline import Result, output_paths
from stormseg_ij.report import write_report
from stormseg_ij.rois import labels_to_rois, write_rois

DASH = "\N{EN DASH}"
VOID = {"meta", "img", "br", "link", "input", "hr"}
RUN = {
    "settings": {"asked": {"size": "auto", "plane": None}, "used": {"size": 378, "plane": None}},
    "model": {"name": "mine", "sha256": "0f"},
    "versions": {"stormseg_ij": "1.2.3"},
    "seconds": {"network": 1.5, "refine": 0.75},
    "notes": [],
}


class Page(HTMLParser):
    """Collects elements, and fails where tags are not closed in order."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.texts = [], [], {}
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, number in self.open:
            self.texts[number] = self.texts.get(number, "") + data

    def all(self, tag, kind=None):
        return [one for name, one in self.elements if name == tag and kind in (None, *one.get("class", "").split())]

    def text(self, tag, kind=None):
        found = [n for n, (name, one) in enumerate(self.elements) if name == tag and kind in (None, one.get("class"))]
        return [self.texts.get(n, "") for n in found]

    def rows(self):
        body = self.source.split('<table class="sortable">')[1].split("</table>")[0]
        heads, *rows = body.split("<tr>")[1:]
        names = re.findall(r'<th scope="col">(.*?)</th>', heads)
        cells = [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in rows]
        return [dict(zip(names, row, strict=True)) for row in cells]


def discs(radii, shape=(200, 240), pitch=40):
    """Discs on a grid, numbered from 1; one with radius 0 is left out."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for n, radius in enumerate(radii):
        row, column = divmod(n, shape[1] // pitch)
        labels[(y - pitch // 2 - pitch * row) ** 2 + (x - pitch // 2 - pitch * column) ** 2 < radius**2] = n + 1
    return labels


def save(folder, name, labels, *, calibration=None, scores=None, **run):
    pixels = np.random.default_rng(3).poisson(4.0, labels.shape).astype(np.uint8)
    pixels[labels > 0] += 120
    ids = [int(i) for i in np.unique(labels) if i]
    scores = dict.fromkeys(ids, 0.8) if scores is None else scores
    run = {**RUN, "image": name, "nuclei": len(ids), **run}
    return Result(Image(pixels, name, calibration), labels, scores, run).save(folder, overwrite=True)


GOOD = discs([9, 10, 11, 12, 10, 9, 8, 10, 12, 11, 9, 10])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Results for four images without anything to warn of."""
    folder = tmp_path_factory.mktemp("saved")
    for name in "abcd":
        save(folder, name, GOOD, calibration=Calibration(0.5, 0.5, "micron"))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of `saved`."""
    return shutil.copytree(saved, tmp_path / "out")


# ---- what is told


def test_the_page_tells_what_is_in_the_folder(folder):
    save(folder, "d", discs([12] * 9), calibration=Calibration(0.5, 0.5, "micron"))
    report = write_report(folder)
    assert (report.path, report.images, report.nuclei) == (folder / "report.html", 4, 45)
    assert report.warnings == ()
    page = Page(report.path)
    rows = page.rows()
    assert [row["Image"] for row in rows] == list("abcd")
    areas = np.bincount(GOOD.ravel())[1:]
    expected = {"Nuclei": "12", "Median area (px)": f"{np.median(areas):.0f}", "Warnings": "0", "Time (s)": "2.2"}
    assert expected.items() <= rows[0].items()
    assert rows[0]["Median area (µm²)"] == f"{np.median(areas) / 4:.3g}"
    assert (rows[0]["Network size (px)"], rows[0]["Mean probability"]) == ("378", "0.80")
    assert page.text("h3") == list("abcd")
    assert len(page.all("path", "nucleus")) == 45 + 4  # and in the legends
    settings = page.text("details")[0]
    assert "378 (asked: auto)" in settings
    assert "1.2.3" in settings
    assert page.text("ul", "tiles")[0] == "4images45nuclei0warnings"


def test_pictures_are_inside_and_described(folder):
    page = Page(write_report(folder).path)
    images = page.all("img")
    assert len(images) == 4
    for image, name in zip(images, "abcd", strict=True):
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/jpeg;base64"
        assert PillowImage.open(io.BytesIO(base64.b64decode(data))).size == (240, 200)
        assert (image["width"], image["height"], "loading" in image) == ("480", "400", False)
        assert image["alt"] == f"Image {name} with outlines of nuclei; nuclei: 12"
    assert all(svg.get("aria-label") or svg.get("aria-hidden") == "true" for svg in page.all("svg"))


def test_nothing_points_out_of_the_page(folder):
    page = Page(write_report(folder).path)
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "data", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,"))
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
    assert not re.search(r"@import|url\(|https?:|//[a-z]", re.sub(r"base64,[\w+/=]+", "", page.source))
    policy = next(one["content"] for one in page.all("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    anchors = {one["id"] for _, one in page.elements if "id" in one}
    assert {one["href"][1:] for one in page.all("a")} <= anchors


def test_names_and_notes_cannot_enter_the_page(tmp_path):
    name = "<script>alert(1)<!-- \"'&amp;"
    evil = "</script><script>alert(2)</script><img src=x onerror=alert(3)>"
    used = {
        "settings": {"asked": {}, "used": {evil: evil, "size": evil, "plane": None}},
        "versions": {evil: [evil]},
        "seconds": {evil: evil},
    }
    save(tmp_path, name, GOOD, calibration=Calibration(1.0, 1.0, "<b>unit</b>"), notes=[evil, "a\x00b"], **used)
    page = Page(write_report(tmp_path).path)
    assert (len(page.all("script")), len(page.all("img")), page.all("b", "unit")) == (1, 1, [])
    assert page.text("h3") == [name]
    assert evil in page.text("ul", "notes")[0]
    assert page.text("details")[0].count(evil) == 7
    assert "\x00" not in page.source


def test_units_that_differ_are_told_for_each(folder):
    save(folder, "a", GOOD, calibration=Calibration(500.0, 500.0, "nm"))
    save(folder, "b", GOOD)
    rows = Page(write_report(folder).path).rows()
    assert [row["Median area (calibrated)"][-3:] for row in rows] == ["nm²", DASH, "µm²", "µm²"]


# ---- warnings


def test_images_without_nuclei_and_with_odd_ones(folder):
    save(folder, "none", np.zeros((50, 60), np.int32))
    save(folder, "odd", discs([10, 11, 9, 10, 60, 10, 0, 0, 11, 0, 9, 10, 12, 2], (400, 240)))
    report = write_report(folder)
    odd = discs([10, 11, 9, 10, 60, 10, 0, 0, 11, 0, 9, 10, 12, 2], (400, 240))
    assert report.warnings == (
        "none: no nuclei",
        f"odd: 1 nucleus is far larger than the others: nucleus_0005 ({(odd == 5).sum():,} px)",
        f"odd: 1 nucleus is far smaller than the others: nucleus_0014 ({(odd == 14).sum()} px)",
    )
    page = Page(report.path)
    assert len(page.all("path", "odd")) == 3
    assert page.text("ul", "tiles")[0].endswith("3warnings")
    assert {row["Image"]: row["Warnings"] for row in page.rows()} == dict(
        zip([*"abcd", "none", "odd"], "000012", strict=True)
    )


def test_images_whose_nuclei_differ_from_the_others(folder):
    save(folder, "large", discs([19] * 12, (300, 240)), calibration=Calibration(0.5, 0.5, "micron"))
    (warning,) = write_report(folder).warnings
    assert re.fullmatch(
        r"large: its median nucleus area is 3\.\d times that of the folder's images \(z = \+\d+\.\d\)", warning
    )
    # the same nuclei with smaller pixels are no larger
    save(folder, "large", discs([19] * 12, (300, 240)), calibration=Calibration(0.27, 0.27, "micron"))
    assert write_report(folder, overwrite=True).warnings == ()


def test_low_scores(folder, tmp_path):
    for name in "abcd":
        write_labels(tmp_path / "truth" / f"{name}.tif", np.roll(GOOD, 12 if name == "b" else 0, axis=1))
    report = write_report(folder, truth=tmp_path / "truth")
    assert report.warnings == ("b: F1 is only 0.00: 0 of 12 true nuclei were found, 12 nuclei are false",)


@pytest.mark.parametrize("key", ["labels", "rois", "measurements", "overlay", "run"])
def test_outputs_that_are_missing_or_damaged(folder, key):
    path = output_paths(folder, "b")[key]
    whole = path.read_bytes()
    for data in (b"", b"\xff\xfe{[", whole[: len(whole) // 2]):
        path.write_bytes(data)
        report = write_report(folder, overwrite=True)
        (warning,) = report.warnings
        assert warning.startswith("b: ")
        assert path.name in warning
        assert ("\n" in warning, str(folder) in warning, len(warning) < 250) == (False, False, True)
        assert report.images == 4
        assert len(Page(report.path).all("article")) == 4
    path.unlink()
    report = write_report(folder, overwrite=True)
    assert report.warnings == (f"b: {path.name} is missing",)
    assert len(Page(report.path).all("img")) == (3 if key == "overlay" else 4)


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("run", "[]", "it holds no JSON object"),
        ("run", "[" * 100_000, "cannot read b_run.json"),
        ("measurements", "Area,Circ.\n1,2\n", "has no column area_px"),
        (
            "measurements",
            "Area,Circ.,area_px\n1,1,3\n1,two,3\n",
            "b_measurements.csv is damaged: line 3 has 'two' in column Circ.",
        ),
        ("run", '{"nuclei": -5}', "b_run.json is damaged: its number of nuclei is -5"),
        ("measurements", "Area,Circ.,area_px\n1,1,1e308\n", "b_measurements.csv is damaged: line 2 has '1e308'"),
        ("measurements", "Area,Circ.,area_px\n1\n", "has 'None' in column Circ."),
        (
            "measurements",
            "Area,Circ.,area_px\n1,1,4\n",
            "numbers of nuclei differ: 12 in b_labels.tif, 1 in b_measurements.csv",
        ),
    ],
)
def test_outputs_that_hold_something_else(folder, key, text, words):
    output_paths(folder, "b")[key].write_text(text)
    (warning,) = write_report(folder).warnings
    assert words in warning


@pytest.mark.parametrize(
    "run",
    [
        {},
        {"settings": 3, "seconds": [], "model": None, "notes": 5},
        {"settings": {"used": {"size": 10**400}}, "seconds": {"x": None}},
        {"settings": {"used": {"size": -5}}, "seconds": {"x": 1e308, "y": 1e308}},
    ],
)
def test_run_files_of_any_shape(folder, run):
    output_paths(folder, "b")["run"].write_text(json.dumps(run))
    report = write_report(folder)
    assert report.warnings == ()
    assert Page(report.path).rows()[1]["Network size (px)"] == DASH


# ---- truth


def scored(name):
    """The good nuclei with some of them missing, moved, halved, and one that is none."""
    truth = GOOD.copy()
    truth[truth == 2] = 0
    truth = np.where(np.roll(truth == 5, 6, axis=0), 5, np.where(truth == 5, 0, truth))
    truth[150:170, 100 : 120 + len(name)] = 30
    return truth.astype(np.int32)


def test_scores_are_those_of_evaluate(folder, tmp_path):
    truth = tmp_path / "labels"
    for name in "abc":
        write_labels(truth / f"{name}.tif", scored(name))
    write_rois(truth / "c_rois.zip", labels_to_rois(scored("c")))
    (truth / "c.tif").rename(truth / "c_labels.tif")
    for name in "ab":
        (truth / f"{name}.tif").rename(truth / f"{name}_labels.tif")
    write_labels(truth / "extra_labels.tif", GOOD)
    report = write_report(folder, truth=truth)
    expected = evaluate(folder, truth)
    assert report.warnings == (
        "d: there is no truth for it in labels",
        "labels/extra_labels.tif: there are no results for it",
    )
    page = Page(report.path)
    rows = page.rows()
    for row, score in zip(rows, expected["images"], strict=False):
        assert (row["Image"], row["F1 at 0.7"]) == (score["name"], f"{score['f1']:.3f}")
        assert (row["FN %"], row["FP %"]) == (f"{score['fn_percent']:.1f}", f"{score['fp_percent']:.1f}")
        assert row["Hausdorff (px)"] == f"{score['hausdorff_px']:.2f}"
    assert (rows[3]["F1 at 0.7"], rows[3]["Splits"]) == (DASH, DASH)
    assert f"{expected['mean']['f1']:.3f}mean F1 at IoU > 0.7 of 3 images with truth" in page.text("ul", "tiles")[0]
    agreement = compare(GOOD, scored("a"))
    assert (len(agreement.hits), len(agreement.missed), len(agreement.false)) == (10, 2, 2)
    for kind, ids in (("hit", agreement.hits), ("missed", agreement.missed), ("false", agreement.false)):
        assert len(page.all("path", kind)) == 3 * len(ids) + 3  # and in the legends
    assert "found (IoU > 0.7): 10, missed: 2, false: 2" in page.all("img")[0]["alt"]
    assert len(page.all("polyline", "curve")) == 4
    assert "iou 0.50: f1" in page.source.lower()


def test_truth_beside_the_results(folder):
    write_rois(folder / "b_truth.zip", labels_to_rois(GOOD))
    write_png(folder / "c_truth.png", (GOOD > 0).astype(np.uint8) * 255)
    rows = Page(write_report(folder).path).rows()
    assert [row["F1 at 0.7"] for row in rows] == [DASH, "1.000", "1.000", DASH]
    write_labels(folder / "truth" / "d.tif", scored("d"))
    report = write_report(folder, overwrite=True)
    assert "a: there is no truth for it in truth" in report.warnings
    assert [row["F1 at 0.7"] for row in Page(report.path).rows()][0:3:2] == [DASH, DASH]


def test_a_truth_folder_that_fits_nothing_stops_only_who_asked_for_it(folder):
    write_labels(folder / "truth" / "other.tif", GOOD)
    (warning,) = write_report(folder).warnings
    assert "('a', ...) is one in" in warning
    with pytest.raises(ImageError, match="is one in"):
        write_report(folder, truth=folder / "truth", overwrite=True)


def test_another_iou(folder):
    write_labels(folder / "a_truth.tif", scored("a"))
    rows = Page(write_report(folder, iou=0.3).path).rows()
    expected = summarize([compare(GOOD, scored("a"), iou=0.3).score])
    assert rows[0]["F1 at 0.3"] == f"{expected['mean']['f1']:.3f}"
    assert "F1 at 0.5" in rows[0]
    rows = Page(write_report(folder, iou=0.5, overwrite=True).path).rows()
    assert "F1 at 0.5" in rows[0]


def bad_labels(path, kind):
    """Write a label image that cannot be used; return what is said of it."""
    if kind == "shape":
        write_labels(path, GOOD[:-1])
        return "give equal sizes"
    if kind == "floats":
        tifffile.imwrite(path, GOOD + np.float32(0.5))
        return "values that are no integers"
    if kind == "truncated":
        write_labels(path, GOOD)
        path.write_bytes(path.read_bytes()[:-1000])
        return "it is truncated"
    tifffile.imwrite(path, np.stack([GOOD, GOOD]).astype(np.uint16))
    return "is no label image: it has 3 dimensions"


@pytest.mark.parametrize("kind", ["shape", "floats", "truncated", "stack"])
def test_truth_that_cannot_be_used(folder, kind):
    words = bad_labels(folder / "b_truth.tif", kind)
    (warning,) = write_report(folder).warnings
    assert warning.startswith("b: ")
    assert words in warning
    assert ("\n" in warning, str(folder) in warning) == (False, False)
    with pytest.raises(ImageError, match=words):
        evaluate(folder / "b_labels.tif", folder / "b_truth.tif")


def test_empty_truth_and_empty_prediction(folder):
    empty = np.zeros_like(GOOD)
    save(folder, "b", empty, calibration=Calibration(0.5, 0.5, "micron"))
    save(folder, "c", empty, calibration=Calibration(0.5, 0.5, "micron"))
    for name, truth in (("a", empty), ("b", empty), ("c", GOOD)):
        write_labels(folder / "truth" / f"{name}.tif", truth)
    report = write_report(folder)
    assert report.warnings == (
        "d: there is no truth for it in truth",
        "a: F1 is only 0.00: 0 of 0 true nuclei were found, 12 nuclei are false",
        "b: no nuclei",
        "c: no nuclei",
        "c: F1 is only 0.00: 0 of 12 true nuclei were found, 0 nuclei are false",
    )
    assert [row["F1 at 0.7"] for row in Page(report.path).rows()] == ["0.000", "1.000", "0.000", DASH]
    scores = evaluate(folder, folder / "truth")["images"]
    assert [score["f1"] for score in scores] == [0.0, 1.0, 0.0]


# ---- calls that are refused


def test_calls_that_are_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    write_labels(tmp_path / "other" / "x.tif", GOOD)
    (folder / "there.html").touch()
    for call, words, code in (
        (lambda: write_report(tmp_path / "no"), f"{tmp_path / 'no'} is no folder", 1),
        (lambda: write_report(tmp_path / "empty"), "has no results (NAME_run.json, NAME_labels.tif,", 1),
        (lambda: write_report(folder, folder / "there.html"), "there.html exists; give --overwrite", 1),
        (lambda: write_report(folder, tmp_path), "give a name that ends in .html", 2),
        (lambda: write_report(folder, folder / "a_labels.tif", overwrite=True), "ends in .html", 2),
        (lambda: write_report(folder, iou=1.0), "--iou", 2),
        (lambda: write_report(folder, truth=tmp_path / "no"), "is no folder", 1),
        (lambda: write_report(folder, truth=folder / "a_labels.tif"), "is no folder", 1),
        (lambda: write_report(folder, truth=tmp_path / "empty"), "has no label images and no ROI files", 1),
        (lambda: write_report(folder, truth=tmp_path / "other"), "('a', ...) is one in", 1),
        (lambda: write_report(folder, folder / "a_run.json" / "x.html"), "cannot write", 1),
    ):
        with pytest.raises(StormsegError, match=re.escape(words)) as caught:
            call()
        assert caught.value.exit_code == code
        assert isinstance(caught.value, SettingsError if code == 2 else ImageError)
        assert "\n" not in str(caught.value)
    assert (folder / "there.html").read_bytes() == b""
    assert not (folder / "report.html").exists()


def test_nothing_is_left_behind_and_the_results_stay(folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_report(folder, tmp_path / "new" / "page.html", track=iter)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
