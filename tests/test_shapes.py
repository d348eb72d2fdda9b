"""Outlines of simulated nuclei, and how they are laid out: forms, templates of real nuclei, who lies in front."""

import shutil

import numpy as np
import pytest
from scipy import ndimage
from skimage import draw, measure

from stormseg_ij.errors import ImageError
from stormseg_ij.image import read_labels, write_labels
from stormseg_ij.layouts import Population, place_nuclei, tissue_layout
from stormseg_ij.shapes import FORMS, Placement, bent, bitten, cornered, lobed, nucleus_mask, read_templates

DRAWN = 20


def drawn(form, diameter, rng, *, roughness=0.0, elongation=1.0):
    """The mask of one nucleus in the middle of an image that holds it."""
    side = int(6 * diameter)
    place = Placement(side / 2, side / 2, diameter, rng.uniform(0.0, 6.0), elongation, roughness, form)
    rows, columns, mask = nucleus_mask(rng, place, (side, side))
    whole = np.zeros((side, side), bool)
    whole[rows, columns] = mask
    return whole


def solidity(mask):
    return measure.regionprops(mask.astype(np.uint8))[0].solidity


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labels with one large nucleus (concave), one at the border and one that is too small."""
    labels = np.zeros((90, 100), np.int32)
    labels[draw.ellipse(40, 45, 20, 14)] = 7
    labels[30:50, 50:56] = 0
    labels[60:, 80:] = 2
    labels[70:80, 10:20] = 4
    path = tmp_path_factory.mktemp("shapes")
    write_labels(path / "labels" / "a.tif", labels)
    return path


@pytest.mark.parametrize("diameter", [20.0, 200.0])
@pytest.mark.parametrize("form", FORMS)
def test_a_form_has_the_area_of_the_disc(form, diameter):
    rng = np.random.default_rng(0)
    areas = [drawn(form(rng), diameter, rng).sum() / (np.pi * diameter**2 / 4.0) for _ in range(DRAWN)]
    assert min(areas) > 0.95
    assert max(areas) < 1.05


def test_no_form_is_cut_off_by_its_own_grid():
    for seed in range(200):
        for form in FORMS:
            level = form(np.random.default_rng(seed))
            assert max(level[0].max(), level[-1].max(), level[:, 0].max(), level[:, -1].max()) < 0.0, form.__name__


def test_roughness_and_elongation_leave_the_area_on_average():
    rng = np.random.default_rng(1)
    for form in (lobed, bent, bitten):
        areas = [drawn(form(rng), 60.0, rng, roughness=0.15, elongation=1.5).sum() for _ in range(DRAWN)]
        assert np.mean(areas) == pytest.approx(np.pi * 30.0**2, rel=0.05)


@pytest.mark.parametrize("form", [lobed, bent, bitten])
def test_a_form_is_concave_where_an_ellipse_is_not(form):
    rng = np.random.default_rng(2)
    ellipse = solidity(drawn(None, 100.0, rng, elongation=1.8))
    assert ellipse > 0.98
    assert np.mean([solidity(drawn(form(rng), 100.0, rng)) for _ in range(DRAWN)]) < ellipse - 0.02


def test_roughness_changes_an_outline():
    rng = np.random.default_rng(3)
    for form in (lobed(rng), cornered(rng), bent(rng), bitten(rng), None):
        one, two = (drawn(form, 80.0, np.random.default_rng(5), roughness=roughness) for roughness in (0.0, 0.15))
        assert 0.005 < (one ^ two).sum() / one.sum() < 0.5


@pytest.mark.parametrize("form", [*FORMS, None])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (2.0, 75.0), (49.0, 40.0), (-90.0, 30.0), (300.0, 300.0)])
def test_a_nucleus_that_is_cut_at_the_border_stays_in_its_box(form, centre):
    rng = np.random.default_rng(4)
    place = Placement(*centre, 40.0, 1.0, 1.3, 0.1, None if form is None else form(rng))
    rows, columns, mask = nucleus_mask(rng, place, (50, 80))
    assert mask.shape == (rows.stop - rows.start, columns.stop - columns.start)
    assert 0 <= rows.start <= rows.stop <= 50 or mask.size == 0
    assert 0 <= columns.start <= columns.stop <= 80 or mask.size == 0
    assert mask.any() == (centre[0] in (0.0, 2.0, 49.0))


def test_templates_are_the_whole_nuclei_of_a_folder(folder):
    assert len(read_templates(folder)) == 1  # neither the one at the border nor the small one


def test_a_template_keeps_the_shape_of_its_nucleus(folder):
    mask = read_labels(folder / "labels" / "a.tif")[0] == 7
    (form,) = read_templates(folder)
    assert overlap(form, mask) > 0.95
    assert solidity(mask) < 0.93  # and that is no ellipse


def overlap(form, mask):
    """IoU of a mask and its template, drawn at its place and size."""
    y, x = ndimage.center_of_mass(mask)
    place = Placement(y, x, 2.0 * np.sqrt(mask.sum() / np.pi), 0.0, 1.0, 0.0, form)
    rows, columns, again = nucleus_mask(np.random.default_rng(0), place, mask.shape)
    whole = np.zeros_like(mask)
    whole[rows, columns] = again
    return (whole & mask).sum() / (whole | mask).sum()


def test_a_template_is_roughened_as_much_as_a_form(folder):
    (template,) = read_templates(folder)
    smooth, rough = (drawn(template, 80.0, np.random.default_rng(5), roughness=value) for value in (0.0, 0.15))
    assert (smooth ^ rough).sum() > 0.02 * smooth.sum()


def test_a_folder_without_shapes_is_one_line(tmp_path):
    with pytest.raises(ImageError, match=r"labels holds no label images; give the folder above labels/") as caught:
        read_templates(tmp_path)
    assert "\n" not in str(caught.value)
    write_labels(tmp_path / "labels" / "a.tif", np.zeros((40, 40), np.int32))
    with pytest.raises(ImageError, match=r"does not hold a nucleus of 250 pixels or more that is not cut"):
        read_templates(tmp_path)


def test_real_nuclei_of_dsb2018_become_templates(repository, tmp_path):
    source = repository.parent / "shared" / "data" / "dsb2018" / "labels"
    if not source.is_dir():
        pytest.skip(f"DSB2018 is not at {source.parent}")
    (tmp_path / "labels").mkdir()
    for path in sorted(source.glob("*.png"))[::80]:
        shutil.copy(path, tmp_path / "labels")
    templates = iter(read_templates(tmp_path))
    overlaps = []
    for path in sorted((tmp_path / "labels").iterdir()):
        labels = np.pad(read_labels(path)[0], 1)
        for region in measure.regionprops(labels):
            low, high = region.bbox[:2], np.array(labels.shape) - region.bbox[2:]
            if region.area >= 250 and min(*low, *high) > 1:
                overlaps.append(overlap(next(templates), np.pad(region.image, 40)))
    assert next(templates, None) is None
    assert len(overlaps) > 50
    assert min(overlaps) > 0.7  # of a very long one the ends are missing
    assert np.mean(np.array(overlaps) > 0.9) > 0.99


def two_discs():
    return [Placement(30.0, x, 30.0, 0.0, 1.0, 0.0) for x in (25.0, 45.0)]


def test_the_later_nucleus_lies_whole_in_front():
    field, rng = np.ones((60, 70), bool), np.random.default_rng(0)
    alone = place_nuclei(rng, field, two_discs()[1:], most_overlap=1.0, gap_px=0.0) > 0
    front = place_nuclei(rng, field, two_discs(), most_overlap=1.0, gap_px=0.0, in_front=True)
    np.testing.assert_array_equal(front == 2, alone)
    assert solidity(front == 1) < 0.95  # bitten
    shared = place_nuclei(rng, field, two_discs(), most_overlap=1.0, gap_px=0.0)
    assert (shared == 1).sum() == pytest.approx((shared == 2).sum(), rel=0.05)


def test_nuclei_that_meet_leave_the_gap():
    labels = place_nuclei(np.random.default_rng(0), np.ones((60, 70), bool), two_discs(), most_overlap=1.0, gap_px=3.0)
    apart = ndimage.distance_transform_edt(labels != 1)[labels == 2].min()
    assert 3.0 < apart < 7.0  # each gives up 3


def test_a_nucleus_that_overlaps_too_much_is_left_out():
    labels = place_nuclei(np.random.default_rng(0), np.ones((60, 70), bool), two_discs(), most_overlap=0.1, gap_px=0.0)
    assert labels.max() == 1


def test_no_nucleus_reaches_beyond_the_field():
    field = np.zeros((120, 120), bool)
    field[20:90, 30:100] = True
    rng = np.random.default_rng(1)
    places = tissue_layout(rng, field.shape, Population(25.0, 0.2, 0.1, 2.0, 0.5))
    labels = place_nuclei(rng, field, places, most_overlap=0.3, gap_px=0.0)
    assert labels[~ndimage.binary_erosion(field)].any()  # some are cut at its border
    assert not labels[~field].any()


@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.parametrize("gap_px", [0.0, 1.2])
def test_every_label_is_one_piece(gap_px, in_front):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        places = tissue_layout(rng, (250, 250), Population(30.0, 0.3, 0.1, 2.5, 0.7))
        labels = place_nuclei(
            rng, np.ones((250, 250), bool), places, most_overlap=0.35, gap_px=gap_px, in_front=in_front
        )
        for region in measure.regionprops(labels):
            assert measure.label(region.image, connectivity=2).max() == 1, (seed, region.label)


def test_irregular_nuclei_are_less_solid_than_regular_ones():
    rng = np.random.default_rng(0)

    def mean_solidity(irregular):
        kind = Population(50.0, 0.1, 0.03, 1.6, irregular)
        places = [kind.nucleus(rng, (80.0, 80.0), 0.0) for _ in range(40)]
        return np.mean([solidity(nucleus_mask(rng, place, (160, 160))[2]) for place in places])

    assert mean_solidity(1.0) < mean_solidity(0.0) - 0.03


def test_half_of_the_forms_come_from_the_templates(folder):
    templates, rng = read_templates(folder), np.random.default_rng(0)
    kind = Population(50.0, 0.1, 0.03, 1.6, 1.0, templates)
    taken = [kind.nucleus(rng, (0.0, 0.0), 0.0).form is templates[0] for _ in range(200)]
    assert 70 < sum(taken) < 130
