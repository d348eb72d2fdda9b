"""Large images: ImageJ's bands give the bytes of its commands on the whole image, and memory stays small."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PillowImage
from scipy import ndimage

from stormseg_ij import bands, decode, preprocess, rows
from stormseg_ij.errors import ImageError
from stormseg_ij.image import (
    Calibration,
    Image,
    label_lut,
    read_image,
    read_labels,
    read_shape,
    rgb_to_gray,
    write_labels,
    write_tiff,
)
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.pieces import count_pieces
from stormseg_ij.settings import PreprocessSettings

RNG = np.random.default_rng(12)


def spots(shape, dtype):
    """Bright and dark spots that fill the range of the type, with noise: rounding and clipping both happen."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    values = np.sin(x / 3.1) * np.cos(y / 4.3) + RNG.normal(0.0, 0.4, shape)
    if dtype == "float32":
        return (values * 1000.0 - 200.0).astype(dtype)
    highest = np.iinfo(dtype).max
    return np.clip((values * 0.4 + 0.5) * highest, 0, highest).astype(dtype)


def both_ways(ij, pixels, **settings):
    """Preprocess at once and, with every limit very small, in bands."""
    image, settings = Image(pixels, "x", Calibration(0.5, 0.5, "nm")), PreprocessSettings(**settings)
    at_once = preprocess.preprocess(image, settings, ij)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ij, "free_memory", lambda: None)
        patch.setattr(preprocess, "LARGE_PIXELS", 1)
        patch.setattr(bands, "BAND_PIXELS", 7 * max(pixels.shape))
        patch.setattr(bands, "LARGEST_MIDDLE_BYTES", 4 * 23 * pixels.shape[0])
        in_bands = preprocess.preprocess(image, settings, ij)
    assert (in_bands.shape, in_bands.scale, in_bands.notes) == (at_once.shape, at_once.scale, at_once.notes)
    assert in_bands.calibration == at_once.calibration
    assert in_bands.pixels.dtype == at_once.pixels.dtype
    return at_once.pixels, in_bands.pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((120, 90), 60),  # to the half
        ((121, 93), 47),
        ((93, 121), 120),  # a little
        ((300, 2), 290),  # in y only
        ((2, 301), 77),
        ((60, 80), 120),  # 1.5 times: half of the values lie halfway between two gray levels
        ((60, 80), 160),
        ((61, 83), 97),
        ((41, 2), 42),  # in y only
    ],
)
def test_resizing_in_bands_gives_imagejs_bytes(ij, dtype, shape, size):
    at_once, in_bands = both_ways(ij, spots(shape, dtype), size=size)
    assert max(at_once.shape) == size
    np.testing.assert_array_equal(in_bands, at_once)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 8.5, 8.6, 9.0, 13.0])
@pytest.mark.parametrize("shape", [(211, 40), (400, 33), (20, 150)])
def test_blurring_in_bands_gives_imagejs_bytes(ij, dtype, sigma, shape):
    at_once, in_bands = both_ways(ij, spots(shape, dtype), blur=sigma)
    np.testing.assert_array_equal(in_bands, at_once)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("settings", [{}, {"size": 50, "blur": 2.0}, {"size": 131, "blur": 1.25}])
def test_equalizing_in_bands_gives_imagejs_bytes(ij, dtype, settings):
    at_once, in_bands = both_ways(ij, spots((90, 120), dtype), equalize=True, **settings)
    np.testing.assert_array_equal(in_bands, at_once)


def test_java_never_holds_more_than_a_band(ij, monkeypatch):
    pixels = spots((600, 500), "uint16")
    given = []
    processor = ij._processor
    monkeypatch.setattr(ij, "_processor", lambda part: given.append(part.size) or processor(part))
    both_ways(ij, pixels, size=450, blur=1.0, equalize=True)
    at_once, in_bands = given[0], given[1:]
    assert at_once == pixels.size
    assert max(in_bands) == 2**16, "only the table of all 16-bit values is larger than a band"
    assert sorted(in_bands)[-2] <= (7 + 2 * 30) * 600


def test_progress_runs_to_the_end_and_may_stop_the_work(ij, monkeypatch):
    image = Image(spots((300, 200), "uint16"), "x")
    monkeypatch.setattr(preprocess, "LARGE_PIXELS", 1)
    monkeypatch.setattr(bands, "BAND_PIXELS", 10_000)
    settings = PreprocessSettings(size=200, blur=1.0, equalize=True)
    shares = []
    preprocess.preprocess(image, settings, ij, progress=shares.append)
    assert len(shares) > 10
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 0.0 < shares[0] < 0.3

    def stop(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess.preprocess(image, settings, ij, progress=stop)


def test_nothing_asked_copies_nothing(ij, monkeypatch):
    image = Image(spots((30, 20), "uint16"), "x")
    monkeypatch.setattr(preprocess, "LARGE_PIXELS", 1)
    assert preprocess.preprocess(image, PreprocessSettings(), ij).pixels is image.pixels


def test_memory_of_python_stays_small(ij, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "mapped.tif", spots((2000, 2000), "uint16"))
    monkeypatch.setattr(ij, "free_memory", lambda: None)
    monkeypatch.setattr(decode, "MAPPED_BYTES", 1)
    monkeypatch.setattr(preprocess, "LARGE_PIXELS", 1)
    monkeypatch.setattr(bands, "BAND_PIXELS", 100_000)
    image = read_image(tmp_path / "mapped.tif")
    result, peak = with_peak(lambda: preprocess.preprocess(image, PreprocessSettings(size=1000, blur=1.0), ij))
    assert result.shape == (1000, 1000)
    middle, out, band = 2000 * 1000 * 4, 1000 * 1000 * 2, 100_000 * 4
    assert peak < middle + out + 6 * band


# ---- reading


def with_peak(work):
    """Return what `work` gives and the most bytes that numpy held meanwhile."""
    tracemalloc.start()
    try:
        result = work()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def small_bands(monkeypatch):
    monkeypatch.setattr(rows, "BAND_PIXELS", 5_000)
    monkeypatch.setattr(decode, "MAPPED_BYTES", 1_000)


ORDERS = [
    {},
    {"byteorder": ">"},
    {"bigtiff": True},
    {"bigtiff": True, "byteorder": ">"},
    {"ome": True},
    {"imagej": True},
    {"tile": (64, 64), "compression": "zlib", "ome": True, "bigtiff": True},
    {"compression": "lzw", "predictor": True, "rowsperstrip": 7},
    {"compression": "zlib", "byteorder": ">", "rowsperstrip": 300},
    {"tile": (32, 48)},
]
STORED = {
    "uint8": spots((301, 203), "uint8"),
    "uint16": spots((301, 203), "uint16"),
    "float32": spots((301, 203), "float32"),
    "int32": spots((301, 203), "uint16").astype(np.int32),
    "int16": spots((301, 203), "float32").astype(np.int16),
    "float64": spots((301, 203), "float32").astype(np.float64),
}


READABLE = [
    (dtype, options)
    for dtype in STORED
    for options in ORDERS
    if dtype in ("uint8", "uint16") or not (options.get("imagej") or options.get("predictor"))
]


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize(("dtype", "options"), READABLE, ids=str)
def test_large_images_are_read_as_small_ones_are(tmp_path, dtype, options):
    pixels = STORED[dtype]
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, **options)
    image = read_image(path)
    expected = {"int32": np.uint16, "int16": np.float32, "float64": np.float32}.get(dtype, pixels.dtype)
    assert image.pixels.dtype == expected
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.usefixtures("small_bands")
def test_uncompressed_pixels_stay_in_the_file(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, STORED["uint16"])
    image, peak = with_peak(lambda: read_image(path))
    assert not image.pixels.flags.writeable
    assert peak < 60_000
    tifffile.imwrite(path, STORED["uint16"], byteorder=">")
    image, peak = with_peak(lambda: read_image(path))
    assert image.pixels.flags.writeable
    assert peak < STORED["uint16"].nbytes + 60_000


def test_small_images_are_read_into_memory(tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", STORED["uint16"])
    assert read_image(tmp_path / "image.tif").pixels.flags.writeable


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize(
    "options",
    [{}, {"imagej": True}, {"ome": True, "metadata": {"axes": "ZYX"}}, {"byteorder": ">"}, {"compression": "zlib"}],
    ids=str,
)
def test_only_the_plane_of_a_stack_is_decoded(tmp_path, options):
    stack = RNG.integers(0, 60_000, (50, 150, 101), dtype=np.uint16)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    read_image(path, plane=50)  # now everything is imported
    for plane in (1, 23, 50):
        image, peak = with_peak(lambda plane=plane: read_image(path, plane=plane))
        np.testing.assert_array_equal(image.pixels, stack[plane - 1])
        assert peak < 10 * stack[0].nbytes
    _, peak = with_peak(lambda: read_shape(path))
    assert peak < 10 * stack[0].nbytes


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("length", [0.3, 0.9, 0.999])
def test_a_large_file_that_is_truncated_is_one_line(tmp_path, length):
    path = tmp_path / "image.tif"
    for options in ORDERS:
        tifffile.imwrite(path, STORED["uint16"], **options)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * length)])
        for read in (read_image, read_labels, read_shape):
            with pytest.raises(ImageError, match="cannot read") as caught:
                read(path)
            assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("small_bands")
def test_a_damaged_tile_is_one_line(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, STORED["uint16"], tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.dataoffsets[7]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"cannot read .*it may be damaged"):
        read_image(path)
    assert read_shape(path)[0] == (301, 203)


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("mode", ["gray", "16-bit", "1-bit", "colours", "palette"])
def test_png_in_bands(tmp_path, mode):
    gray = STORED["uint8"]
    png = {
        "gray": PillowImage.fromarray(gray),
        "16-bit": PillowImage.fromarray(STORED["uint16"]),
        "1-bit": PillowImage.fromarray(gray > 99),
        "colours": PillowImage.fromarray(np.stack([gray, gray.T.reshape(gray.shape), gray // 2], axis=2)),
        "palette": PillowImage.fromarray(gray),
    }[mode]
    if mode == "palette":
        png.putpalette(RNG.integers(0, 256, 768).tolist())
    png.save(tmp_path / "image.png")
    expected = np.asarray(png.convert("RGB") if mode == "palette" else png)
    expected = expected * 255 if mode == "1-bit" else rgb_to_gray(expected) if expected.ndim == 3 else expected
    np.testing.assert_array_equal(read_image(tmp_path / "image.png").pixels, expected)
    assert read_shape(tmp_path / "image.png") == ((301, 203), None)


# ---- labels


def pieces_of(labels):
    """Count 8-connected pieces label by label: slow and obvious."""
    values = [value for value in np.unique(labels) if value]
    return len(values), sum(ndimage.label(labels == value, np.ones((3, 3)))[1] for value in values)


@settings(deadline=None)  # the first example imports what it needs
@given(
    labels=hnp.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)),
    band=st.integers(1, 30),
)
def test_pieces_are_counted_across_bands(labels, band):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BAND_PIXELS", band)
        assert count_pieces(labels) == pieces_of(labels)


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32", "float32", "float64", ">i4", ">f4", ">u2"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "tile": (32, 32)}], ids=str)
def test_labels_of_all_types_are_read_in_bands(tmp_path, dtype, options):
    labels = np.kron(np.arange(1, 31).reshape(5, 6), np.ones((20, 20), np.int32)).astype(np.int32)
    labels[::20] = 0
    labels[0, 1] = 30
    order = ">" if dtype.startswith(">") else "<"
    tifffile.imwrite(tmp_path / "labels.tif", labels.astype(dtype), byteorder=order, **options)
    read, notes = read_labels(tmp_path / "labels.tif")
    assert (read.dtype, read.flags.writeable) == (np.int32, True)
    np.testing.assert_array_equal(read, labels)
    assert notes == ("30 labels lie in 31 pieces: some nuclei are not in one piece",)
    mask = (labels > 0) * 200
    tifffile.imwrite(tmp_path / "mask.tif", mask.astype(dtype), byteorder=order, **options)
    read, notes = read_labels(tmp_path / "mask.tif")
    np.testing.assert_array_equal(read, ndimage.label(mask)[0])
    assert read.dtype == np.int32


# ---- writing


@pytest.mark.parametrize("highest", [0, 300, 70_000])
@pytest.mark.parametrize("calibration", [None, Calibration(0.25, 0.5, "µm")])
def test_labels_written_in_bands_are_the_bytes_of_tifffile(tmp_path, small_bands, highest, calibration):
    labels = RNG.integers(0, highest + 1, (200, 130)).astype(np.int32)
    labels[0, 0] = highest
    write_labels(tmp_path / "bands.tif", labels, calibration=calibration)
    metadata = {"axes": "YX", "LUTs": [label_lut()], "min": 0.0, "max": float(max(highest, 1))}
    resolution = None
    if calibration is not None:
        metadata["unit"], resolution = "\\u00B5m", (4.0, 2.0)
    dtype = np.float32 if highest > 65_535 else np.uint16
    tifffile.imwrite(
        tmp_path / "whole.tif", labels.astype(dtype), imagej=True, resolution=resolution, metadata=metadata
    )
    assert (tmp_path / "bands.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_images_written_in_bands_are_the_bytes_of_tifffile(tmp_path, small_bands, dtype):
    for pixels in (STORED[dtype], STORED[dtype].T, STORED[dtype][::3, 5:50]):
        write_tiff(tmp_path / "bands.tif", pixels)
        tifffile.imwrite(tmp_path / "whole.tif", pixels, imagej=True, metadata={"axes": "YX"})
        assert (tmp_path / "bands.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


@pytest.mark.parametrize("highest", [5, 70_000])
def test_imagej_opens_the_labels(ij, tmp_path, small_bands, highest):
    from scyjava import jimport

    labels = RNG.integers(0, highest + 1, (200, 130)).astype(np.int32)
    labels[0, 0] = highest
    write_labels(tmp_path / "labels.tif", labels)
    imp = jimport("ij.io.Opener")().openImage(str(tmp_path / "labels.tif"))
    np.testing.assert_array_equal(ij.from_imageplus(imp).pixels, labels)
    assert imp.getDisplayRangeMax() == highest


def test_writing_needs_no_second_image(tmp_path, small_bands):
    labels = np.zeros((1500, 1000), np.int32)
    labels[-1, -1] = 70_000
    write_labels(tmp_path / "labels.tif", labels[:9])  # now everything is imported
    _, peak = with_peak(lambda: write_labels(tmp_path / "labels.tif", labels))
    assert peak < 0.2 * labels.nbytes


def test_more_than_imagej_opens_is_refused_before_it_is_written(tmp_path):
    pixels = np.broadcast_to(np.float32(1.0), (33_000, 33_000))
    with pytest.raises(ImageError, match=r"33000 x 33000 32-bit pixels are 4.4 GB, ImageJ opens 4.2"):
        write_tiff(tmp_path / "image.tif", pixels)
    assert not list(tmp_path.iterdir())


# ---- percentiles


@given(
    pixels=hnp.arrays(st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 30), st.integers(1, 30))),
    low=st.floats(0.0, 99.0),
    high=st.floats(99.1, 100.0),
)
def test_percentiles_are_those_of_numpy(pixels, low, high):
    found = ModelInfo(low_percentile=low, high_percentile=high).range_of(pixels)
    assert found == tuple(np.percentile(pixels, [low, high]))


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int32"])
def test_percentiles_of_all_types(dtype):
    found = ModelInfo(low_percentile=1.0, high_percentile=99.8).range_of(STORED[dtype])
    assert found == tuple(np.percentile(STORED[dtype], [1.0, 99.8]))
