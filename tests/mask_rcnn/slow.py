"""Slow and obvious versions of what the Mask R-CNN computes: loops over single boxes, pixels and numbers."""

import math

import numpy as np


def iou(one, other):
    """Intersection over union of two boxes y1, x1, y2, x2."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(height, 0.0) * max(width, 0.0)
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / (areas - shared) if areas > shared else 0.0


def correction(box, truth):
    """What makes one box the other."""
    height, width = box[2] - box[0], box[3] - box[1]
    true_height, true_width = truth[2] - truth[0], truth[3] - truth[1]
    return [
        ((truth[0] + truth[2]) / 2 - (box[0] + box[2]) / 2) / height,
        ((truth[1] + truth[3]) / 2 - (box[1] + box[3]) / 2) / width,
        math.log(true_height / height),
        math.log(true_width / width),
    ]


def corrected(box, delta):
    """Move a box's centre by parts of its size, and multiply its size."""
    height, width = box[2] - box[0], box[3] - box[1]
    y = (box[0] + box[2]) / 2 + delta[0] * height
    x = (box[1] + box[3]) / 2 + delta[1] * width
    height, width = height * math.exp(delta[2]), width * math.exp(delta[3])
    return [y - height / 2, x - width / 2, y + height / 2, x + width / 2]


def clipped(box, window):
    return [min(max(value, window[place % 2]), window[place % 2 + 2]) for place, value in enumerate(box)]


def not_suppressed(boxes, scores, threshold, most):
    """Indices of the boxes that overlap no better one that stays by more than the threshold; the best first."""
    order = sorted(range(len(boxes)), key=lambda place: (-scores[place], place))
    kept = []
    for place in order:
        if len(kept) < most and all(iou(boxes[place], boxes[other]) <= threshold for other in kept):
            kept.append(place)
    return kept


def proposals(scores, deltas, anchors, *, best, most, threshold):
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:best]
    spread = [0.1, 0.1, 0.2, 0.2]
    boxes = [
        clipped(corrected(anchors[i], [d * s for d, s in zip(deltas[i], spread, strict=True)]), [0, 0, 1, 1])
        for i in order
    ]
    kept = not_suppressed(boxes, [scores[i] for i in order], threshold, most)
    return np.array([boxes[i] for i in kept]).reshape(-1, 4)


def level_of(box, shape):
    """The pyramid's level for a normalised box: a box of 224 pixels, were the image 1 x 1, is one of P4."""
    size = math.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1e-12))
    return min(max(4 + round(math.log2(size * math.sqrt(shape[0] * shape[1]) / 224.0)), 2), 5)


def sampled(seen, box, side):
    """Points of a map in a normalised box, first and last on its sides; bilinear; 0 beyond the map."""
    height, width, channels = seen.shape
    out = np.zeros((side, side, channels))
    for i in range(side):
        for j in range(side):
            y = (box[0] + (box[2] - box[0]) * i / (side - 1)) * (height - 1)
            x = (box[1] + (box[3] - box[1]) * j / (side - 1)) * (width - 1)
            if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                top, left = math.floor(y), math.floor(x)
                bottom, right = math.ceil(y), math.ceil(x)
                above = seen[top, left] + (seen[top, right] - seen[top, left]) * (x - left)
                below = seen[bottom, left] + (seen[bottom, right] - seen[bottom, left]) * (x - left)
                out[i, j] = above + (below - above) * (y - top)
    return out


def chosen(boxes, classes, scores, *, probability, nms, most):
    """Detections that stay: class by class, then the best of all."""
    kept = []
    for number in sorted(set(classes.tolist()) - {0}):
        here = [i for i in range(len(boxes)) if classes[i] == number and scores[i] >= probability]
        kept += [here[i] for i in not_suppressed(boxes[here], scores[here], nms, most)]
    return sorted(kept, key=lambda i: -scores[i])[:most]


def matched(anchors, boxes):
    """Match of each anchor, and the wanted corrections of the positive ones."""
    table = [[iou(anchor, box) for box in boxes] for anchor in anchors]
    match = [-1 if max(row) < 0.3 else 0 for row in table]
    for column in zip(*table, strict=True):
        for place, value in enumerate(column):
            if value == max(column):
                match[place] = 1
    match = [1 if max(row) >= 0.7 else old for row, old in zip(table, match, strict=True)]
    wanted = [
        np.array(correction(anchors[i], boxes[int(np.argmax(table[i]))])) / [0.1, 0.1, 0.2, 0.2]
        for i in range(len(anchors))
        if match[i] == 1
    ]
    return match, np.array(wanted).reshape(-1, 4)


def cross_entropy(logits, wanted):
    """Of one point: the logarithm of the sum of powers, less the wanted one."""
    largest = max(logits)
    return largest + math.log(sum(math.exp(value - largest) for value in logits)) - logits[wanted]


def smooth_distance(one, other):
    size = abs(one - other)
    return 0.5 * size * size if size < 1.0 else size - 0.5


def mean(values):
    return sum(values) / len(values) if values else 0.0
