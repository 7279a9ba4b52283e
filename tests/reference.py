"""The definitions, written slowly: plain NumPy in float64, loops, one example at a time.

Nothing here is shared with the library, so that a mistake has to be made twice to
go unseen. Boxes are yxyx; anchors for encodings are (ycenter, xcenter, height, width).
"""

import math

import numpy as np


def sigmoid(z: float) -> float:
    return math.exp(-np.logaddexp(0.0, -z))


def cross_entropy(y: float, z: float) -> float:
    """Of the target probability y and the logit z."""
    return y * np.logaddexp(0.0, -z) + (1 - y) * np.logaddexp(0.0, z)


def quality_focal(y: float, z: float, beta: float) -> float:
    return abs(y - sigmoid(z)) ** beta * cross_entropy(y, z) if beta else cross_entropy(y, z)


def area(box) -> float:
    y0, x0, y1, x1 = (float(v) for v in box)
    return max(y1 - y0, 0.0) * max(x1 - x0, 0.0)


def common(a, b) -> float:
    return area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])


def iou(a, b) -> float:
    union = area(a) + area(b) - common(a, b)
    return common(a, b) / union if union > 0 else 0.0


def giou(a, b) -> float:
    """Of two boxes of positive area."""
    hull = area([min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])])
    union = area(a) + area(b) - common(a, b)
    return common(a, b) / union - (hull - union) / hull


def decode(encoding, anchor) -> list[float]:
    ty, tx, th, tw = (float(v) for v in encoding)
    y, x, height, width = (float(v) for v in anchor)
    y, x = y + ty / 10 * height, x + tx / 10 * width
    height, width = height * math.exp(np.clip(th / 5, -4, 4)), width * math.exp(np.clip(tw / 5, -4, 4))
    return [y - height / 2, x - width / 2, y + height / 2, x + width / 2]


def assign(anchors, level_counts, boxes, labels, weights, num_classes: int, top_k: int = 9):
    """ATSS for one image. Returns labels, boxes and weights of the N anchors.

    Args:
      anchors: `[N, 4]` yxyx.
      level_counts: how many of them each level has.
      boxes, labels, weights: of M objects; weight 0 is padding.
    """
    claims: list[list[tuple[float, int]]] = [[] for _ in anchors]
    centers = [((a[0] + a[2]) / 2, (a[1] + a[3]) / 2) for a in anchors]
    for m, (box, weight) in enumerate(zip(boxes, weights, strict=True)):
        if weight == 0:
            continue
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        candidates, start = [], 0
        for count in level_counts:
            level, start = range(start, start + count), start + count
            far = {n: math.dist(centers[n], middle) for n in level}
            near = sorted({centers[n]: far[n] for n in level}.values())  # Anchors may share a location.
            ninth = near[:top_k][-1]
            candidates += [n for n in level if far[n] <= ninth + 1e-3]
        overlaps = [iou(box, anchors[n]) for n in candidates]
        threshold = np.mean(overlaps) + np.std(overlaps)
        positive = []
        for n, overlap in zip(candidates, overlaps, strict=True):
            y, x = centers[n]
            if overlap >= threshold and box[0] < y < box[2] and box[1] < x < box[3]:
                positive.append((n, overlap))
        if not positive:
            positive = [(n, o) for n, o in zip(candidates, overlaps, strict=True) if o == max(overlaps)]
        for n, overlap in positive:
            # Its best location is an object's own: 1 more than any overlap.
            claims[n].append((overlap + (overlap == max(overlaps)), m))
    found = []
    for n, claim in enumerate(claims):
        if claim:
            _, m = max(claim, key=lambda c: (c[0], -c[1]))
            found.append((int(labels[m]), boxes[m], float(weights[m])))
        else:
            found.append((num_classes, anchors[n], 0.0))
    return tuple(np.array(column) for column in zip(*found, strict=True))


def task(logits, encodings, targets: dict, anchors, beta: float, box_weight: float) -> tuple[float, float]:
    """The class and box terms of one image.

    Args:
      logits: `[N, C]`.
      encodings: `[N, 4]`.
      targets: one image's `labels`, `boxes`, `weights` of the N anchors, and `known`.
      anchors: `[N, 4]` centres and sizes.
    """
    classes = boxes = positives = 0.0
    for n, anchor in enumerate(anchors):
        predicted = decode(encodings[n], anchor)
        weight, box = float(targets["weights"][n]), targets["boxes"][n]
        positives += weight
        for c, z in enumerate(logits[n]):
            quality = weight * iou(predicted, box) if targets["labels"][n] == c else 0.0
            classes += quality_focal(quality, float(z), beta)
        boxes += weight * (1 - giou(box, predicted))
    positives = max(positives, 1.0)
    return float(targets["known"]) * classes / positives, box_weight * boxes / positives


def softmax(logits) -> list[float]:
    largest = max(float(z) for z in logits)
    powers = [math.exp(float(z) - largest) for z in logits]
    return [x / sum(powers) for x in powers]


def divergence(target, logits, tau: float = 1.0) -> float:
    """KL of two softmax distributions, each from one row of logits."""
    p, q = softmax([float(z) / tau for z in target]), softmax([float(z) / tau for z in logits])
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def soft_classes(student, source, tau: float, beta: float, form="sigmoid", mask="none") -> float:
    """Soft class targets of one image, logits `[N, C]`."""
    total = confidence = 0.0
    for student_row, source_row in zip(student, source, strict=True):
        sure = max(sigmoid(float(z)) for z in source_row)
        confidence += sure
        loss = tau**2 * divergence([*source_row, 0.0], [*student_row, 0.0], tau) if form == "softmax" else 0.0
        for z, t in zip(student_row, source_row, strict=True) if form == "sigmoid" else ():
            soft = sigmoid(t / tau)
            loss += quality_focal(soft, z / tau, beta)
            if beta == 0:
                loss -= cross_entropy(soft, t / tau)
        total += loss * (sure if mask == "foreground" else 1.0)
    return total / max(confidence, 1.0)


def localization(student, source, logits, tau: float) -> float:
    """Divergence of box distributions of one image, `[N, 4, bins]`, the source's class logits `[N, C]`."""
    total = confidence = 0.0
    for a, b, row in zip(student, source, logits, strict=True):
        sure = max(sigmoid(float(z)) for z in row)
        confidence += sure
        total += sure * tau**2 * sum(divergence(b[i], a[i], tau) for i in range(4)) / 4
    return total / max(confidence, 1.0)


def distribution_focal(encodings, logits, reach: float = 8.0) -> float:
    """Of one anchor: encodings `[4]`, logits `[4, bins]`."""
    total, bins = 0.0, len(logits[0])
    for y, row in zip(encodings, logits, strict=True):
        position = (min(max(float(y), -reach), reach) + reach) / (2 * reach) * (bins - 1)
        left = min(int(position), bins - 2)
        p = softmax(row)
        total -= (left + 1 - position) * math.log(p[left]) + (position - left) * math.log(p[left + 1])
    return total / 4


def foreground(labels, sides, num_classes: int, grid: int, background: float = 0.1) -> np.ndarray:
    """Weights `[grid, grid]` from the labels of square levels, painted on a fine common grid."""
    fine = math.lcm(grid, *sides)
    painted, start = np.zeros((fine, fine), bool), 0
    for side in sides:
        for n in range(side * side):
            if labels[start + n] < num_classes:
                y, x, k = n // side, n % side, fine // side
                painted[y * k : (y + 1) * k, x * k : (x + 1) * k] = True
        start += side * side
    k = fine // grid
    cells = [
        [painted[y * k : (y + 1) * k, x * k : (x + 1) * k].any() for x in range(grid)] for y in range(grid)
    ]
    return np.where(cells, 1.0, background)


def soft_boxes(student, source, logits) -> float:
    """Soft boxes of one image, boxes `[N, 4]`, the source's logits `[N, C]`."""
    total = confidence = 0.0
    for a, b, row in zip(student, source, logits, strict=True):
        sure = max(sigmoid(float(z)) for z in row)
        confidence += sure
        total += sure * (1 - giou(b, a))
    return total / max(confidence, 1.0)


def pooled(features, factor: int) -> np.ndarray:
    """Averages squares of `factor` by `factor` cells of a map `[h, w, c]`."""
    height, width, channels = features.shape
    result = np.zeros((height // factor, width // factor, channels))
    for y in range(height // factor):
        for x in range(width // factor):
            for c in range(channels):
                square = features[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor, c]
                result[y, x, c] = square.mean()
    return result


def standardized(features, weights=None) -> np.ndarray:
    """Every channel of one map `[h, w, c]` at weighted mean 0 and variance 1; a constant one at 0."""
    weights = np.ones(features.shape[:2]) if weights is None else weights
    result = np.zeros(features.shape)
    for c in range(features.shape[2]):
        channel = features[..., c].astype("float64")
        centered = channel - np.average(channel, weights=weights)
        deviation = math.sqrt(np.average(centered**2, weights=weights))
        result[..., c] = centered / deviation if deviation else 0
    return result


def fsp(first, second, weights=None) -> np.ndarray:
    """The FSP matrix of two maps `[h, w, c1]` and `[h, w, c2]` of one network."""
    height, width = first.shape[:2]
    weights = np.ones((height, width)) if weights is None else weights
    result = np.zeros((first.shape[2], second.shape[2]))
    for i in range(first.shape[2]):
        for j in range(second.shape[2]):
            for y in range(height):
                for x in range(width):
                    result[i, j] += weights[y, x] * float(first[y, x, i]) * float(second[y, x, j])
    return result / weights.sum()


def relation(earlier, later, weights=None) -> np.ndarray:
    """Correlations between the channels of two maps."""
    earlier = pooled(earlier, earlier.shape[0] // later.shape[0])
    return fsp(standardized(earlier, weights), standardized(later, weights), weights)


def attention(features, p: float, weights=None) -> np.ndarray:
    """The attention map `[h, w]` of one map `[h, w, c]`."""
    height, width, channels = features.shape
    energy = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            energy[y, x] = sum(abs(float(features[y, x, c])) ** p for c in range(channels))
            energy[y, x] *= 1.0 if weights is None else weights[y, x]
    return energy / math.sqrt((energy**2).sum())


def hint(student, source, weights) -> float:
    """Weighted squared distance of standardised maps, halved: 1 - Pearson where no channel is constant."""
    distances = []
    a, b = standardized(student, weights), standardized(source, weights)
    for c in range(student.shape[2]):
        distances.append((weights * (a[..., c] - b[..., c]) ** 2).sum() / (2 * weights.sum()))
    return float(np.mean(distances))


def alignment(first, second) -> float:
    """Linear CKA of two maps `[h, w, c]`: through the kernels between cells, as it is defined."""
    kernels = []
    for features in (first, second):
        rows = standardized(features).reshape(-1, features.shape[2])
        kernel = np.zeros((len(rows), len(rows)))
        for i, a in enumerate(rows):
            for j, b in enumerate(rows):
                kernel[i, j] = sum(x * y for x, y in zip(a, b, strict=True))
        kernels.append(kernel)
    k, m = kernels
    return float((k * m).sum() / math.sqrt((k * k).sum() * (m * m).sum()))


def wrongness(logits, source_boxes, targets: dict, matched) -> list[float]:
    """Of a source's predictions for one image, logits `[N, C]`, boxes and targets at the N anchors."""
    found = []
    for n, row in enumerate(logits):
        probabilities, weight = [sigmoid(float(z)) for z in row], float(targets["weights"][n])
        if not matched[n]:
            wrong = 0.0
        elif weight > 0:
            overlap = iou(source_boxes[n], targets["boxes"][n])
            wrong = max(weight - min(probabilities[int(targets["labels"][n])], overlap), 0.0)
        else:
            wrong = max(probabilities)
        found.append(wrong)
    return found


def exploration_head(logits, encodings, targets: dict, anchors, wrong, gamma, beta, box_weight) -> float:
    """The head's loss on one image: the task's, location by location, each times 1 + gamma wrong."""
    total = 0.0
    positives = max(float(targets["weights"].sum()), 1.0)
    for n in range(len(anchors)):
        one = {k: v[n : n + 1] for k, v in targets.items() if k != "known"} | {"known": targets["known"]}
        classes, boxes = task(
            logits[n : n + 1], encodings[n : n + 1], one, anchors[n : n + 1], beta, box_weight
        )
        # `task` divides by max(1, this one's weight), which is 1.
        total += (1 + gamma * wrong[n]) * (classes + float(targets["known"]) * boxes)
    return total / positives
