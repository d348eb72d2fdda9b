"""Corrections of nuclei beside slow ones on whole images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi
from scipy import ndimage

from stormseg_ij import corrections, rois
from stormseg_ij.candidates import Instance
from stormseg_ij.errors import ImageError

SHAPE = (60, 70)
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=10)).filter(np.any)
BLOBS = st.integers(0, 10**6).map(
    lambda seed: ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 24)), 3) > 0
)
POINTS = st.lists(st.tuples(st.floats(-3, 27), st.floats(-3, 27)), min_size=2, max_size=6)
BYTES = {"stroke_color": b"\xff\x10\x20\x30", "position": 2}
PROPS = "image: cell\nmodel: stardist\nscore: 0.7\nown: kept\n"


def _square(name, left, top, width, height, **others):
    return ImagejRoi(
        roitype=ROI_TYPE.RECT, name=name, left=left, top=top, right=left + width, bottom=top + height, **others
    )


def _oval(name, left, top, width, height):
    oval = _square(name, left, top, width, height)
    oval.roitype = ROI_TYPE.OVAL
    return oval


def _polygon(points):
    corners = np.array(points, np.float32)
    return ImagejRoi(
        roitype=ROI_TYPE.POLYGON,
        name="drawn",
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
        n_coordinates=len(corners),
        integer_coordinates=np.zeros(corners.shape, np.int32),
        subpixel_coordinates=corners,
    )


def _roi(mask, name="nucleus_0001", at=(0, 0)):
    return rois.mask_to_roi(*at, mask, name=name, values={"score": "0.7"})


def _whole(roi, shape=SHAPE):
    """The pixels of one ROI in the whole image, painted by the other way round."""
    return rois.rois_to_labels([roi], shape)[0] > 0


def _or_reason(correction, *arguments, **options):
    """What a correction gives, or why it gives nothing."""
    try:
        return correction(*arguments, **options)
    except ImageError as error:
        return str(error)


def _check_parts(source, done, shape=SHAPE, next_number=5):
    """No pixel is lost, none double; the largest keeps the name; the others have the next numbers."""
    parts = [_whole(roi, shape) for roi in done.rois]
    np.testing.assert_array_equal(np.sum(parts, axis=0), _whole(source, shape))
    sizes = [int(part.sum()) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert [roi.name for roi in done.rois] == [
        source.name,
        *(f"nucleus_{next_number + i:04d}" for i in range(len(parts) - 1)),
    ]
    return parts


# ---- what every correction keeps


def _each(roi):
    line = np.array([[20.0, 0.0], [20.0, 50.0]])
    yield corrections.merged([roi, _square("x", 30, 10, 9, 9)], SHAPE)
    yield corrections.split_by_line(roi, line, SHAPE, next_number=5)
    yield corrections.split_in_two(roi, SHAPE, next_number=5)
    yield corrections.filled(roi, SHAPE)
    yield corrections.smoothed(roi, SHAPE, sigma_px=1.0)


def _ring():
    mask = np.ones((20, 20), bool)
    mask[4:6, 4:6] = False
    roi = _roi(mask, at=(10, 10))
    roi.props = PROPS
    roi.stroke_color, roi.position = BYTES["stroke_color"], BYTES["position"]
    return roi


def test_properties_colour_and_slice_go_with_the_nucleus_and_the_source_stays():
    roi = _ring()
    before = roi.tobytes()
    how = ["merged", "split", "split", "filled", "smoothed"]
    for done, word in zip(_each(roi), how, strict=True):
        for new in done.rois:
            expected = {"image": "cell", "model": "stardist", "score": "0.7", "own": "kept", "corrected": word}
            assert rois.properties(new) == expected
            assert (new.stroke_color, new.position) == tuple(BYTES.values())
            assert ImagejRoi.frombytes(new.tobytes()).name == new.name
        assert done.rois[0].name == "nucleus_0001"
    assert roi.tobytes() == before


@pytest.mark.parametrize(
    ("roi", "reason"),
    [
        (_square("a", 90, 0, 3, 3), "it lies outside the image"),
        (_square("a", 1, 1, 0, 0), "it is empty"),
        (ImagejRoi(name="a", roitype=ROI_TYPE.LINE, x2=3.0, y2=3.0), "a line selection has no area"),
    ],
)
def test_a_roi_without_pixels_is_refused(roi, reason):
    message = f"a cannot be corrected: {reason}; choose"
    with pytest.raises(ImageError, match=message):
        corrections.merged([_square("b", 0, 0, 3, 3), roi], SHAPE)
    with pytest.raises(ImageError, match=message):
        corrections.split_by_line(roi, np.array([[0.0, 0.0], [9.0, 9.0]]), SHAPE, next_number=1)
    with pytest.raises(ImageError, match=message):
        corrections.split_in_two(roi, SHAPE, next_number=1)
    with pytest.raises(ImageError, match=message):
        corrections.filled(roi, SHAPE)
    with pytest.raises(ImageError, match=message):
        corrections.smoothed(roi, SHAPE, sigma_px=1.0)


def test_what_is_cut_off_at_the_edge_is_said():
    done = corrections.split_by_line(
        _square("a", -5, 0, 15, 20), np.array([[-9.0, 10.0], [20.0, 10.0]]), SHAPE, next_number=5
    )
    assert done.notes == ("a: reaches over the image's edge: cut off there",)
    assert [int(_whole(roi).sum()) for roi in done.rois] == [100, 100]


# ---- merge


@settings(max_examples=150, deadline=None)
@given(masks=st.lists(MASKS, min_size=2, max_size=4), data=st.data())
def test_merged_is_the_union(masks, data):
    places = [data.draw(st.tuples(st.integers(0, 49), st.integers(0, 59))) for _ in masks]
    sources = [_roi(mask, f"nucleus_{i + 1:04d}", at) for i, (mask, at) in enumerate(zip(masks, places, strict=True))]
    done = corrections.merged(sources, SHAPE)
    whole = np.any([_whole(roi) for roi in sources], axis=0)
    np.testing.assert_array_equal(_whole(done.rois[0]), whole)
    assert done.rois[0].name == sources[int(np.argmax([mask.sum() for mask in masks]))].name
    pieces = ndimage.label(whole, np.ones((3, 3)))[1]
    assert done.notes == ((f"{done.rois[0].name}: lies in {pieces} pieces that do not touch",) if pieces > 1 else ())


def test_merged_drawn_shapes_keep_the_largest_nucleus_name_and_the_best_score():
    small = _square("nucleus_0003", 0, 0, 4, 4, props="score: 0.9\nmodel: a\n")
    large = _square("nucleus_0009", 4, 0, 6, 6, props="score: 0.25\nmodel: b\n")
    drawn = _oval("hand", 0, 0, 30, 30)
    new = corrections.merged([drawn, small, large], SHAPE).rois[0]
    assert new.name == "nucleus_0009"
    assert rois.properties(new) == {"score": "0.9", "model": "b", "corrected": "merged"}
    np.testing.assert_array_equal(_whole(new), _whole(drawn) | _whole(small) | _whole(large))
    new = corrections.merged([_square("b", 0, 0, 2, 2), drawn], SHAPE).rois[0]
    assert (new.name, rois.properties(new)) == ("b", {"corrected": "merged"})


def test_merged_goes_to_the_slice_that_is_known():
    on_two = _square("drawn", 3, 0, 3, 3, position=2)
    new = corrections.merged([_square("nucleus_0001", 0, 0, 3, 3), on_two], SHAPE).rois[0]
    assert (new.name, new.position) == ("nucleus_0001", 2)
    with pytest.raises(ImageError, match="the 2 ROIs lie on different slices of the stack; select"):
        corrections.merged([_square("nucleus_0001", 0, 0, 3, 3, position=1), on_two], SHAPE)


def test_merging_takes_two():
    with pytest.raises(ImageError, match="takes two or more ROIs, not 1; select"):
        corrections.merged([_square("a", 0, 0, 3, 3)], SHAPE)


# ---- split by a line


@settings(max_examples=150, deadline=None)
@given(mask=BLOBS.filter(np.any), points=POINTS)
def test_split_by_line_loses_no_pixel_and_gives_none_twice(mask, points):
    source = _roi(mask, at=(7, 9))
    line = np.array(points) + np.array([9, 7])
    done = _or_reason(corrections.split_by_line, source, line, SHAPE, next_number=5)
    if isinstance(done, str):
        assert "the line does not split nucleus_0001; draw it across" in done
        return
    parts = _check_parts(source, done)
    assert len(parts) > 1
    assert all(part.sum() >= 4 for part in parts)


@pytest.mark.parametrize("inside", [0.0, 3.0, 8.0])
@pytest.mark.parametrize("angle", np.arange(0.1, 3.1, 0.37).tolist())
def test_a_straight_line_parts_pixels_by_the_side_of_their_centres(angle, inside):
    source = _oval("nucleus_0001", 10, 8, 40, 44)
    across, along = np.array([-np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([30.2, 30.3])
    line = np.array([middle - along * (26 - inside * 2), middle + along * (26 - inside * 2)])
    done = corrections.split_by_line(source, line, SHAPE, next_number=5)
    parts = _check_parts(source, done)
    y, x = np.indices(SHAPE)
    left = _whole(source) & ((x + 0.5 - middle[0]) * across[0] + (y + 0.5 - middle[1]) * across[1] > 0)
    sides = {left.tobytes(), (_whole(source) & ~left).tobytes()}
    assert {part.tobytes() for part in parts} == sides


def test_a_freehand_line_parts_as_its_polygon_does():
    y = np.linspace(2.0, 58.0, 400)
    x = 31.3 + 6.0 * np.sin(y / 5.0)
    source = _oval("nucleus_0001", 10, 10, 42, 40)
    parts = _check_parts(source, corrections.split_by_line(source, np.stack([x, y], axis=1), SHAPE, next_number=5))
    boundary = 31.3 + 6.0 * np.sin((np.arange(60) + 0.5) / 5.0)
    left = _whole(source) & (np.arange(70)[None] + 0.5 < boundary[:, None])
    assert min(np.count_nonzero(part ^ left) for part in parts) <= 2  # the line is drawn in short straight pieces


def test_a_wiggly_line_makes_several_nuclei():
    line = np.array([[5, 30], [20, 45], [30, 5], [40, 45], [60, 30]], float)
    source = _square("nucleus_0001", 10, 20, 40, 16)
    done = corrections.split_by_line(source, line, SHAPE, next_number=5)
    assert len(_check_parts(source, done)) == 3


def test_crumbs_stay_with_their_neighbour():
    mask = np.ones((30, 40), bool)
    loop = np.array([[20, -2], [20, 10], [22, 10], [22, 12], [19.9, 12], [19.9, 10.2], [20, 10.2], [20, 32]], float)
    done = corrections.split_by_line(_roi(mask), loop, SHAPE, next_number=5)
    assert len(_check_parts(_roi(mask), done)) == 2


def test_of_two_pieces_a_small_one_is_no_crumb():
    source = _square("nucleus_0001", 0, 0, 60, 50)  # 1 % is 30 pixels
    done = corrections.split_by_line(source, np.array([[-1.0, 5.5], [5.5, -1.0]]), SHAPE, next_number=5)
    assert [int(part.sum()) for part in _check_parts(source, done)] == [2990, 10]
    with pytest.raises(ImageError, match="does not split"):  # three pixels are no nucleus
        corrections.split_by_line(source, np.array([[-1.0, 3.5], [3.5, -1.0]]), SHAPE, next_number=5)


def test_a_line_through_one_arm_leaves_the_other():
    mask = np.ones((40, 30), bool)
    mask[:30, 10:20] = False  # a U
    done = corrections.split_by_line(_roi(mask), np.array([[-2.0, 10.0], [8.0, 10.0]]), SHAPE, next_number=5)
    parts = _check_parts(_roi(mask), done)
    assert int(parts[1].sum()) == 100


def test_a_line_from_a_hole_is_made_longer_on_both_sides():
    mask = np.ones((20, 20), bool)
    mask[8:12, 8:12] = False
    done = corrections.split_by_line(_roi(mask), np.array([[10.0, 9.0], [10.0, 11.0]]), SHAPE, next_number=5)
    assert [int(part.sum()) for part in _check_parts(_roi(mask), done)] == [192, 192]


def test_pieces_that_lie_apart_go_by_the_side_of_the_line():
    mask = np.zeros((20, 40), bool)
    mask[:, :10] = mask[:, 15:25] = mask[5:10, 30:35] = True
    between = np.array([[12.0, -1.0], [12.0, 21.0]])
    done = corrections.split_by_line(_roi(mask), between, SHAPE, next_number=5)
    parts = _check_parts(_roi(mask), done)
    assert [int(part.sum()) for part in parts] == [225, 200]
    assert done.notes == ("nucleus_0001: lies in 2 pieces that do not touch",)


@pytest.mark.parametrize(
    "line",
    [
        [[0, 0], [9, 0]],
        [[12, 5], [12, 9]],  # beside it, and towards it
        [[15, 15], [15, 15]],
        [[5, 20], [9, 20]],
    ],
)
def test_a_line_that_does_not_cross_is_refused(line):
    with pytest.raises(ImageError, match="the line does not split a; draw it across"):
        corrections.split_by_line(_square("a", 10, 10, 20, 20), np.array(line, float), SHAPE, next_number=5)


@pytest.mark.parametrize("line", [np.zeros((1, 2)), np.zeros(4), np.array([[0, np.nan], [5, 5]])])
def test_what_is_no_line_is_refused(line):
    with pytest.raises(ImageError, match=r"a line of shape \(.*\) cannot split a nucleus; draw"):
        corrections.split_by_line(_square("a", 10, 10, 20, 20), line, SHAPE, next_number=5)


def test_far_from_the_corner_of_a_large_image():
    mask = np.hypot(*np.ogrid[-25:26, -25:26]) < 25
    roi = _roi(mask, at=(40_000, 69_000))
    done = corrections.split_by_line(
        roi, np.array([[68_990.0, 40_030.0], [69_060.0, 40_030.0]]), (80_000, 80_000), next_number=5
    )
    parts = [rois.roi_mask(ImagejRoi.frombytes(new.tobytes()), (80_000, 80_000))[0] for new in done.rois]
    assert [part.area for part in parts] == [int(mask[:30].sum()), int(mask[30:].sum())]
    assert [part.top for part in parts] == [40_001, 40_030]


def test_a_drawn_polygon_is_split_in_its_pixels():
    source = _polygon([[3.3, 4.4], [50.2, 9.7], [44.1, 51.8], [12.6, 40.2]])
    _check_parts(source, corrections.split_by_line(source, np.array([[0, 0], [55, 55]]), SHAPE, next_number=5))


# ---- fill and smooth


@settings(max_examples=150, deadline=None)
@given(mask=st.one_of(MASKS, BLOBS.filter(np.any)))
def test_filled_fills_what_the_outside_does_not_reach(mask):
    outside = ndimage.label(np.pad(~_whole(_roi(mask)), 1, constant_values=True), np.ones((3, 3)))[0]
    expected = (outside != outside[0, 0])[1:-1, 1:-1]
    done = _or_reason(corrections.filled, _roi(mask), SHAPE)
    if isinstance(done, str):
        assert "nucleus_0001 has no holes; choose" in done
        np.testing.assert_array_equal(expected, _whole(_roi(mask)))
        return
    assert expected.sum() > mask.sum()
    np.testing.assert_array_equal(_whole(done.rois[0]), expected)


@settings(max_examples=80, deadline=None)
@given(mask=BLOBS.filter(np.any), sigma=st.floats(0.3, 4.0))
def test_smoothed_is_one_piece_of_nearly_the_same_area(mask, sigma):
    pieces = ndimage.label(mask)[0]
    largest = np.bincount(pieces.ravel())[1:].max()
    done = _or_reason(corrections.smoothed, _roi(mask, at=(30, 30)), SHAPE, sigma_px=sigma)
    if isinstance(done, str):
        assert "tears nucleus_0001 apart" in done or "give 0.5 to" in done
        return
    smooth = _whole(done.rois[0])
    assert ndimage.label(smooth)[1] == 1
    assert 0.9 * largest <= smooth.sum() <= largest + 8
    assert bool(done.notes) == (largest < mask.sum())


def test_smoothing_takes_roughness_and_leaves_the_disc():
    rng = np.random.default_rng(3)
    distance = np.hypot(*np.ogrid[-28:29, -28:29])
    rough = distance < 24 + rng.choice([-2, 0, 2], size=distance.shape)
    pieces = ndimage.label(rough)[0]
    rough = pieces == pieces[28, 28]
    disc = distance < np.sqrt(rough.sum() / np.pi)
    smooth = _whole(corrections.smoothed(_roi(rough), SHAPE, sigma_px=3.0).rois[0])[:57, :57]
    assert np.count_nonzero(smooth ^ disc) < 0.4 * np.count_nonzero(rough ^ disc)
    assert smooth.sum() == pytest.approx(rough.sum(), rel=0.005)


def test_at_the_edge_of_the_image_a_nucleus_is_not_rounded():
    new = corrections.smoothed(_square("a", 0, 0, 20, 60), SHAPE, sigma_px=3.0).rois[0]
    np.testing.assert_array_equal(_whole(new), _whole(_square("a", 0, 0, 20, 60)))


def test_smoothing_that_would_lose_a_lobe_is_refused():
    mask = np.zeros((20, 50), bool)
    mask[:, :20] = mask[:, 30:] = mask[10, :] = True
    with pytest.raises(ImageError, match=r"a sigma of 3 px tears nucleus_0001 apart: 4.. of 810 pixels"):
        corrections.smoothed(_roi(mask, at=(20, 10)), SHAPE, sigma_px=3.0)
    for sigma in (0.0, -1.0, float("nan"), 51.0):
        with pytest.raises(ImageError, match=r"cannot smooth nucleus_0001 with a sigma of .* px; give 0.5 to 50"):
            corrections.smoothed(_roi(mask), SHAPE, sigma_px=sigma)


def test_a_single_pixel_stays():
    assert _whole(corrections.smoothed(_square("a", 5, 5, 1, 1), SHAPE, sigma_px=1.0).rois[0]).sum() == 1


def test_redrawn_keeps_all_but_the_pixels():
    roi = rois.mask_to_roi(2, 3, np.ones((4, 5), bool), name="nucleus_0007", values={"image": "a", "score": "0.5"})
    roi.position, roi.stroke_color = 3, b"\xff\x01\x02\x03"
    drawn = Instance(10, 20, np.array([[1, 1, 0], [1, 1, 1]], bool), float("nan"))
    made = corrections.redrawn(roi, drawn)
    instance, _ = rois.roi_mask(made, (40, 40))
    assert (instance.top, instance.left, instance.mask.tolist()) == (10, 20, drawn.mask.tolist())
    assert (made.name, made.position, made.stroke_color) == ("nucleus_0007", 3, b"\xff\x01\x02\x03")
    assert rois.properties(made) == {"image": "a", "score": "0.5", "corrected": "redrawn"}
