"""What is inside nuclei and what lies between them: textures, and strays that no label may touch."""

import numpy as np
import pytest
from scipy import stats
from skimage import draw

from stormseg_ij.layouts import Population
from stormseg_ij.simulate import TRAINING_TEXTURES, VALIDATION_TEXTURES, simulate
from stormseg_ij.stray import stray_density
from stormseg_ij.textures import TEXTURES, Style, nucleus_density

DIAMETER = 120


def style(texture="patches", *, rim=0.0, folded=0.0):
    return Style(texture, rim=rim, hollow=0.0, contrast=1.0, grain=0.04, uneven=0.0, folded=folded)


def disc():
    mask = np.zeros((DIAMETER + 20, DIAMETER + 20), bool)
    mask[draw.disk((DIAMETER / 2 + 10, DIAMETER / 2 + 10), DIAMETER / 2)] = True
    return mask


@pytest.mark.parametrize("texture", TEXTURES)
def test_the_mean_density_of_a_nucleus_is_1(texture):
    rng = np.random.default_rng(0)
    for _ in range(5):
        drawn = Style.random(rng, (texture,))
        assert drawn.texture == texture
        density = nucleus_density(rng, disc(), DIAMETER, drawn)
        assert density[disc()].mean() == pytest.approx(1.0)
        assert density[disc()].min() >= 0.0


@pytest.mark.parametrize("shape", [(1, 1), (2, 30)])
def test_the_smallest_nuclei_have_a_density_too(shape):
    density = nucleus_density(np.random.default_rng(0), np.ones(shape, bool), DIAMETER, style(rim=1.0))
    assert density.mean() == pytest.approx(1.0)


def looks(texture, seed):
    """Spread and skewness of the density, how many pixels are nearly empty, and how far neighbours agree."""
    density = nucleus_density(np.random.default_rng(seed), disc(), DIAMETER, style(texture))
    values = density[40:100, 40:100]
    alike = [np.corrcoef(values[:, :-lag].ravel(), values[:, lag:].ravel())[0, 1] for lag in (3, 8)]
    return [values.std(), stats.skew(values.ravel()), (values < 0.3 * values.mean()).mean(), *alike]


def test_each_texture_is_told_from_the_others_by_its_looks():
    known = np.array([[looks(texture, seed) for seed in range(12)] for texture in TEXTURES])
    spread = known.std(axis=1).mean(axis=0)
    right = [
        index == np.argmin([np.abs((looks(texture, seed) - mean) / spread).sum() for mean in known.mean(axis=1)])
        for index, texture in enumerate(TEXTURES)
        for seed in range(20, 30)
    ]
    assert np.mean(right) > 0.8  # 0.25 by chance


def test_a_rim_makes_the_wall_denser_than_the_middle():
    depth = DIAMETER / 2 - np.hypot(*(np.indices(disc().shape) - (DIAMETER / 2 + 10)))

    def wall_by_middle(rim):
        ratios = []
        for seed in range(6):
            density = nucleus_density(np.random.default_rng(seed), disc(), DIAMETER, style(rim=rim))
            ratios.append(density[(depth > 1) & (depth < 0.1 * DIAMETER)].mean() / density[depth > 20].mean())
        return np.mean(ratios)

    assert wall_by_middle(0.0) == pytest.approx(1.0, abs=0.2)
    assert wall_by_middle(2.0) > 1.5


def test_validation_has_textures_that_training_has_not():
    assert VALIDATION_TEXTURES == ("foam",)
    assert TRAINING_TEXTURES == ("patches", "fibres", "domains")


@pytest.fixture(scope="module")
def strays():
    """Density and mask of the strays of some empty images, the nuclei's mean density being 1."""
    kind, labels = Population(30.0, 0.2, 0.1, 2.0, 0.5), np.zeros((300, 300), np.int32)
    return [stray_density(np.random.default_rng(seed), labels, kind, style()) for seed in range(10)]


def test_strays_are_seen_where_their_mask_is(strays):
    for density, mask in strays:
        assert density[mask].min() > 0.0
        assert density[mask].sum() > 0.8 * density.sum()


def test_some_strays_are_as_dense_as_nuclei_and_most_are_dim(strays):
    densities = np.concatenate([density[mask] for density, mask in strays])
    assert 0.02 < np.mean(densities > 1.0) < 0.5
    assert np.mean(densities < 0.3) > 0.3


def test_no_pixel_of_the_mask_lies_in_a_nucleus():
    labels = np.zeros((200, 200), np.int32)
    labels[:, 60:140] = 1
    density, mask = stray_density(np.random.default_rng(0), labels, Population(25.0, 0.2, 0.1, 2.0, 0.5), style())
    assert mask.any()
    assert not mask[labels > 0].any()
    assert density[labels > 0].sum() > 0.0  # what is out of focus shines through


@pytest.mark.parametrize("kind", ["tissue", "cell"])
def test_strays_are_in_the_image_and_not_in_the_labels(kind):
    bright = []
    for seed in range(6):
        result = simulate(np.random.default_rng(seed), kind=kind, size=256, diameter=40)
        assert result.noise.any()
        assert not result.labels[result.noise].any()
        values = result.image.astype(float)
        assert values[result.noise].mean() > 2.0 * values[(result.labels == 0) & ~result.noise].mean()
        bright.append((values[result.noise] > np.median(values[result.labels > 0])).any())
    assert sum(bright) >= 3
