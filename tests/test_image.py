"""Reading images: pixels as they are in the file, calibration, and one clear line for what cannot be read."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from stormseg_ij.errors import ImageError
from stormseg_ij.image import (
    Calibration,
    Image,
    read_image,
    read_labels,
    read_shape,
    rgb_to_gray,
)

RNG = np.random.default_rng(0)
GRAY8 = RNG.integers(0, 256, (6, 7), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (6, 7), dtype=np.uint16)
GRAY32 = RNG.normal(0.0, 1e3, (6, 7)).astype(np.float32)
RGB = RNG.integers(0, 256, (6, 7, 3), dtype=np.uint8)


def refusal(path: Path, read=read_image, **keywords) -> str:
    """The one line with which `read` refuses `path`."""
    with pytest.raises(ImageError) as caught:
        read(path, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def png(path: Path, bit_depth: int, colour_type: int, rows: list[bytes]) -> Path:
    """Write a PNG by hand, for the kinds that Pillow cannot write."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    width = len(rows[0]) * 8 // bit_depth // channels
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bit_depth, colour_type, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(data)
    return path


# ---- gray pixels keep their type


@pytest.mark.parametrize("pixels", [GRAY8, GRAY16, GRAY32], ids=["8-bit", "16-bit", "32-bit"])
@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True}, {"bigtiff": True}, {"compression": "zlib"}])
def test_tiff_keeps_its_pixels(tmp_path, pixels, options):
    path = tmp_path / "nuclei.tif"
    tifffile.imwrite(path, pixels, **options)
    image = read_image(path)
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    assert (image.name, image.notes, image.scale, image.shape) == ("nuclei", (), (1.0, 1.0), (6, 7))


@pytest.mark.parametrize("pixels", [GRAY8, GRAY16], ids=["8-bit", "16-bit"])
def test_png_keeps_its_pixels(tmp_path, pixels):
    path = tmp_path / "nuclei.PNG"
    PillowImage.fromarray(pixels).save(path)
    image = read_image(str(path))
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    assert (image.name, image.notes, image.calibration) == ("nuclei", (), None)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (1, 3), (3, 4)])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_thin_images_keep_their_shape(tmp_path, shape, suffix):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / f"thin{suffix}"
    tifffile.imwrite(path, pixels) if suffix == ".tif" else PillowImage.fromarray(pixels).save(path)
    np.testing.assert_array_equal(read_image(path).pixels, pixels)


@pytest.mark.parametrize(
    ("stored", "dtype", "note"),
    [
        (np.array([[True, False]]), np.uint8, "1-bit image read as 0 and 255"),
        (np.array([[0, 32767]], np.int16), np.uint16, "int16 read as 16-bit"),
        (np.array([[-5, 32767]], np.int16), np.float32, "int16 read as 32-bit"),
        (np.array([[-5, 100]], np.int8), np.float32, "int8 read as 32-bit"),
        (np.array([[0, 65535]], np.uint32), np.uint16, "uint32 read as 16-bit"),
        (np.array([[0, 65536]], np.uint32), np.float32, "uint32 read as 32-bit"),
        (np.array([[-0.5, 1e30]], np.float64), np.float32, "float64 read as 32-bit"),
    ],
)
def test_other_types_become_the_smallest_of_imagejs_that_holds_them(tmp_path, stored, dtype, note):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, stored)
    image = read_image(path)
    assert image.pixels.dtype == dtype
    assert image.notes == (note,)
    expected = stored * 255 if stored.dtype == bool else stored
    np.testing.assert_array_equal(image.pixels, expected.astype(dtype))


def test_one_bit_png(tmp_path):
    path = tmp_path / "mask.png"
    PillowImage.fromarray(np.array([[True, False, True]])).save(path)
    assert read_image(path).pixels.tolist() == [[255, 0, 255]]


def test_white_is_zero_keeps_the_stored_values(tmp_path):
    path = tmp_path / "mask.tif"  # ImageJ saves a mask with an inverting LUT like this: 255 is nucleus
    tifffile.imwrite(path, GRAY8, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path).pixels, GRAY8)
    np.testing.assert_array_equal(read_labels(path)[0], GRAY8)


def test_png_of_more_than_89_megapixels_is_no_attack(tmp_path):
    path = tmp_path / "large.png"
    PillowImage.new("1", (9_500, 9_500)).save(path)
    assert read_image(path).shape == (9_500, 9_500)


# ---- colour


def test_rgb_becomes_the_mean_of_the_channels(tmp_path):
    expected = np.floor(RGB.astype(float).mean(axis=2) + 0.5 + 1e-9).astype(np.uint8)
    np.testing.assert_array_equal(rgb_to_gray(RGB), expected)
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate")
    PillowImage.fromarray(RGB).save(tmp_path / "c.png")
    alpha = np.full((6, 7, 1), 9, np.uint8)
    PillowImage.fromarray(np.concatenate([RGB, alpha], axis=2)).save(tmp_path / "d.png")
    for name in ("a.tif", "b.tif", "c.png", "d.png"):
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.pixels, expected)
        assert "RGB converted to 8-bit gray" in image.notes[0]
        assert ("alpha channel left out" in image.notes[0]) == (name == "d.png")


def test_gray_with_alpha_keeps_the_gray(tmp_path):
    path = tmp_path / "image.png"
    PillowImage.fromarray(np.stack([GRAY8, GRAY8.T.reshape(6, 7)], axis=2)).save(path)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, GRAY8)
    assert image.notes == ("alpha channel left out",)


def test_colour_of_16_bits_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB.astype(np.uint16), photometric="rgb")
    assert "3 channels of uint16; save one channel as a gray image" in refusal(tmp_path / "a.tif")
    for colour_type, channels in ((2, 3), (4, 2), (6, 4)):
        path = png(tmp_path / f"{colour_type}.png", 16, colour_type, [bytes(2 * 5 * channels)])
        assert "several channels of 16 bits; save one channel" in refusal(path)


def test_palettes(tmp_path):
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    for name, palette in (("colour", [0, 0, 0, 255, 0, 0, 30, 30, 30]), ("gray", [0, 0, 0, 200, 200, 200, 9, 9, 9])):
        image = PillowImage.fromarray(indices)
        image.putpalette(palette)
        image.save(tmp_path / f"{name}.png")
    assert read_image(tmp_path / "colour.png").pixels.tolist() == [[0, 85], [30, 85]]
    assert read_image(tmp_path / "gray.png").pixels.tolist() == [[0, 200], [9, 200]]
    assert read_labels(tmp_path / "colour.png")[0].tolist() == [[0, 1], [2, 1]]
    assert read_labels(tmp_path / "gray.png")[0].tolist() == [[0, 200], [9, 200]]
    colormap = RNG.integers(0, 65536, (3, 256), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "lut.tif", GRAY8, photometric="palette", colormap=colormap)
    np.testing.assert_array_equal(read_image(tmp_path / "lut.tif").pixels, GRAY8)


# ---- calibration


@pytest.mark.parametrize(
    ("unit", "shown", "pixel_size_nm"),
    [
        ("um", "um", 20.0),
        ("micron", "micron", 20.0),
        ("\\u00B5m", "µm", 20.0),
        ("µm", "µm", 20.0),
        ("nm", "nm", 0.02),
        ("parsec", "parsec", None),
    ],
)
def test_calibration_of_imagej(tmp_path, unit, shown, pixel_size_nm):
    path = tmp_path / "image.tif"
    description = f"ImageJ=1.54p\nunit={unit}\n".encode("latin-1")
    tifffile.imwrite(path, GRAY8, description=description, metadata=None, resolution=(50, 50))
    calibration = read_image(path).calibration
    assert calibration == Calibration(0.02, 0.02, shown)
    assert calibration.pixel_size_nm == pixel_size_nm


@pytest.mark.parametrize("unit", ["", "pixel", "pixels"])
def test_imagej_without_a_unit_has_no_calibration(tmp_path, unit):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, GRAY8, imagej=True, metadata={"unit": unit}, resolution=(50, 50))
    assert read_image(path).calibration is None


@pytest.mark.parametrize("name", ["image.ome.tif", "image.ome.btf"])
def test_calibration_of_ome(tmp_path, name):
    path = tmp_path / name
    metadata = {"PhysicalSizeX": 0.02, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.03, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, GRAY16, ome=True, bigtiff=name.endswith("btf"), metadata=metadata)
    assert read_image(path).calibration == Calibration(0.02, 0.03, "µm")
    assert read_image(path).calibration.pixel_size_nm is None, "the pixel is no square"


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        'PhysicalSizeX="0" PhysicalSizeXUnit="nm"',
        'PhysicalSizeX="wide"',
        'PhysicalSizeX="1" PhysicalSizeXUnit="pixel"',
    ],
)
def test_ome_that_states_no_pixel_size(tmp_path, attributes):
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="7" SizeY="6" '
        f'SizeC="1" SizeZ="1" SizeT="1" {attributes}><TiffData/></Pixels></Image></OME>'
    )
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, GRAY8, description=xml, metadata=None)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, GRAY8)
    assert image.calibration is None


def test_calibration_of_plain_tags(tmp_path):
    for unit, dots, expected in (
        ("CENTIMETER", 1e6, Calibration(1e-6, 1e-6, "cm")),
        ("INCH", 300, Calibration(1 / 300, 1 / 300, "inch")),
        ("INCH", 72, None),
        ("NONE", 300, None),
    ):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, GRAY8, resolution=(dots, dots), resolutionunit=unit)
        assert read_image(path).calibration == expected
    assert Calibration(1e-6, 1e-6, "cm").pixel_size_nm == 10.0


def test_resizing_keeps_the_physical_size():
    image = Image(GRAY8, "a", Calibration(10.0, 10.0, "nm"))
    half = image.with_pixels(GRAY8[:3, :], scale=(0.5, 1.0))
    assert (half.calibration, half.scale) == (Calibration(10.0, 20.0, "nm"), (0.5, 1.0))
    back = half.with_pixels(GRAY8, scale=(1.0, 1.0))
    assert back.calibration == image.calibration
    assert image.with_pixels(GRAY16).calibration == image.calibration


# ---- stacks


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True, "metadata": {"axes": "ZYX"}}])
def test_plane_of_a_stack(tmp_path, options):
    stack = RNG.integers(0, 256, (4, 6, 7), dtype=np.uint8)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    assert read_shape(path) == ((6, 7), None)
    image = read_image(path, plane=3)
    np.testing.assert_array_equal(image.pixels, stack[2])
    assert image.notes == ("plane 3 of 4",)
    assert "is a stack of 4 planes; choose one with --plane 1 to 4" in refusal(path)
    for plane in (0, 5, -1):
        assert f"has no plane {plane}; choose 1 to 4" in refusal(path, plane=plane)
    assert "3 dimensions" in refusal(path, read_labels)


def test_plane_of_one_plane(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, GRAY8[None, None], imagej=True, metadata={"axes": "TZYX"})
    np.testing.assert_array_equal(read_image(path, plane=1).pixels, GRAY8)
    assert "has no plane 2" in refusal(path, plane=2)


def test_plane_of_a_colour_stack(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.stack([RGB, RGB[::-1]]), photometric="rgb")
    image = read_image(path, plane=2)
    np.testing.assert_array_equal(image.pixels, rgb_to_gray(RGB[::-1]))
    assert len(image.notes) == 2


def test_four_dimensions_are_refused(tmp_path):
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, np.zeros((2, 3, 6, 7), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    assert read_shape(path)[0] == (6, 7)
    assert "4 dimensions (2 T x 3 Z x 6 Y x 7 X)" in refusal(path, plane=1)


# ---- what cannot be read


def test_files_that_are_none(tmp_path):
    assert "no file" in refusal(tmp_path / "missing.tif")
    (tmp_path / "folder.tif").mkdir()
    assert "is a folder; give image files" in refusal(tmp_path / "folder.tif")
    (tmp_path / "empty.tif").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "empty.tif")
    (tmp_path / "image.jpg").write_bytes(b"x")
    assert "the ending .jpg; give one of .tif" in refusal(tmp_path / "image.jpg")
    (tmp_path / "image").write_bytes(b"x")
    assert "the ending (none)" in refusal(tmp_path / "image")
    for reader in (read_image, read_labels):
        assert "no file" in refusal(tmp_path / "missing.png", reader)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("data", [b"x", b"not an image\nat all\n" * 9, bytes(200), b"II*\0", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_image(tmp_path, capfd, caplog, suffix, data):
    path = tmp_path / f"notes{suffix}"
    path.write_bytes(data)
    assert "cannot read" in refusal(path)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (
            np.array([[1.0, np.nan, np.inf]], np.float32),
            "2 pixels that are NaN or infinite; replace them by numbers first",
        ),
        (np.array([[1.0, -np.inf]]), "1 pixel that is NaN or infinite; replace it by a number first"),
        (np.array([[1j, 2.0]], np.complex64), "pixels of type complex64"),
        (np.array([[1.0, 1e300]]), "values beyond what 32-bit pixels hold"),
    ],
)
def test_values_that_are_refused(tmp_path, pixels, words):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels)
    assert words in refusal(path)


def test_a_second_plane_of_one_is_refused(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, GRAY8)
    assert "has no plane 2; it has one only: leave --plane out" in refusal(path, plane=2)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    tifffile.imwrite(tmp_path / "image.tif", GRAY8)
    monkeypatch.setattr(tifffile, "TiffFile", forbidden)
    assert "you may not read" in refusal(tmp_path / "image.tif")


def test_codec_that_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "image.tif"
    PillowImage.fromarray(GRAY8).save(path, compression="tiff_lzw")

    def absent(*_):
        raise ValueError("LZW requires the 'imagecodecs' package")

    monkeypatch.setattr(type(tifffile.TIFF.DECOMPRESSORS), "__getitem__", absent)
    assert "LZW requires the 'imagecodecs' package; it may be damaged: save it again, uncompressed" in refusal(path)


def written(path: Path, kind: str) -> bytes:
    """Bytes of an image of one kind; the stacks have five planes."""
    pixels = RNG.integers(0, 65536, (40, 50), dtype=np.uint16)
    stack = RNG.integers(0, 256, (5, 40, 50), dtype=np.uint8)
    metadata = {"PhysicalSizeX": 0.02, "PhysicalSizeXUnit": "µm"}
    match kind:
        case "plain":
            tifffile.imwrite(path, pixels)
        case "imagej":
            tifffile.imwrite(path, pixels, imagej=True, resolution=(50, 50), metadata={"unit": "um"})
        case "imagej stack":
            tifffile.imwrite(path, stack, imagej=True)
        case "ome":
            tifffile.imwrite(path, pixels, ome=True, metadata=metadata)
        case "compressed":
            tifffile.imwrite(path, pixels, compression="zlib", rowsperstrip=7)
        case "compressed stack":
            tifffile.imwrite(path, stack, compression="zlib", rowsperstrip=7)
        case "tiled":
            tifffile.imwrite(path, pixels, compression="zlib", tile=(16, 16))
        case "directory at the end":
            PillowImage.fromarray(stack[0]).save(path, compression="tiff_adobe_deflate")
        case "png":
            PillowImage.fromarray(pixels).save(path, format="PNG")
    return path.read_bytes()


@pytest.mark.parametrize(
    "kind",
    [
        "plain",
        "imagej",
        "imagej stack",
        "ome",
        "compressed",
        "compressed stack",
        "tiled",
        "directory at the end",
        "png",
    ],
)
def test_truncated_files_are_refused(tmp_path, capfd, caplog, kind):
    path = tmp_path / ("image.png" if kind == "png" else "image.tif")
    whole = written(path, kind)
    read_image(path, plane=1)
    for length in {1, 7, 8, 9, 26, 33, 40, 200, *range(300, len(whole) - 30, len(whole) // 13), len(whole) - 30}:
        path.write_bytes(whole[:length])
        refusal(path, plane=1)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_damaged_bytes_never_raise_anything_else(tmp_path, capfd, caplog):
    messages = []
    for kind in ("imagej stack", "ome", "tiled", "png"):
        path = tmp_path / ("image.png" if kind == "png" else "image.tif")
        whole = written(path, kind)
        for _ in range(60):
            damaged = bytearray(whole)
            damaged[RNG.integers(0, 400)] = RNG.integers(0, 256)
            path.write_bytes(damaged)
            try:
                read_image(path, plane=1)
            except ImageError as error:
                messages.append(str(error))
    assert messages
    assert not [message for message in messages if "\n" in message]
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
