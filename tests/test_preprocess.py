"""Preprocessing: sizes, order, types, calibration. That the pixels are ImageJ's own: tests/window."""

import numpy as np
import pytest

from stormseg_ij.errors import SettingsError
from stormseg_ij.image import Calibration, Image
from stormseg_ij.preprocess import preprocess, resized_shape
from stormseg_ij.settings import PreprocessSettings


@pytest.fixture
def image():
    pixels = np.random.default_rng(5).integers(0, 60000, (80, 120), dtype=np.uint16)
    return Image(pixels, "cell", Calibration(0.02, 0.02, "micron"), notes=("plane 2 of 3",))


def test_nothing_asked_changes_nothing(ij, image):
    result = preprocess(image, PreprocessSettings(), ij)
    np.testing.assert_array_equal(result.pixels, image.pixels)
    assert (result.scale, result.calibration, result.notes) == ((1.0, 1.0), image.calibration, image.notes)


@pytest.mark.parametrize(
    ("shape", "size", "wanted"),
    [
        ((90, 120), 60, (45, 60)),
        ((120, 90), 60, (60, 45)),
        ((90, 120), 240, (180, 240)),
        ((3, 7), 14, (6, 14)),
        ((1, 100), 8, (1, 8)),
        ((1, 1), 8, (8, 8)),
        ((2, 3), 9, (6, 9)),
        ((5, 8), 12, (8, 12)),  # 7.5 is rounded up
    ],
)
def test_the_longer_side_gets_the_size(ij, shape, size, wanted):
    assert resized_shape(shape, size) == wanted
    result = preprocess(Image(np.full(shape, 40, np.uint8), "x"), PreprocessSettings(size=size), ij)
    assert result.shape == wanted
    assert result.scale == (wanted[0] / shape[0], wanted[1] / shape[1])
    assert (result.pixels == 40).all()


def test_scale_and_calibration_follow_the_size(ij, image):
    once = preprocess(image, PreprocessSettings(size=60), ij)
    assert once.calibration == Calibration(0.04, 0.04, "micron")
    twice = preprocess(once, PreprocessSettings(size=30), ij)
    assert twice.scale == (0.25, 0.25)
    assert twice.calibration.pixel_size_nm == pytest.approx(80.0)
    assert twice.notes == image.notes


def test_the_blur_is_in_pixels_of_the_resized_image(ij, image):
    at_once = preprocess(image, PreprocessSettings(size=40, blur=2.0), ij)
    in_steps = preprocess(image, PreprocessSettings(size=40), ij)
    in_steps = preprocess(in_steps, PreprocessSettings(blur=2.0), ij)
    np.testing.assert_array_equal(at_once.pixels, in_steps.pixels)


def test_the_blur_is_gaussian(ij):
    from scipy import ndimage

    pixels = np.random.default_rng(6).random((80, 80)).astype(np.float32)
    result = preprocess(Image(pixels, "x"), PreprocessSettings(blur=2.0), ij)
    wanted = ndimage.gaussian_filter(pixels.astype(np.float64), 2.0, mode="nearest")
    np.testing.assert_allclose(result.pixels, wanted, atol=2e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_equalizing_uses_square_roots_of_the_histogram(ij, dtype):
    rng = np.random.default_rng(8)
    pixels = np.clip(rng.gamma(2.0, 20.0, (70, 50)), 0, 255).astype(dtype)
    result = preprocess(Image(pixels, "x"), PreprocessSettings(equalize=True), ij)
    highest = np.iinfo(dtype).max
    weight = np.sqrt(np.bincount(pixels.ravel(), minlength=highest + 1))
    twice = 2.0 * weight
    twice[[0, -1]] = weight[[0, -1]]
    below = np.concatenate(([0.0], np.cumsum(twice)[:-1]))
    table = np.floor((below + weight) * (highest / twice.sum()) + 0.5)
    table[[0, -1]] = 0, highest
    assert result.pixels.dtype == dtype
    np.testing.assert_array_equal(result.pixels, table[pixels])


def test_equalizing_32_bit_goes_through_16_bit(ij, image):
    floats = (image.pixels.astype(np.float32) - 1000.0) / 7.0
    result = preprocess(Image(floats, "x"), PreprocessSettings(equalize=True), ij)
    assert result.pixels.dtype == np.uint16
    assert result.notes == ("32-bit image converted to 16-bit over its full range, to equalize it",)
    imp = ij.to_imageplus(Image(floats, "x"))
    ij.to_16bit(imp)
    wanted = preprocess(ij.from_imageplus(imp), PreprocessSettings(equalize=True), ij)
    np.testing.assert_array_equal(result.pixels, wanted.pixels)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_a_flat_32_bit_image_stays_flat(ij, value):
    flat = Image(np.full((20, 30), value, np.float32), "x")
    result = preprocess(flat, PreprocessSettings(equalize=True), ij)
    assert len(np.unique(result.pixels)) == 1


def test_32_bit_stays_32_bit_where_it_is_not_equalized(ij, image):
    floats = Image(image.pixels.astype(np.float32), "x")
    result = preprocess(floats, PreprocessSettings(size=40, blur=1.0), ij)
    assert result.pixels.dtype == np.float32
    assert result.notes == ()


def test_the_input_is_not_changed(ij, image):
    before = image.pixels.copy()
    preprocess(image, PreprocessSettings(size=40, blur=1.0, equalize=True), ij)
    np.testing.assert_array_equal(image.pixels, before)


@pytest.mark.parametrize("settings", [{"size": 7}, {"blur": -1.0}, {"size": 100_001}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingsError):
        PreprocessSettings(**settings)


def test_importing_preprocess_loads_no_java(run_python):
    done = run_python("import sys; import stormseg_ij.preprocess; print({'jpype', 'scyjava'} & set(sys.modules))")
    assert done.stdout.strip() == "set()"


def test_more_pixels_than_imagej_holds_are_refused(ij):
    square = Image(np.zeros((8, 8), np.uint8), "x")
    with pytest.raises(SettingsError, match=r"--size 60000 makes 60000 x 60000 pixels; ImageJ holds 2147483647"):
        preprocess(square, PreprocessSettings(size=60_000), ij)
