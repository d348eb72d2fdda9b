"""A network from random weights learns two tiny images by heart."""

import numpy as np

from stormseg_ij import metrics


def drawn(found, shape):
    """Labels of candidates, the more probable above."""
    labels = np.zeros(shape, np.int32)
    for place in reversed(range(len(found))):
        instance = found.draw(place, shape, (1.0, 1.0))
        if instance is not None:
            labels[instance.box][instance.mask] = place + 1
    return labels


def test_two_images_learned_by_heart_are_found_again(trained):
    for gray, labels in zip(trained.gray, trained.labels, strict=True):
        found = trained.model.predict(gray / 255.0, probability=0.5, nms=0.3)
        score = metrics.score(drawn(found, labels.shape), labels, iou=0.7)
        assert score.f1 > 0.95, score


def test_every_loss_falls(trained):
    first, last = trained.losses[:10].mean(axis=0), trained.losses[-10:].mean(axis=0)
    assert trained.losses.shape == (150, 6)
    assert (last < 0.5 * first).all(), (first, last)
    assert last[0] < 0.1 * first[0]


def test_the_total_is_the_sum_of_the_five(trained):
    np.testing.assert_allclose(trained.losses[:, 0], trained.losses[:, 1:].sum(axis=1), rtol=1e-5)
