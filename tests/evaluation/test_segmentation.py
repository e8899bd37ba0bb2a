"""Metrics of semantic maps: on cases worked by hand, against slow references and, where it is there, scikit-learn."""

import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sklearn import metrics as learn

from cnnvision.errors import DataError
from cnnvision.evaluation import segmentation_metrics as metrics_of
from cnnvision.evaluation.segmentation import SegmentationEvaluator
from cnnvision.types import Example
from tests.reference import segmentation as reference

NAMES = tuple("abcdefgh")


def a_map(*rows):
    """A map from one string a row: a digit is a class, "-" is 255."""
    return np.array([[255 if letter == "-" else int(letter) for letter in row] for row in rows], np.uint8)


def example(semantic, name="x"):
    return Example(name, (1, 1) if semantic is None else semantic.shape, semantic=semantic)


def predictions(*maps):
    labels = np.empty(len(maps), object)
    labels[:] = maps
    return SimpleNamespace(labels=labels)


def evaluate(pairs, classes):
    """The evaluator after maps [(truth, labels), …], each an update of its own."""
    evaluator = SegmentationEvaluator(NAMES[:classes])
    for index, (truth, labels) in enumerate(pairs):
        evaluator.update([example(truth, f"{index}")], predictions(labels))
    return evaluator


def random_pair(generator, classes, absent=()):
    """Two maps of the same small size, often blotchy, with some ignored and some unanswered pixels."""
    shape = tuple(generator.integers(1, 13, 2))
    scale = generator.choice([1, 3])
    known = [class_id for class_id in range(classes) if class_id not in absent]
    ids = generator.choice(known, (2, 15 // scale, 15 // scale)).astype(np.uint8)
    truth, labels = ids.repeat(scale, 1).repeat(scale, 2)[:, : shape[0], : shape[1]]
    labels = np.where(generator.random(shape) < 0.6, truth, labels).astype(np.uint8)
    truth[generator.random(shape) < generator.choice([0, 0.15])] = 255
    labels[generator.random(shape) < generator.choice([0, 0.15])] = 255
    return truth, labels


def same(value, expected):
    return value == pytest.approx(expected, rel=1e-12, abs=1e-15, nan_ok=True)


def test_counts_by_hand():
    # The pixel that is ignored counts nowhere, though a class is predicted there.
    first = a_map("001", "11-"), a_map("011", "1-2")
    second = a_map("0000"), a_map("0020")
    evaluator = evaluate([first, second], 4)
    # First: 0→0, 0→1, 1→1, 1→1, 1→no answer. Second: 0→0 three times, 0→2.
    assert evaluator.confusion.tolist() == [[4, 1, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert evaluator.unpredicted.tolist() == [0, 1, 0, 0]
    metrics = evaluator.compute()
    # a: TP 4, FN 2, FP 0; b: TP 2, FN 1 (no answer), FP 1; c: TP 0, FN 0, FP 1; d nowhere.
    assert same(metrics["iou/a"], 4 / 6)
    assert same(metrics["iou/b"], 2 / 4)
    assert metrics["iou/c"] == 0.0
    assert math.isnan(metrics["iou/d"])
    assert same(metrics["mean_iou"], (4 / 6 + 2 / 4 + 0) / 3)
    assert same(metrics["dice"], (8 / 10 + 4 / 6 + 0) / 3)
    assert same(metrics["pixel_accuracy"], 6 / 9)
    assert metrics["images"] == 2.0
    assert "rand_error" not in metrics
    assert all(type(value) is float for value in metrics.values())
    assert [image.id for image in evaluator.images] == ["0", "1"]
    assert evaluator.images[0].confusion.tolist()[:2] == [[1, 1, 0, 0, 0], [0, 2, 0, 0, 1]]


def test_mean_iou_is_of_the_data_set_not_of_images():
    pairs = [(a_map("0111"), a_map("1111")), (a_map("0000"), a_map("0000"))]
    # Class 0: TP 4, FN 1; class 1: TP 3, FP 1. The mean over images would be ((0 + 3/4) / 2 + 1) / 2.
    assert same(evaluate(pairs, 2).compute()["mean_iou"], (4 / 5 + 3 / 4) / 2)


def test_what_counts_nowhere():
    evaluator = SegmentationEvaluator(("a", "b"))
    maps = [None, a_map("--", "--"), a_map("01", "-1")]
    labels = [a_map("0"), a_map("01", "01"), a_map("01", "11")]
    evaluator.update([example(truth) for truth in maps], predictions(*labels))
    assert evaluator.skipped == 2
    assert evaluator.compute()["images"] == 1.0
    assert evaluator.compute()["mean_iou"] == evaluator.compute()["boundary_f"] == 1.0


def test_nothing_to_count_is_not_a_number():
    metrics = SegmentationEvaluator(("a", "b")).compute()
    assert metrics.pop("images") == 0.0
    assert len(metrics) == 8 and all(math.isnan(value) for value in metrics.values())


def test_wrong_maps_are_named():
    evaluator = SegmentationEvaluator(("a", "b"))
    right = a_map("01", "01")
    for truth, labels, error, message in (
        (a_map("02", "01"), right, DataError, "pet.png: the true map holds the id 2, but its classes are 0 to 1"),
        (right, a_map("07", "01"), ValueError, "pet.png: the predicted map holds the id 7, but its classes are 0 to 1"),
        (right, a_map("01"), ValueError, r"pet.png: the predicted map is uint8 \(1, 2\), but should be uint8 \(2, 2\)"),
        (right, right.astype(np.int32), ValueError, "pet.png: the predicted map is int32"),
    ):
        with pytest.raises(error, match=message):
            evaluator.update([example(truth, "pet.png")], predictions(labels))
    assert not evaluator.images and not evaluator.confusion.any()
    evaluator.update([example(a_map("0-"))], predictions(a_map("07")))  # an ignored pixel may hold anything
    assert evaluator.confusion.tolist() == [[1, 0], [0, 0]]
    with pytest.raises(ValueError, match="1 to 255 classes"):
        SegmentationEvaluator(())


def test_the_most_classes_that_a_map_can_hold():
    ids = np.arange(255, dtype=np.uint8).reshape(15, 17)
    evaluator = SegmentationEvaluator([str(index) for index in range(255)])
    labels = ids.copy()
    labels[14, 16] = 255
    evaluator.update([example(ids)], predictions(labels))
    assert same(evaluator.compute()["mean_iou"], 254 / 255)
    assert evaluator.unpredicted[254] == 1 and evaluator.unpredicted.sum() == 1


@pytest.mark.parametrize("classes", [1, 2, 3, 6])
def test_like_the_references(classes):
    generator = np.random.default_rng(classes)
    pairs = [random_pair(generator, classes, absent=(1,) if classes == 6 else ()) for _ in range(25)]
    evaluator = evaluate(pairs, classes)
    counted = [(truth, labels) for truth, labels in pairs if (truth != 255).any()]
    assert len(evaluator.images) == len(counted) and evaluator.skipped == len(pairs) - len(counted)
    of_images = {"boundary_f": lambda truth, labels: reference.boundary_f(truth, labels, classes)}
    if classes == 2:
        of_images |= {"rand_error": reference.rand_error, "foreground_rand_score": reference.foreground_rand_score}
    metrics = evaluator.compute()
    for name, slow in of_images.items():
        expected = [slow(truth, labels) for truth, labels in counted]
        assert same([getattr(image, name) for image in evaluator.images], expected)
        assert same(metrics[name], reference.mean_of_defined(expected))
    for image, (truth, labels) in zip(evaluator.images, counted, strict=True):
        assert np.array_equal(image.confusion, reference.confusion(truth, labels, classes))
    pixels = [pair for truth, labels in counted for pair in reference.pixels(truth, labels)]
    ious = reference.ious(pixels, classes)
    assert same([metrics[f"iou/{name}"] for name in NAMES[:classes]], ious)
    assert same(metrics["mean_iou"], reference.mean_of_defined(ious))
    assert same(metrics["dice"], reference.mean_of_defined(reference.dices(pixels, classes)))
    assert same(metrics["pixel_accuracy"], sum(a == b for a, b in pixels) / len(pixels))


def test_boundaries_of_larger_maps_like_the_reference():
    """Sizes at which θ is beyond one pixel, with classes that fill a corner only."""
    generator = np.random.default_rng(7)
    for shape in ((4, 400), (250, 3), (40, 380)):
        truth, labels = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        for ids in (truth, labels):
            for class_id in (1, 2):
                y, x = generator.integers(0, shape[0], 2), generator.integers(0, min(shape[1], 30), 2)
                ids[min(y) : max(y) + 1, min(x) : max(x) + 1] = class_id
        truth[generator.random(shape) < 0.05] = 255
        assert metrics_of.squared_tolerance(*shape) > 1
        assert same(metrics_of.boundary_f(truth, labels), reference.boundary_f(truth, labels, 3))


def test_counts_like_scikit_learn():
    generator = np.random.default_rng(0)
    truth, labels = generator.integers(0, 4, (2, 40, 30)).astype(np.uint8)
    truth[generator.random(truth.shape) < 0.1] = 255
    evaluator = evaluate([(truth, labels), (truth[:, ::-1].copy(), labels)], 5)
    pairs = np.array([*reference.pixels(truth, labels), *reference.pixels(truth[:, ::-1], labels)]).T
    metrics = evaluator.compute()
    assert np.array_equal(evaluator.confusion, learn.confusion_matrix(*pairs, labels=range(5)))
    assert same(metrics["mean_iou"], learn.jaccard_score(*pairs, average="macro"))
    assert same(metrics["dice"], learn.f1_score(*pairs, average="macro"))
    assert same(metrics["pixel_accuracy"], learn.accuracy_score(*pairs))


def test_partitions_like_scikit_learn():
    generator = np.random.default_rng(1)
    for _ in range(10):
        truth, labels = ((cv2.blur(generator.random((60, 50)), (5, 5)) > 0.5).astype(np.uint8) for _ in range(2))
        truth[:10, :10] = 255
        error, score = metrics_of.rand_scores(truth, labels)
        counted = truth != 255
        true = cv2.connectedComponents((truth == 1).astype(np.uint8), connectivity=4)[1]
        predicted = cv2.connectedComponents(((labels == 1) & counted).astype(np.uint8), connectivity=4)[1]
        assert true.max() > 3 and predicted.max() > 3
        assert same(error, 1 - learn.rand_score(true[counted], predicted[counted]))
        cells = truth == 1
        table = learn.cluster.contingency_matrix(true[cells], predicted[cells]).astype(np.float64)
        sides = (table.sum(0) ** 2).sum() + (table.sum(1) ** 2).sum()
        assert same(score, 2 * (table**2).sum() / sides)
        # Over pairs of different pixels, as scikit-image counts, the score differs by little: here by less than 1 %.
        (_, false), (missed, hits) = learn.cluster.pair_confusion_matrix(true[cells], predicted[cells])
        distinct = hits / (hits + 0.5 * false + 0.5 * missed)
        assert distinct != score and abs(distinct - score) < 0.01
