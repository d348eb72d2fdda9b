"""Label images, and writing images of all kinds."""

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from stormseg_ij.errors import ImageError
from stormseg_ij.image import (
    Calibration,
    label_lut,
    read_image,
    read_labels,
    write_labels,
    write_png,
    write_tiff,
)

RNG = np.random.default_rng(0)
GRAY8 = RNG.integers(0, 256, (6, 7), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (6, 7), dtype=np.uint16)
GRAY32 = RNG.normal(0.0, 1e3, (6, 7)).astype(np.float32)
RGB = RNG.integers(0, 256, (6, 7, 3), dtype=np.uint8)


# ---- reading labels


def test_ids_are_kept(tmp_path):
    ids = np.array([[0, 5, 5], [0, 0, 300]], np.int32)
    for dtype in (np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64):
        path = tmp_path / "labels.tif"
        tifffile.imwrite(path, ids.astype(dtype))
        labels, notes = read_labels(path)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, ids)
        assert notes == ()


@pytest.mark.parametrize("value", [1, 255])
def test_binary_image_is_split_by_four_neighbours(tmp_path, value):
    path = tmp_path / "mask.png"
    PillowImage.fromarray(np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]], np.uint8) * value).save(path)
    labels, notes = read_labels(str(path))
    assert labels.tolist() == [[1, 0, 0], [0, 2, 2], [0, 0, 0], [3, 3, 0]]
    assert notes == ("binary image split into 3 connected components",)


def test_one_bit_labels_are_split_too(tmp_path):
    tifffile.imwrite(tmp_path / "mask.tif", np.array([[True, False, True]]))
    assert read_labels(tmp_path / "mask.tif")[0].tolist() == [[1, 0, 2]]


def test_nothing_but_background(tmp_path):
    tifffile.imwrite(tmp_path / "none.tif", np.zeros((4, 5), np.uint8))
    labels, notes = read_labels(tmp_path / "none.tif")
    assert not labels.any()
    assert notes == ()


def test_labels_in_pieces_are_reported(tmp_path):
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, np.array([[1, 0, 1], [2, 2, 0], [0, 0, 2**31 - 1]], np.int32))
    labels, notes = read_labels(path)
    assert labels.max() == 2**31 - 1
    assert notes == ("3 labels lie in 4 pieces: some nuclei are not in one piece",)


def test_colour_labels_only_where_they_are_gray(tmp_path):
    ids = np.array([[0, 1], [2, 2]], np.uint8)
    alpha = np.full((2, 2), 255, np.uint8)
    PillowImage.fromarray(np.stack([ids, ids, ids], axis=2)).save(tmp_path / "rgb.png")
    PillowImage.fromarray(np.stack([ids, ids, ids, alpha], axis=2)).save(tmp_path / "rgba.png")
    PillowImage.fromarray(np.stack([ids, alpha], axis=2)).save(tmp_path / "la.png")
    for name in ("rgb.png", "rgba.png", "la.png"):
        np.testing.assert_array_equal(read_labels(tmp_path / name)[0], ids)
    PillowImage.fromarray(RGB).save(tmp_path / "colours.png")
    with pytest.raises(ImageError, match=r"colours.png is no label image: it has 3 dimensions \(6 Y x 7 X x 3 S\)"):
        read_labels(tmp_path / "colours.png")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[0.0, 1.5]], np.float32), "values that are no integers"),
        (np.array([[-1, 3]], np.int16), "values run from -1 to 3"),
        (np.array([[0, 2**31]], np.uint32), "values run from 0 to 2147483648"),
        (np.array([[0.0, np.nan]], np.float32), "NaN"),
    ],
)
def test_values_that_are_no_labels(tmp_path, values, words):
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, values)
    with pytest.raises(ImageError, match=words) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- writing


@pytest.mark.parametrize("pixels", [GRAY8, GRAY16, GRAY32], ids=["8-bit", "16-bit", "32-bit"])
@pytest.mark.parametrize(
    "calibration", [None, Calibration(0.01, 0.02, "micron"), Calibration(10.0, 10.0, "µm"), Calibration(2.0, 2.0, "Å")]
)
def test_write_tiff_and_read_it_back(tmp_path, pixels, calibration):
    path = tmp_path / "new" / "image.tif"
    write_tiff(path, pixels, calibration=calibration)
    image = read_image(path)
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.calibration == calibration
    with tifffile.TiffFile(path) as tif:
        assert tif.is_imagej


def test_write_labels_and_read_them_back(tmp_path):
    labels = np.array([[0, 1, 1], [0, 2, 65535]], np.int32)
    write_labels(tmp_path / "labels.tif", labels, calibration=Calibration(10.0, 10.0, "nm"))
    with tifffile.TiffFile(tmp_path / "labels.tif") as tif:
        assert tif.pages.first.dtype == np.uint16
        np.testing.assert_array_equal(np.reshape(tif.imagej_metadata["LUTs"], (3, 256)), label_lut())
        assert (tif.imagej_metadata["min"], tif.imagej_metadata["max"]) == (0.0, 65535.0)
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.tif")[0], labels)
    assert read_image(tmp_path / "labels.tif").calibration == Calibration(10.0, 10.0, "nm")


def test_more_than_65535_labels_become_32_bit(tmp_path):
    labels = np.arange(70_000, dtype=np.int32).reshape(200, 350)
    write_labels(tmp_path / "labels.tif", labels)
    assert tifffile.imread(tmp_path / "labels.tif").dtype == np.float32
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.tif")[0], labels)


def test_no_labels_at_all_are_written(tmp_path):
    write_labels(tmp_path / "labels.tif", np.zeros((3, 4), np.int32))
    assert read_labels(tmp_path / "labels.tif")[0].shape == (3, 4)


@pytest.mark.parametrize("wrong", [-1, 2**24 + 1])
def test_labels_that_imagej_cannot_hold(tmp_path, wrong):
    with pytest.raises(ImageError, match="renumber them"):
        write_labels(tmp_path / "labels.tif", np.array([[0, wrong]]))
    assert not list(tmp_path.iterdir())


def test_write_png(tmp_path):
    for pixels in (GRAY8, RGB):
        write_png(tmp_path / "image.png", pixels)
        np.testing.assert_array_equal(np.asarray(PillowImage.open(tmp_path / "image.png")), pixels)


def test_label_lut_tells_neighbours_apart():
    lut = label_lut()
    assert (lut.shape, lut.dtype) == ((3, 256), np.uint8)
    assert not lut[:, 0].any()
    assert np.abs(np.diff(lut[:, 1:].astype(int), axis=1)).sum(axis=0).min() > 60
    assert lut[:, 1:].max(axis=0).min() >= 150


def test_writing_where_one_may_not(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ImageError, match=r"cannot write .*image.tif: .*choose a folder that you may write to"):
        write_tiff(tmp_path / "file" / "image.tif", GRAY8)
