"""Simulated images: seeded, labelled exactly, with noise that belongs to no nucleus."""

import csv

import numpy as np
import pytest
from scipy import ndimage

from stormseg_ij.image import read_image, read_labels
from stormseg_ij.settings import SimulateSettings
from stormseg_ij.simulate import LOCALIZATION_COLUMNS, simulate, write_dataset


@pytest.mark.parametrize("kind", ["tissue", "cell"])
def test_the_same_seed_gives_the_same_image(kind):
    first, again = (simulate(np.random.default_rng(3), kind=kind, size=256) for _ in range(2))
    other = simulate(np.random.default_rng(4), kind=kind, size=256)
    for attribute in ("image", "labels", "noise", "localizations"):
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


def test_the_image_is_the_histogram_of_its_localizations():
    result = simulate(np.random.default_rng(5), kind="cell", size=256)
    x, y = result.localizations[:, 1:3].T / result.pixel_size_nm
    counts, _, _ = np.histogram2d(y, x, bins=256, range=[[0, 256], [0, 256]])
    assert (
        np.corrcoef(np.minimum(counts, np.percentile(counts[counts > 0], 90)).ravel(), result.image.ravel())[0, 1] > 0.9
    )
    sure = counts >= 3
    assert (result.image[sure] > 0).all()


def test_the_asked_diameter_is_met():
    labels = [simulate(np.random.default_rng(i), kind="cell", size=512, diameter=60).labels for i in range(3)]
    inner = np.concatenate([np.bincount(plane.ravel())[1:] for plane in labels])
    assert np.sqrt(4 * np.median(inner) / np.pi) == pytest.approx(60, rel=0.2)


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
    assert image.calibration is not None
    assert image.calibration.pixel_size_nm == pytest.approx(160.0)
    with (folders[3] / f"{more[1].stem}.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(LOCALIZATION_COLUMNS)
    assert len(rows) > 100


def test_the_table_can_be_left_out(tmp_path):
    write_dataset(tmp_path, SimulateSettings(count=1, size=96, localizations=False))
    assert not (tmp_path / "localizations").exists()
