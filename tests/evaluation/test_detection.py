"""evaluation/detection.py and voc.py: against pycocotools on files, scikit-learn, and cases worked by hand."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cnnvision.evaluation.coco import coco_evaluation
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.evaluation.voc import Truth, average_precision, precision_recall
from cnnvision.types import COCO_AREA_RANGES, DetectionPrediction, Example, Objects
from tests.reference import voc as slow

CLASSES = ("cat", "dog", "yak")


def objects_of(boxes, labels, crowd=None, area=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    crowd = np.zeros(len(boxes), bool) if crowd is None else np.asarray(crowd)
    return Objects(
        boxes, np.asarray(labels, np.int32), crowd, (sides.prod(axis=1) if area is None else area).astype(np.float32)
    )


def padded(found, most):
    """[(boxes, labels, scores)] of each image -> one prediction, the padding full of nonsense that must not count."""
    rows = len(found)
    prediction = DetectionPrediction(
        np.full((rows, most, 4), 7.0, np.float32),
        np.zeros((rows, most), np.int32),
        np.ones((rows, most), np.float32),
        np.zeros((rows, most), bool),
    )
    for row, (boxes, labels, scores) in enumerate(found):
        count = len(labels)
        prediction.boxes[row, :count], prediction.labels[row, :count], prediction.scores[row, :count] = boxes, labels, scores
        prediction.valid[row, :count] = True
    return prediction


def evaluated(truths, found, classes=CLASSES, ranges=COCO_AREA_RANGES):
    evaluator = DetectionEvaluator(classes, ranges)
    examples = [Example(f"{i}.png", (300, 300), objects=objects) for i, objects in enumerate(truths)]
    half = len(examples) // 2
    most = max([len(labels) for _, labels, _ in found], default=0) + 3
    for part in (slice(0, half), slice(half, None)):
        if examples[part]:
            evaluator.update(examples[part], padded(found[part], most))
    return evaluator


def random_set(rng, images=6):
    """Images with crowds, ties, equal boxes, without objects, without detections, with more than a hundred of them."""
    truths, found = [], []
    for image in range(images):
        count = int(rng.integers(0, 6)) * (image % 4 > 0)
        corners = rng.integers(0, 250, (count, 2))
        boxes = np.concatenate([corners, corners + rng.integers(1, 150, (count, 2))], axis=1).astype(np.float32)
        truths.append(objects_of(boxes, rng.integers(0, 3, count), rng.random(count) < 0.2))
        guesses = int(rng.choice([0, 3, 20, 130], p=[0.2, 0.4, 0.35, 0.05]))
        near = (
            boxes[rng.integers(0, max(count, 1), guesses)]
            if count
            else rng.integers(0, 250, (guesses, 4)).astype(np.float32)
        )
        near = near + rng.integers(-9, 10, near.shape) * (rng.random((guesses, 1)) < 0.7)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
        scores = rng.choice([0.2, 0.5, 0.9], guesses) if image % 2 else rng.random(guesses)
        found.append((near.astype(np.float32), rng.integers(0, 3, guesses), scores.astype(np.float32)))
    return truths, found


def by_files(folder, truths, found):
    """pycocotools as a user calls it: two files, `loadRes`, `summarize`; category ids as COCO has them, from 1 on."""
    annotations, results = [], []
    for image, (objects, (boxes, labels, scores)) in enumerate(zip(truths, found, strict=True)):
        for box, label, crowd, area in zip(objects.boxes, objects.labels, objects.crowd, objects.area, strict=True):
            x1, y1, x2, y2 = box.astype(float)
            annotation = {"id": len(annotations) + 1, "image_id": image + 1, "category_id": int(label) + 1}
            annotations.append(
                {**annotation, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(area), "iscrowd": int(crowd)}
            )
        for box, label, score in zip(boxes, labels, scores, strict=True):
            x1, y1, x2, y2 = box.astype(float)
            results.append(
                {
                    "image_id": image + 1,
                    "category_id": int(label) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(score),
                }
            )
    data = {"images": [{"id": i + 1} for i in range(len(truths))], "annotations": annotations}
    data["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    (folder / "truth.json").write_text(json.dumps(data))
    (folder / "found.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "found.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def test_coco_metrics_are_those_of_pycocotools_on_files(tmp_path):
    """With crowds, ties, empty images and empty answers."""
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")
    rng, defined = np.random.default_rng(0), 0
    for _ in range(150):
        truths, found = random_set(rng)
        if not sum(len(labels) for _, labels, _ in found):
            continue  # loadRes takes no empty file
        metrics = evaluated(truths, found).compute()
        expected = [float("nan") if value == -1 else value for value in by_files(tmp_path, truths, found)[:9]]
        np.testing.assert_allclose([metrics[name] for name in names], expected, atol=1e-12)
        defined += int(np.isfinite(expected).all())
    assert defined > 45


def test_without_detections_or_objects():
    nothing = (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    one = objects_of([[0, 0, 50, 50]], [1])
    metrics = evaluated([one], [nothing]).compute()
    assert metrics["AP"] == metrics["AP50/voc07"] == metrics["AR100"] == metrics["AP/dog"] == 0.0
    assert np.isnan(metrics["AP/cat"]) and np.isnan(metrics["APs"]) and metrics["images"] == 1
    empty = evaluated([objects_of(np.zeros((0, 4)), [])], [([[0, 0, 9, 9]], [0], [0.5])]).compute()
    assert np.isnan(empty["AP"]) and np.isnan(empty["AP50/voc07"]) and np.isnan(empty["AP50/voc10"])


def test_area_ranges_are_those_of_the_data():
    truths = [objects_of([[0, 0, 10, 10], [100, 100, 150, 150]], [0, 0])]
    found = [(np.array([[0, 0, 10, 10]]), np.array([0]), np.array([0.9]))]
    ranges = {"small": (0.0, 200.0), "medium": (200.0, 3000.0), "large": (3000.0, 1e9)}
    for ordered in (ranges, dict(sorted(ranges.items()))):  # a run folder has them by name
        evaluator = evaluated(truths, found, ranges=ordered)
        metrics = evaluator.compute()
        assert metrics["APs"] == pytest.approx(1.0) and metrics["APm"] == 0.0 and np.isnan(metrics["APl"])
        resampled = evaluator.contributions().redrawn(metrics=["AP", "APs"])
        np.testing.assert_allclose(resampled["APs"], 1.0)
        assert resampled["AP"].mean() == pytest.approx(metrics["AP"])


def test_voc_by_hand():
    """Two objects and a difficult one in two images; detections: right, duplicate, of the difficult one, wrong, right."""
    truths = [
        Truth(np.array([[0, 0, 10, 10], [20, 20, 30, 30]]), np.array([False, True])),
        Truth(np.array([[5, 5, 15, 15]]), np.array([False])),
    ]
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60], [5, 5, 15, 15]])
    images, scores = np.array([0, 0, 0, 1, 1]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    precision, recall = precision_recall(truths, images, boxes, scores)
    np.testing.assert_allclose(precision, [1, 1 / 2, 1 / 3, 2 / 4])
    np.testing.assert_allclose(recall, [1 / 2, 1 / 2, 1 / 2, 1])
    assert average_precision(precision, recall) == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    assert average_precision(precision, recall, 11) == pytest.approx((6 * 1 + 5 * 0.5) / 11)
    half = precision_recall(truths[:1], np.array([0]), np.array([[0, 0, 10, 5]]), np.array([1.0]))
    assert half[0].tolist() == [1.0]  # an IoU of exactly 0.5 is enough


@pytest.mark.parametrize("overlap", [0.3, 0.5])
def test_voc_precision_and_recall_are_those_of_the_slow_rule(overlap):
    """With difficult objects, ties, several detections of one object, images without objects or detections."""
    rng, compared = np.random.default_rng(0), 0
    for _ in range(200):
        truths = []
        for _ in range(4):
            corners = rng.integers(0, 12, (int(rng.integers(0, 4)), 2))
            boxes = np.concatenate([corners, corners + rng.integers(1, 12, corners.shape)], axis=1).astype(np.float32)
            truths.append(Truth(boxes, rng.random(len(boxes)) < 0.3))
        corners = rng.integers(0, 12, (int(rng.integers(0, 25)), 2))
        boxes = np.concatenate([corners, corners + rng.integers(0, 12, corners.shape)], axis=1).astype(np.float32)
        images, scores = rng.integers(0, 4, len(boxes)), rng.choice([0.1, 0.5, 0.9], len(boxes)).astype(np.float32)
        found = precision_recall(truths, images, boxes, scores, overlap)
        if not sum((~truth.difficult).sum() for truth in truths):
            assert np.isnan(found[0]).all() and np.isnan(found[1]).all()
            continue
        for value, expected in zip(found, slow.precision_recall(truths, images, boxes, scores, overlap), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-12)
        compared += len(found[0]) > 5
    assert compared > 100


def test_voc_area_is_that_of_the_envelope():
    """Against an integral of the monotone curve in small steps."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        hits = rng.random(30) < 0.5
        precision, recall = np.cumsum(hits) / np.arange(1, 31), np.cumsum(hits) / max(hits.sum() + 3, 1)
        steps = (np.arange(20_000) + 0.5) / 20_000
        curve = [precision[recall >= step].max(initial=0.0) for step in steps]
        assert average_precision(precision, recall) == pytest.approx(np.mean(curve), abs=2e-3)
        eleven = [precision[recall >= step / 10].max(initial=0.0) for step in range(11)]
        assert average_precision(precision, recall, 11) == pytest.approx(np.mean(eleven))


def slow_threshold(images):
    """The highest score whose detections have the best F1: each score that occurs is tried, and evaluated anew."""
    best, objects = (0.0, 0.5), sum(int((~truth.crowd).sum()) for truth, *_ in images)
    for threshold in {score for *_, scores in images for score in scores.tolist()}:
        right = wrong = 0
        kept = [(image[0], *(rows[image[3] >= threshold] for rows in image[1:])) for image in images]
        for each in filter(None, coco_evaluation(kept, len(CLASSES), {}).evalImgs):
            matched = each["dtMatches"][0][each["dtIgnore"][0] == 0] > 0
            right, wrong = right + int(matched.sum()), wrong + int((~matched).sum())
        best = max(best, (2 * right / (right + wrong + objects), threshold)) if right else best
    return best[1]


def test_the_threshold_of_pictures_by_hand():
    """Four objects. From .9 on 1 right: F1 2/5; the two of .8, one right, come together: 2 right of 3, 4/7; .7, of a crowd,
    does not count; .6 right: 3 of 4, 6/8; .5 wrong: 6/9; .4 right: 4 of 6, 8/10. If that is wrong, the best is .6.
    """
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10], [0, 100, 100, 200]]
    truth = objects_of(boxes, [0, 0, 1, 2, 0], [False] * 4 + [True])
    far = [200, 200, 220, 220]
    rows = [(boxes[0], 0, 0.9), (far, 1, 0.8), (boxes[1], 0, 0.8), (boxes[4], 0, 0.7), (boxes[2], 1, 0.6), (far, 2, 0.5)]
    for last, expected in (((boxes[3], 2, 0.4), 0.4), ((boxes[3], 1, 0.4), 0.6)):
        found = tuple(np.array(column) for column in zip(*rows, last, strict=True))
        evaluator = evaluated([truth], [found])
        assert evaluator.compute()["score_threshold"] == np.float32(expected) == slow_threshold(evaluator.images)
    # Of equal F1 (1 of 1, or 2 of 4, of 2 objects: 2/3) the highest score.
    pair = objects_of(boxes[:2], [0, 0])
    found = tuple(
        np.array(column) for column in zip((boxes[0], 0, 0.9), (far, 0, 0.7), (far, 1, 0.6), (boxes[1], 0, 0.5), strict=True)
    )
    assert evaluated([pair], [found]).compute()["score_threshold"] == np.float32(0.9)


def test_the_threshold_of_pictures_is_that_of_the_slow_rule():
    rng, others = np.random.default_rng(0), 0
    for _ in range(25):
        evaluator = evaluated(*random_set(rng))
        threshold = evaluator.compute()["score_threshold"]
        assert threshold == slow_threshold(evaluator.images)
        others += threshold != 0.5
    assert others > 15


def test_without_a_right_detection_the_threshold_is_a_half():
    nothing = (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    wrong = (np.array([[200, 200, 220, 220]]), np.array([1]), np.array([0.9]))
    one = objects_of([[0, 0, 50, 50]], [1])
    for truth, found in ((one, nothing), (one, wrong), (objects_of(np.zeros((0, 4)), []), wrong)):
        assert evaluated([truth], [found]).compute()["score_threshold"] == 0.5
