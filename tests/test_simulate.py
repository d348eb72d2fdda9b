"""Simulated images: seeded, labelled exactly, of a known scale, with noise that belongs to no nucleus."""

import csv

import numpy as np
import pytest
from scipy import ndimage
from skimage import draw

from stormseg_ij.errors import ImageError, SettingsError
from stormseg_ij.image import read_image, read_labels, write_labels
from stormseg_ij.settings import SimulateSettings
from stormseg_ij.shapes import read_templates
from stormseg_ij.simulate import LOCALIZATION_COLUMNS, localization_table, simulate, write_dataset

USUAL_UM = {"tissue": 8.0, "cell": 18.4}


@pytest.mark.parametrize("kind", ["tissue", "cell"])
def test_the_same_seed_gives_the_same_image(kind):
    first, again = (simulate(np.random.default_rng(3), kind=kind, size=256) for _ in range(2))
    other = simulate(np.random.default_rng(4), kind=kind, size=256)
    for attribute in ("image", "labels", "noise", "points"):
        np.testing.assert_array_equal(getattr(first, attribute), getattr(again, attribute))
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("kind", ["tissue", "cell"])
def test_labels_are_numbered_without_gaps_and_each_is_one_piece(kind):
    labels = simulate(np.random.default_rng(11), kind=kind, size=384).labels
    numbers = np.unique(labels)
    assert numbers.tolist() == list(range(len(numbers)))
    assert len(numbers) > 3
    for number in numbers[1:]:
        assert ndimage.label(labels == number, np.ones((3, 3)))[1] == 1


def test_most_signal_lies_in_labels_and_the_rest_in_the_noise_mask():
    result = simulate(np.random.default_rng(8), kind="tissue", size=384)
    signal = result.image.astype(float)
    assert signal[result.labels > 0].mean() > 5.0 * signal[result.labels == 0].mean()
    assert not (result.noise & (result.labels > 0)).any()
    far = ndimage.distance_transform_edt(result.labels == 0) > 8
    stray = signal * far
    assert stray[result.noise].sum() > 0.9 * stray.sum() > 0


def counted(result):
    """Localizations per pixel, by numpy's histogram."""
    side = result.image.shape[0]
    return np.histogram2d(*result.points.T, bins=side, range=[[0, side], [0, side]])[0]


def test_an_image_is_the_histogram_of_its_localizations_or_that_drawn_with_gaussians():
    graded = 0
    for seed in range(12):
        result = simulate(np.random.default_rng(seed), kind="cell", size=192, diameter=60)
        counts, shown = counted(result), result.image.astype(float)
        near = ndimage.gaussian_filter(counts, 0.7)
        spread = (shown[counts == 0] > 0).any()  # a histogram shows nothing where nothing is
        graded += spread
        expected = near if spread else counts
        brightest = np.percentile(expected[expected > 0.01], 90)
        agreement = np.corrcoef(np.minimum(expected, brightest).ravel(), shown.ravel())[0, 1]
        assert agreement > 0.75, (seed, spread)
        order = [shown[(counts >= low) & (counts < high)].mean() for low, high in ((0, 1), (1, 4), (4, np.inf))]
        assert order == sorted(order)
    assert 2 <= graded <= 10


def test_the_asked_diameter_is_met():
    labels = [simulate(np.random.default_rng(i), kind="cell", size=512, diameter=60).labels for i in range(3)]
    assert median_diameter(labels) == pytest.approx(60, rel=0.2)


def median_diameter(planes):
    """Median diameter in pixels of the nuclei that do not touch the border."""
    areas = []
    for labels in planes:
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        area = np.bincount(labels.ravel())
        areas += [area[i] for i in range(1, area.size) if i not in edge]
    return np.sqrt(4 * np.median(areas) / np.pi)


@pytest.mark.parametrize(
    ("kind", "pixel_size_nm"), [("tissue", 100.0), ("tissue", 250.0), ("cell", 230.0), ("cell", 460.0)]
)
def test_a_pixel_size_gives_nuclei_of_the_usual_size(kind, pixel_size_nm):
    size = int(6 * USUAL_UM[kind] * 1000 / pixel_size_nm)
    results = [simulate(np.random.default_rng(i), kind=kind, size=size, pixel_size_nm=pixel_size_nm) for i in range(6)]
    assert {result.pixel_size_nm for result in results} == {pixel_size_nm}
    um = [median_diameter([result.labels]) * pixel_size_nm / 1000 for result in results]
    assert np.median(um) == pytest.approx(USUAL_UM[kind], rel=0.35)
    assert np.ptp(um) > 0.1 * USUAL_UM[kind]  # varied


@pytest.mark.parametrize("diameter", [20.0, 100.0])
@pytest.mark.parametrize("kind", ["tissue", "cell"])
def test_a_diameter_gives_a_pixel_size_at_which_nuclei_have_the_usual_size(kind, diameter):
    um = [
        simulate(np.random.default_rng(i), kind=kind, size=128, diameter=diameter).pixel_size_nm * diameter / 1000
        for i in range(20)
    ]
    assert np.median(um) == pytest.approx(USUAL_UM[kind], rel=0.2)
    assert 0.1 < np.std(np.log(um)) < 0.5


def test_a_pixel_size_is_refused_for_every_seed_or_for_none():
    for seed in range(40):
        assert simulate(np.random.default_rng(seed), kind="tissue", size=64, pixel_size_nm=606.0).labels.shape == (
            64,
            64,
        )
        with pytest.raises(SettingsError, match=r"^--pixel-size 608: nuclei show no shape there; give 607 nm or less$"):
            simulate(np.random.default_rng(seed), kind="tissue", size=64, pixel_size_nm=608.0)
        with pytest.raises(
            SettingsError, match=r"^--pixel-size 10: nuclei do not fit in --size 512; give 16 nm or more"
        ):
            simulate(np.random.default_rng(seed), kind="tissue", size=512, pixel_size_nm=10.0)


def test_nuclei_larger_than_the_image_are_refused():
    with pytest.raises(
        SettingsError, match=r"^--diameter 200 does not fit an image of --size 128; give a larger size$"
    ):
        simulate(np.random.default_rng(0), kind="cell", size=128, diameter=200.0)


def test_every_localization_lies_in_the_image():
    points = simulate(np.random.default_rng(2), kind="tissue", size=96, diameter=30).points
    assert len(points) > 100
    assert ((points >= 0.0) & (points < 96.0)).all()


def test_diameter_and_pixel_size_are_kept_where_both_are_given():
    results = [
        simulate(np.random.default_rng(i), kind="cell", size=400, diameter=50, pixel_size_nm=33.0) for i in range(3)
    ]
    assert {result.pixel_size_nm for result in results} == {33.0}
    assert median_diameter([result.labels for result in results]) == pytest.approx(50, rel=0.2)


def test_without_both_the_pixels_are_the_papers():
    assert simulate(np.random.default_rng(0), kind="tissue", size=128).pixel_size_nm == 160.0


def test_the_table_has_one_row_per_localization_in_nm():
    result = simulate(np.random.default_rng(0), kind="tissue", size=128, pixel_size_nm=100.0)
    table = localization_table(np.random.default_rng(1), result)
    assert table.shape == (len(result.points), len(LOCALIZATION_COLUMNS))
    frame, x, y, photons, uncertainty = table.T
    assert (np.diff(frame) >= 0).all()
    assert frame.min() >= 1
    np.testing.assert_allclose(np.sort(x), np.sort(result.points[:, 1]) * 100.0, rtol=1e-5, atol=1e-2)
    np.testing.assert_allclose(np.sort(y), np.sort(result.points[:, 0]) * 100.0, rtol=1e-5, atol=1e-2)
    rows, columns = np.floor(y / 100.0), np.floor(x / 100.0)
    inside = (rows >= 0) & (rows < 128) & (columns >= 0) & (columns < 128)
    again = np.zeros((128, 128))
    np.add.at(again, (rows[inside].astype(int), columns[inside].astype(int)), 1)
    assert np.abs(again - counted(result)).sum() < 1e-3 * len(table)  # x and y of a row belong together
    assert photons.min() > 0
    np.testing.assert_allclose(uncertainty, 300.0 / np.sqrt(photons), rtol=1e-4)


def test_dataset_files_have_equal_stems_and_do_not_depend_on_the_count(tmp_path):
    few = write_dataset(tmp_path / "few", SimulateSettings(count=1, size=128, seed=7))
    more = write_dataset(tmp_path / "more", SimulateSettings(count=2, size=128, seed=7))
    assert few[0].name == more[0].name
    assert few[0].read_bytes() == more[0].read_bytes()
    folders = [tmp_path / "more" / name for name in ("images", "labels", "noise", "localizations")]
    stems = [{path.stem for path in folder.iterdir()} for folder in folders]
    assert stems[0] == stems[1] == stems[2] == stems[3]
    assert len(stems[0]) == 2
    image = read_image(more[1])
    labels, _ = read_labels(tmp_path / "more" / "labels" / more[1].name)
    assert image.shape == labels.shape == (128, 128)
    with (folders[3] / f"{more[1].stem}.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(LOCALIZATION_COLUMNS)
    assert len(rows) > 100


@pytest.mark.parametrize(
    ("given", "pixel_size_nm"),
    [({}, 160.0), ({"pixel_size": 75.0}, 75.0), ({"pixel_size": 75.0, "diameter": 30}, 75.0), ({"diameter": 30}, None)],
)
def test_the_files_state_the_pixel_size(tmp_path, given, pixel_size_nm):
    (path,) = write_dataset(tmp_path, SimulateSettings(count=1, size=128, seed=2, **given))
    image = read_image(path)
    assert image.calibration is not None
    stated = image.calibration.pixel_size_nm
    if pixel_size_nm is None:
        assert 8000 / 3 < stated * 30 < 8000 * 3  # such that nuclei have their usual size
    else:
        assert stated == pytest.approx(pixel_size_nm)
    labels = read_image(tmp_path / "labels" / path.name).calibration
    assert labels is not None
    assert labels.pixel_size_nm == pytest.approx(stated)
    table = np.loadtxt(tmp_path / "localizations" / f"{path.stem}.csv", delimiter=",", skiprows=1)
    columns, rows = np.floor(table[:, 1:3].T / stated).astype(int)
    inside = (rows >= 0) & (rows < 128) & (columns >= 0) & (columns < 128)
    assert inside.mean() > 0.95
    lit = image.pixels[rows[inside], columns[inside]] > 0
    assert lit.mean() > 0.9  # the table lies on the image


def test_shapes_come_from_the_folder_that_is_given(tmp_path):
    labels = np.zeros((60, 60), np.int32)
    labels[draw.ellipse(30, 30, 22, 10)] = 1
    write_labels(tmp_path / "shapes" / "labels" / "a.tif", labels)
    settings = {"count": 1, "size": 256, "seed": 1, "localizations": False}
    plain = write_dataset(tmp_path / "plain", SimulateSettings(**settings))
    shaped = write_dataset(tmp_path / "shaped", SimulateSettings(**settings, shapes=str(tmp_path / "shapes")))
    assert plain[0].read_bytes() != shaped[0].read_bytes()
    rng = np.random.default_rng([1, 0, sum(b"tissue")])
    expected = simulate(rng, kind="tissue", size=256, templates=read_templates(tmp_path / "shapes"))
    np.testing.assert_array_equal(read_image(shaped[0]).pixels, expected.image)


def test_a_folder_without_shapes_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(ImageError, match="holds no label images"):
        write_dataset(tmp_path / "d", SimulateSettings(count=1, size=96, shapes=str(tmp_path / "none")))
    assert not (tmp_path / "d").exists()


def test_the_table_can_be_left_out(tmp_path):
    write_dataset(tmp_path, SimulateSettings(count=1, size=96, localizations=False))
    assert not (tmp_path / "localizations").exists()
