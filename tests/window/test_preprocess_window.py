"""The headless preprocessing gives the bytes of ImageJ's own menu commands, run in its window."""

import threading
import time

import numpy as np
import pytest
from driver import shown as put_on_screen

from stormseg_ij import bands
from stormseg_ij import preprocess as preprocessing
from stormseg_ij.image import Calibration, Image, rgb_to_gray
from stormseg_ij.preprocess import preprocess, resized_shape
from stormseg_ij.settings import PreprocessSettings

pytestmark = pytest.mark.window

SHAPE = (211, 300)
STEPS = [
    {"size": 128, "blur": 2.0, "equalize": True},
    {"size": 97, "blur": 0.0, "equalize": False},
    {"size": 451, "blur": 1.25, "equalize": True},
    {"size": None, "blur": 2.0, "equalize": False},
]
TYPES = ["uint8", "uint16", "float32"]
CASES = [(dtype, number) for dtype in TYPES for number in range(len(STEPS))]

HEADLESS = """
import sys
import numpy as np
from stormseg_ij import bridge
from stormseg_ij.image import Image
from stormseg_ij.preprocess import preprocess
from stormseg_ij.settings import PreprocessSettings

ij = bridge.start()
assert ij.headless
inputs = np.load({inputs!r})
results = {{}}
for dtype in {types!r}:
    for number, steps in enumerate({steps!r}):
        image = preprocess(Image(inputs[dtype], "x"), PreprocessSettings(**steps), ij)
        results[f"{{dtype}}_{{number}}"] = image.pixels
np.savez({outputs!r}, **results)
"""


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(7)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    spots = np.exp(-((x % 40 - 20) ** 2 + (y % 50 - 25) ** 2) / 90.0) * rng.poisson(2.0, SHAPE)
    spots *= rng.random(SHAPE) < 0.3  # gaps, as in STORM images
    return {
        "uint8": np.clip(spots * 60, 0, 255).astype(np.uint8),
        "uint16": np.clip(spots * 9000, 0, 65535).astype(np.uint16),
        "float32": (spots * 3.5 - 1.0).astype(np.float32),
    }


@pytest.fixture(scope="module")
def headless(inputs, tmp_path_factory, run_python):
    """Results of all cases from a process without a window."""
    folder = tmp_path_factory.mktemp("headless")
    np.savez(folder / "inputs.npz", **inputs)
    paths = {"inputs": str(folder / "inputs.npz"), "outputs": str(folder / "outputs.npz")}
    done = run_python(HEADLESS.format(types=TYPES, steps=STEPS, **paths), DISPLAY=None)
    assert done.returncode == 0, done.stderr
    return np.load(paths["outputs"])


@pytest.fixture
def shown(ij):
    """Show pixels in ImageJ; every image is closed afterwards."""
    from scyjava import jimport

    def show(pixels, name="storm.tif"):
        calibration = Calibration(0.02, 0.02, "micron")
        imp = ij.rgb_to_imageplus(pixels, name=name) if pixels.ndim == 3 else None
        imp = ij.to_imageplus(Image(pixels, name, calibration)) if imp is None else imp
        return put_on_screen(imp)

    yield show
    manager = jimport("ij.WindowManager")
    for number in list(manager.getIDList() or ()):
        image = manager.getImage(number)
        image.changes = False
        image.close()


@pytest.fixture
def java():
    from scyjava import jimport

    return jimport


@pytest.fixture
def run_macro(java, repository):
    """Run macros/preprocess.ijm with an argument; give the image that is active afterwards."""

    def run(argument):
        java("ij.IJ").runMacroFile(str(repository / "macros" / "preprocess.ijm"), argument)
        return java("ij.WindowManager").getCurrentImage()

    return run


def menu_commands(shape, *, size, blur, equalize, dtype):
    """Return the menu commands as ImageJ's Recorder writes them."""
    lines = []
    if size is not None:
        height, width = resized_shape(shape, size)
        lines.append(f'run("Size...", "width={width} height={height} depth=1 average interpolation=Bilinear");')
    if blur:
        lines.append(f'run("Gaussian Blur...", "sigma={blur}");')
    if equalize and dtype == "float32":
        lines += ["resetMinAndMax();", 'run("16-bit");']
    if equalize:
        lines.append('run("Enhance Contrast...", "saturated=0.35 normalize equalize");')
    return "\n".join(lines)


def argument(*, size, blur, equalize):
    return f"size={size or 0} blur={blur} equalize={int(equalize)}"


def test_the_window_is_on_the_display(ij, java, screenshot, tmp_path):
    import imageio.v3 as iio

    assert not ij.headless
    assert java("ij.IJ").getInstance().isShowing()
    screenshot(tmp_path / "screen.png")
    assert len(np.unique(iio.imread(tmp_path / "screen.png"))) > 2


@pytest.mark.parametrize(("dtype", "number"), CASES)
def test_menu_commands_give_the_headless_pixels(ij, java, shown, inputs, headless, dtype, number):
    imp = shown(inputs[dtype])
    java("ij.IJ").runMacro(menu_commands(SHAPE, dtype=dtype, **STEPS[number]))
    pixels = ij.from_imageplus(imp).pixels
    wanted = headless[f"{dtype}_{number}"]
    assert pixels.dtype == wanted.dtype
    np.testing.assert_array_equal(pixels, wanted)


@pytest.mark.parametrize(("dtype", "number"), CASES)
def test_the_macro_gives_the_headless_pixels(ij, shown, inputs, headless, run_macro, dtype, number):
    imp = shown(inputs[dtype])
    result = run_macro(argument(**STEPS[number]))
    assert str(result.getTitle()) == "storm_preprocessed"
    assert result.getID() != imp.getID()
    np.testing.assert_array_equal(ij.from_imageplus(result).pixels, headless[f"{dtype}_{number}"])


@pytest.mark.parametrize(("dtype", "number"), CASES[::3])
def test_the_window_does_not_change_the_pixels(ij, inputs, headless, dtype, number):
    result = preprocess(Image(inputs[dtype], "x"), PreprocessSettings(**STEPS[number]), ij)
    np.testing.assert_array_equal(result.pixels, headless[f"{dtype}_{number}"])


@pytest.mark.parametrize(("dtype", "number"), CASES)
def test_bands_of_a_large_image_give_the_headless_pixels(ij, inputs, headless, monkeypatch, dtype, number):
    monkeypatch.setattr(preprocessing, "LARGE_PIXELS", 1)
    monkeypatch.setattr(bands, "BAND_PIXELS", 5_000)
    result = preprocess(Image(inputs[dtype], "x"), PreprocessSettings(**STEPS[number]), ij)
    np.testing.assert_array_equal(result.pixels, headless[f"{dtype}_{number}"])


def test_equalization_takes_over_where_both_boxes_are_ticked(ij, java, shown, inputs):
    results = []
    for boxes in ("normalize equalize", "equalize", "normalize"):
        imp = shown(inputs["uint8"])
        java("ij.IJ").run(imp, "Enhance Contrast...", f"saturated=0.35 {boxes}")
        results.append(ij.from_imageplus(imp).pixels)
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


def test_the_macro_leaves_the_image_as_it_was(ij, java, shown, inputs, run_macro):
    imp = shown(inputs["uint16"])
    imp.setRoi(10, 20, 50, 60)
    imp.setDisplayRange(5.0, 500.0)
    result = ij.from_imageplus(run_macro("size=64 blur=2 equalize=1"))
    assert java("ij.WindowManager").getImageCount() == 2
    np.testing.assert_array_equal(ij.from_imageplus(imp).pixels, inputs["uint16"])
    bounds = imp.getRoi().getBounds()
    assert (bounds.x, bounds.y, bounds.width, bounds.height) == (10, 20, 50, 60)
    assert (imp.getDisplayRangeMin(), imp.getDisplayRangeMax()) == (5.0, 500.0)
    assert str(imp.getTitle()) == "storm.tif"
    assert result.shape == resized_shape(SHAPE, 64)
    assert result.calibration.pixel_width == pytest.approx(0.02 * SHAPE[1] / 64)


def test_the_macro_takes_the_shown_plane_of_a_stack(ij, java, shown, inputs, headless, run_macro):
    imp = shown(np.zeros(SHAPE, np.uint8))
    stack = java("ij.ImageStack")(SHAPE[1], SHAPE[0])
    for name in ("uint8", "other"):
        pixels = inputs.get(name, np.full(SHAPE, 9, np.uint8))
        stack.addSlice(ij.to_imageplus(Image(pixels, name)).getProcessor())
    imp.setStack(stack)
    imp.setSlice(1)
    result = run_macro(argument(**STEPS[0]))
    np.testing.assert_array_equal(ij.from_imageplus(result).pixels, headless["uint8_0"])


def test_rgb_becomes_gray_as_in_imagej(ij, java, shown):
    rng = np.random.default_rng(3)
    rgb = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    rgb[0, :256] = np.arange(256)[:, None]
    imp = shown(rgb)
    java("ij.IJ").runMacro('run("8-bit");')
    pixels = ij.from_imageplus(imp).pixels
    np.testing.assert_array_equal(pixels, rgb_to_gray(rgb))


def test_the_macro_averages_rgb_whatever_the_user_has_set(ij, java, shown, run_macro):
    rgb = np.random.default_rng(4).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    processor = java("ij.process.ColorProcessor")
    processor.setWeightingFactors(0.299, 0.587, 0.114)
    try:
        shown(rgb)
        result = ij.from_imageplus(run_macro("size=50"))
        assert processor.getWeightingFactors()[1] == 0.587
    finally:
        processor.setWeightingFactors(1 / 3, 1 / 3, 1 / 3)
    np.testing.assert_array_equal(result.pixels, rgb_to_gray(rgb))


@pytest.mark.parametrize(("scale", "calibrate"), [(True, False), (True, True), (False, False)])
def test_the_macro_scales_and_leaves_the_conversion_options(
    ij, java, shown, inputs, headless, run_macro, *, scale, calibrate
):
    converter, prefs = java("ij.process.ImageConverter"), java("ij.Prefs")
    converter.setDoScaling(scale)
    prefs.calibrateConversions = calibrate
    try:
        shown(inputs["float32"])
        result = run_macro(argument(**STEPS[0]))
        assert (bool(converter.getDoScaling()), bool(prefs.calibrateConversions)) == (scale, calibrate)
    finally:
        converter.setDoScaling(True)
        prefs.calibrateConversions = False
    assert java("ij.WindowManager").getImageCount() == 2
    assert not result.getCalibration().calibrated()
    np.testing.assert_array_equal(ij.from_imageplus(result).pixels, headless["float32_0"])


def answer_dialog(java, run, answer):
    """Run something that opens a dialog in another thread; give the dialog to `answer` and wait for the end."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    end = time.monotonic() + 20.0
    while thread.is_alive():
        assert time.monotonic() < end, "no dialog, or it did not close"
        for window in java("java.awt.Window").getWindows():
            if isinstance(window, java("java.awt.Dialog")) and window.isShowing():
                answer(window)
        time.sleep(0.05)


def test_the_macro_asks_where_it_has_no_argument(ij, java, shown, inputs, run_macro):
    shown(inputs["uint8"])

    def press_ok(dialog):
        button = dialog.getButtons()[0]
        event = java("java.awt.event.ActionEvent")
        dialog.actionPerformed(event(button, event.ACTION_PERFORMED, "OK"))

    answer_dialog(java, lambda: run_macro(""), press_ok)
    result = ij.from_imageplus(java("ij.WindowManager").getCurrentImage())
    wanted = preprocess(Image(inputs["uint8"], "x"), PreprocessSettings(size=512, blur=2.0), ij)
    np.testing.assert_array_equal(result.pixels, wanted.pixels)


@pytest.mark.parametrize("wrong", ["sise=512", "size=many", "equalize"])
def test_the_macro_stops_at_a_wrong_argument(java, shown, inputs, run_macro, wrong):
    shown(inputs["uint8"])
    said = []

    def read_and_close(dialog):
        said.append(str(dialog.getTitle()))
        dialog.dispose()

    answer_dialog(java, lambda: run_macro(wrong), read_and_close)
    assert said
    assert java("ij.WindowManager").getImageCount() == 1
