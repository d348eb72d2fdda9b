"""Images whose planes lie in several files, and files with odd names."""

import numpy as np
import pytest
import tifffile

from stormseg_ij.errors import ImageError
from stormseg_ij.image import read_image, read_labels, read_shape

OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}"><Image ID="Image:0">
<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="20" SizeZ="2" SizeC="1" SizeT="1"
BigEndian="false"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>
<TiffData FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:{a}</UUID></TiffData>
<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="b.ome.tif">urn:uuid:{b}</UUID></TiffData>
</Pixels></Image></OME>"""
UUIDS = {"a": "11111111-1111-1111-1111-111111111111", "b": "22222222-2222-2222-2222-222222222222"}


@pytest.fixture(params=[None, "zlib"])
def two_files(tmp_path, request):
    """One stack of two planes, 11 and 222, in two files."""
    for name, value in (("a", 11), ("b", 222)):
        plane = np.full((20, 30), value, np.uint16)
        text = OME.format(own=UUIDS[name], **UUIDS)
        path = tmp_path / f"{name}.ome.tif"
        tifffile.imwrite(path, plane, description=text, metadata=None, ome=False, compression=request.param)
    return tmp_path


@pytest.mark.parametrize("name", ["a", "b"])
def test_each_plane_comes_from_its_own_file(two_files, name):
    path = two_files / f"{name}.ome.tif"
    assert read_shape(path)[0] == (20, 30)
    for plane, value in ((1, 11), (2, 222)):
        image = read_image(path, plane=plane)
        assert np.unique(image.pixels).tolist() == [value]
        assert image.notes == (f"plane {plane} of 2",)


def test_a_plane_that_is_cut_off_in_the_other_file_is_one_line(two_files):
    other = two_files / "b.ome.tif"
    other.write_bytes(other.read_bytes()[:-10])
    with pytest.raises(ImageError, match=r"cannot read .*a\.ome\.tif: .*truncated") as caught:
        read_image(two_files / "a.ome.tif", plane=2)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_utf_8_is_one_line():
    for read in (read_image, read_labels, read_shape):
        with pytest.raises(ImageError, match=r"the name bad\\udcff\.tif is not in UTF-8, .*; rename the file"):
            read("bad\udcff.tif")
