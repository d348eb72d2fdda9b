"""ROIs and measurements against ImageJ itself: its decoder, its masks, its wand, its Measure."""

import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from roifile import ROI_TYPE, ImagejRoi
from scipy import ndimage

from stormseg_ij import labels as pieces
from stormseg_ij import measure, regions, rois
from stormseg_ij.image import Calibration, Image

LABELS = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=10), elements=st.sampled_from([0, 0, 1, 2, 9])
)
TICKED = [
    "AREA", "MEAN", "STD_DEV", "MODE", "MIN_MAX", "CENTROID", "CENTER_OF_MASS", "PERIMETER", "RECT", "ELLIPSE",
    "SHAPE_DESCRIPTORS", "FERET", "INTEGRATED_DENSITY", "MEDIAN", "SKEWNESS", "KURTOSIS", "AREA_FRACTION",
]  # fmt: skip


@pytest.fixture(scope="module")
def java(ij):
    """Look up a Java class, or (``java[float](values)``) make a Java array."""
    import jpype
    from scyjava import jimport

    class Java:
        def __call__(self, name):
            return jimport(name)

        def __getitem__(self, kind):
            types = {int: jpype.JInt, float: jpype.JFloat, bytes: jpype.JByte}
            return jpype.JArray(types[kind])

    return Java()


@pytest.fixture(scope="module")
def decode(java):
    decoder = java("ij.io.RoiDecoder")
    return lambda data, name="": decoder(java[bytes](np.frombuffer(data, np.int8)), name).getRoi()


def _pixels(roi, shape):
    """ImageJ's mask of a ROI, at its place in an image."""
    box, mask = roi.getBounds(), roi.getMask()
    inside = np.ones((box.height, box.width), bool)
    if mask is not None:
        inside = np.asarray(mask.getPixels(), np.int8).reshape(box.height, box.width) != 0
    whole = np.zeros(shape, bool)
    top, left = max(box.y, 0), max(box.x, 0)
    part = inside[top - box.y : shape[0] - box.y, left - box.x : shape[1] - box.x]
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


def _blobs(seed, shape, *, sigma=1.5, connected=True):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    mask = field > np.quantile(field, 0.6)
    return (ndimage.label(mask)[0] * 2 if connected else mask * 5).astype(np.int32)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(labels=LABELS)
def test_mask_in_imagej_is_the_label(decode, tmp_path_factory, labels):
    path = tmp_path_factory.getbasetemp() / "labels.zip"
    rois.write_rois(path, rois.labels_to_rois(labels))
    found = np.zeros_like(labels)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            roi = decode(archive.read(name), name)
            assert f"{roi.getName()}.roi" == name
            found[_pixels(roi, labels.shape)] = int(name[8:-4])
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("seed", range(3))
def test_blobs_with_holes_and_islands(decode, seed):
    labels = _blobs(seed, (90, 70), connected=seed > 0)
    for roi in rois.labels_to_rois(labels):
        np.testing.assert_array_equal(_pixels(decode(roi.tobytes()), labels.shape), labels == int(roi.name[8:]))


@pytest.mark.parametrize("offset", [32_760, 40_000, 60_530, 65_530, 70_000])
@pytest.mark.parametrize("axis", [0, 1])
def test_far_from_the_origin(decode, offset, axis):
    near = np.array(
        [[1, 1, 1, 1, 0, 2, 2], [1, 1, 0, 0, 0, 2, 2], [1, 0, 0, 3, 3, 3, 0], [0, 0, 0, 3, 0, 3, 3]], np.int32
    )
    near[3, 4] = 0
    near = near if axis else np.ascontiguousarray(near.T)
    far = np.pad(near, [(0, 0), (offset, 5)] if axis else [(offset, 5), (0, 0)])
    for there, here in zip(rois.labels_to_rois(far), rois.labels_to_rois(near), strict=True):
        roi, same = decode(there.tobytes()), decode(here.tobytes())
        np.testing.assert_array_equal(_pixels(roi, far.shape), far == int(there.name[8:]))
        assert roi.getLength() == pytest.approx(same.getLength())
        assert roi.getFeretValues()[0] == pytest.approx(same.getFeretValues()[0])


@pytest.mark.parametrize("axis", [0, 1])
def test_wide_and_tall_images_by_windows(decode, tmp_path, monkeypatch, axis):
    monkeypatch.setattr(regions, "_WINDOW_PX", 20_000)
    near = ndimage.label(_blobs(4, (12, 40_000)) > 0)[0].astype(np.int32)
    near = near * ((near % 50 == 1) | (near > near.max() - 40))  # some hundred, many of them far out
    labels = near if axis else np.ascontiguousarray(near.T)
    labels, _ = pieces.renumber(labels, {})
    rois.write_rois(tmp_path / "wide.zip", rois.iterate_rois(labels))
    found = np.zeros_like(labels)
    with zipfile.ZipFile(tmp_path / "wide.zip") as archive:
        for name in archive.namelist():
            roi = decode(archive.read(name), name)
            box = roi.getBounds()
            spot = found[box.y : box.y + box.height, box.x : box.x + box.width]
            mask = np.ones(spot.shape, bool) if roi.getMask() is None else None
            if mask is None:
                mask = np.asarray(roi.getMask().getPixels(), np.int8).reshape(spot.shape) != 0
            spot[mask] = int(name[8:-4])
    np.testing.assert_array_equal(found, labels)


def test_imagej_opens_a_zip_of_more_than_65_535_rois(java, decode, tmp_path):
    labels = np.zeros((532, 532), np.int32)
    labels[::2, ::2] = np.arange(1, 266 * 266 + 1).reshape(266, 266)
    path = tmp_path / "many.zip"
    rois.write_rois(path, rois.iterate_rois(labels))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"nucleus_{label:04d}.roi" for label in range(1, 266 * 266 + 1)]
    stream = java("java.util.zip.ZipInputStream")(java("java.io.FileInputStream")(str(path)))  # as the ROI Manager does
    count = 0
    try:
        while (entry := stream.getNextEntry()) is not None:
            count += 1
            if count % 7_000 == 0 or count > 70_750:
                name = str(entry.getName())
                roi = decode(bytes(stream.readAllBytes()), name.removesuffix(".roi"))
                assert str(roi.getName()) == f"nucleus_{count:04d}" == name.removesuffix(".roi")
                y, x = np.argwhere(labels == count)[0].tolist()
                assert (roi.getXBase(), roi.getYBase()) == (x, y)
    finally:
        stream.close()
    assert count == 266 * 266 > 65_535
    directory = java("java.util.zip.ZipFile")(str(path))  # by the directory at its end, which is ZIP64
    assert directory.size() == count
    directory.close()


def test_single_piece_is_what_the_wand_traces(ij, java, decode):
    labels = ndimage.label(ndimage.binary_fill_holes(_blobs(5, (80, 80)) > 0))[0].astype(np.int32)
    wand_class, traced = java("ij.gui.Wand"), java("ij.gui.Roi").TRACED_ROI
    compared = 0
    for roi in rois.labels_to_rois(labels):
        mask = labels == int(roi.name[8:])
        if roi.composite:
            continue
        wand = wand_class(ij.to_imageplus(Image(mask.astype(np.uint8), "mask")).getProcessor())
        y, x = np.argwhere(mask)[0].tolist()
        wand.autoOutline(x, y, 1.0, 1.0, wand_class.FOUR_CONNECTED)
        ours = decode(roi.tobytes())
        assert ours.getType() == traced
        expected = np.stack([wand.xpoints[: wand.npoints], wand.ypoints[: wand.npoints]], axis=1)
        np.testing.assert_array_equal(roi.coordinates(), expected)
        compared += 1
    assert compared > 10


def test_name_properties_and_position_in_imagej(decode):
    image_name = 'a\\b µ Ω c: d=e #1 "q" \U0001f52c'
    (roi,) = rois.labels_to_rois(
        np.full((2, 2), 12_345, np.int32), image_name=image_name, model="star dist", scores={12_345: 0.5}, position=3
    )
    found = decode(roi.tobytes())
    assert found.getName() == "nucleus_12345"
    assert found.getProperty("image") == image_name
    assert found.getProperty("model") == "star dist"
    assert float(str(found.getProperty("score"))) == 0.5
    assert (found.getPropertyCount(), found.getPosition()) == (3, 3)


def _draw(java, kind, rng):
    """Make a ROI as a person draws it, of random size and place, also over the image's edge."""
    roi, polygon, shape = java("ij.gui.Roi"), java("ij.gui.PolygonRoi"), java("ij.gui.ShapeRoi")
    x, y = rng.uniform(-5.0, 30.0, 2).tolist()
    width, height = rng.uniform(0.2, 25.0, 2).tolist()
    n = int(rng.integers(3, 9))
    whole = int(x), int(y), int(np.ceil(width)), int(np.ceil(height))
    if kind in ("rectangle", "oval"):
        made = roi if kind == "rectangle" else java("ij.gui.OvalRoi")
        return made(*whole) if rng.random() < 0.5 else made(x, y, width, height)
    if kind in ("polygon", "freehand", "traced"):
        points = rng.uniform(-3.0, 40.0, (2, n)).round(1)
        code = {"polygon": roi.POLYGON, "freehand": roi.FREEROI, "traced": roi.TRACED_ROI}[kind]
        if rng.random() < 0.5 or kind == "traced":
            return polygon(*(java[int](axis.astype(int).tolist()) for axis in points), n, code)
        return polygon(*(java[float](axis.tolist()) for axis in points), n, code)
    if kind == "ellipse":
        return java("ij.gui.EllipseRoi")(*rng.uniform(0.0, 30.0, 4).tolist(), float(rng.uniform(0.2, 1.0)))
    if kind == "rotated":
        return java("ij.gui.RotatedRectRoi")(*rng.uniform(0.0, 30.0, 4).tolist(), float(rng.uniform(1.0, 10.0)))
    made = shape(roi(1, 1, 30, 20))
    made.or_(shape(_draw(java, "polygon", rng))).not_(shape(_draw(java, "oval", rng)))
    rounded = roi(*whole)
    rounded.setCornerDiameter(7)
    return made.xor(shape(rounded))


@pytest.mark.parametrize(
    "kind", ["rectangle", "oval", "polygon", "freehand", "traced", "ellipse", "rotated", "composite"]
)
def test_drawn_rois_hold_the_pixels_that_imagej_gives_them(java, decode, kind):
    rng = np.random.default_rng(sum(kind.encode()))
    shape, encoder = (30, 40), java("ij.io.RoiEncoder")
    for _ in range(40):
        data = bytes(encoder.saveAsByteArray(_draw(java, kind, rng)))
        labels, notes = rois.rois_to_labels([ImagejRoi.frombytes(data)], shape)
        expected = _pixels(decode(data), shape)
        np.testing.assert_array_equal(labels > 0, expected)
        assert expected.any() or "left out" in notes[0]


def test_rois_saved_again_by_imagej(java, decode):
    labels = _blobs(7, (60, 60))
    encoder = java("ij.io.RoiEncoder")
    saved = [
        ImagejRoi.frombytes(bytes(encoder.saveAsByteArray(decode(roi.tobytes()))))
        for roi in rois.labels_to_rois(labels, image_name="blobs", position=2)
    ]
    back, _ = rois.rois_to_labels(saved, labels.shape)
    np.testing.assert_array_equal(back, labels)
    assert {(roi.properties["image"], roi.position) for roi in saved} == {("blobs", 2)}


def _imagej_measure(ij, java, decode, labels, image):
    """Columns of Analyze > Measure with everything ticked, one row per ROI."""
    imp, table, constants = ij.to_imageplus(image), java("ij.measure.ResultsTable")(), java("ij.measure.Measurements")
    ticked = sum(int(getattr(constants, name)) for name in TICKED)
    analyzer = java("ij.plugin.filter.Analyzer")(imp, ticked, table)
    for roi in rois.labels_to_rois(labels):
        imp.setRoi(decode(roi.tobytes()))
        analyzer.measure()
    return {str(name): np.array(table.getColumnAsDoubles(table.getColumnIndex(name))) for name in table.getHeadings()}


def _compare(found, expected):
    assert set(expected) == set(measure.COLUMNS) - {"ROI", "Label", "area_px"}
    for name, values in expected.items():
        # Skew and Kurt of nearly equal pixels are differences of large numbers.
        tolerance = 1e-6 if name in ("Skew", "Kurt") else 1e-12
        np.testing.assert_allclose(found[name], values, rtol=tolerance, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "calibration",
    [None, Calibration(0.5, 0.5, "micron"), Calibration(0.1, 0.3, "micron"), Calibration(20.0, 20.1, "nm")],
    ids=["uncalibrated", "square", "oblong", "nearly square"],
)
def test_measurements_are_imagejs(ij, java, decode, kind, calibration):
    rng = np.random.default_rng(3)
    highest = {"uint8": 255, "uint16": 60_000, "float32": 1}[kind]
    for seed, connected in ((1, True), (2, True), (3, False)):
        labels = _blobs(seed, (60, 75), sigma=0.8 * seed, connected=connected)
        values = rng.random(labels.shape) * highest - (0.5 if kind == "float32" else 0.0)
        values[rng.random(labels.shape) < 0.4] = 0.0
        image = Image(values.astype(kind), "cells", calibration)
        _compare(measure.measure(labels, image), _imagej_measure(ij, java, decode, labels, image))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    labels=LABELS.filter(np.any),
    kind=st.sampled_from(["uint8", "uint16", "float32"]),
    grays=st.sampled_from([[0], [7], [0, 1], [3, 200]]),
    seed=st.integers(0, 99),
)
def test_measurements_of_odd_nuclei_are_imagejs(ij, java, decode, labels, kind, grays, seed):
    pixels = np.random.default_rng(seed).choice(grays, labels.shape).astype(kind)
    image = Image(pixels, "odd", Calibration(0.5, 0.5, "micron"))
    _compare(measure.measure(labels, image), _imagej_measure(ij, java, decode, labels, image))


def test_imagej_opens_the_table(java, tmp_path):
    labels = _blobs(1, (40, 40))
    image = Image(labels.astype(np.uint8), "cells", Calibration(0.1, 0.3, "micron"))
    table = measure.measure(labels, image, scores={2: 0.75})
    measure.write_csv(tmp_path / "table.csv", table)
    opened = java("ij.measure.ResultsTable").open(str(tmp_path / "table.csv"))
    assert [str(name) for name in opened.getHeadings()] == [*measure.COLUMNS, "score"]
    assert opened.size() == len(table["ROI"])
    for row, (name, perimeter) in enumerate(zip(table["ROI"], table["Perim."], strict=True)):
        assert opened.getStringValue("ROI", row) == name
        assert opened.getValue("Perim.", row) == pytest.approx(perimeter, rel=1e-9)
    assert opened.getValue("score", 0) == 0.75
    assert np.isnan(opened.getValue("score", 1))


def test_empty_rectangle_is_no_nucleus(java):
    empty = java("ij.gui.ShapeRoi")(java("ij.gui.Roi")(2, 2, 3, 3))
    empty.not_(java("ij.gui.ShapeRoi")(java("ij.gui.Roi")(0, 0, 9, 9)))
    roi = ImagejRoi.frombytes(bytes(java("ij.io.RoiEncoder").saveAsByteArray(empty)))
    assert roi.roitype == ROI_TYPE.RECT
    labels, notes = rois.rois_to_labels([roi], (9, 9))
    assert not labels.any()
    assert notes == ("ROI 1: left out: it is empty",)
