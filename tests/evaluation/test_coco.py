"""evaluation/coco.py: each precision, recall and match is pycocotools', also of equal objects and where areas matter."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cnnvision.evaluation.coco import coco_evaluation, matches_of
from cnnvision.types import Objects

RANGES = {"small": (0.0, 4.0), "medium": (4.0, 9.0), "large": (9.0, 1e10)}
COUNTS = (1, 3, 6)
CLASSES = 2


def random_images(rng, images=4):
    """Boxes on a coarse grid: equal ones, and equal IoU with several objects; areas that are not the boxes'; few scores."""
    boxes = lambda count: (
        np.repeat(rng.integers(0, 3, (count, 2)), 2, axis=0).reshape(-1, 4)
        + np.concatenate([np.zeros((count, 2), int), rng.integers(1, 3, (count, 2))], axis=1)
    )
    rows = []
    for _ in range(images):
        count, guesses = (int(number) for number in rng.integers(0, [6, 12]))
        areas, crowd = rng.choice([2.0, 4.0, 6.0, 9.0, 12.0], count), rng.random(count) < 0.2
        objects = Objects(boxes(count).astype(np.float32), rng.integers(0, CLASSES, count), crowd, areas.astype(np.float32))
        labels, scores = rng.integers(0, CLASSES, guesses), rng.choice([0.2, 0.4, 0.6, 0.8], guesses)
        rows.append((objects, boxes(guesses).astype(np.float64), labels, scores))
    return rows


def by_pycocotools(images):
    truth, found = COCO(), COCO()
    rows = {truth: [], found: []}
    for image, (objects, boxes, labels, scores) in enumerate(images):
        for coco, each, kinds in ((truth, objects.boxes, objects.labels), (found, boxes, labels)):
            for i, (x1, y1, x2, y2) in enumerate(each.astype(float).tolist()):
                row = {"id": len(rows[coco]) + 1, "image_id": image, "category_id": int(kinds[i]), "iscrowd": 0}
                row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
                if coco is truth:
                    row |= {"area": float(objects.area[i]), "iscrowd": int(objects.crowd[i])}
                rows[coco].append(row if coco is truth else row | {"score": float(scores[i])})
    with contextlib.redirect_stdout(io.StringIO()):
        for coco, annotations in rows.items():
            coco.dataset = {"images": [{"id": i} for i in range(len(images))], "annotations": annotations}
            coco.dataset["categories"] = [{"id": i} for i in range(CLASSES)]
            coco.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.areaRng, evaluation.params.maxDets = [[0.0, 1e10], *map(list, RANGES.values())], list(COUNTS)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def test_every_number_is_that_of_pycocotools():
    rng, counted = np.random.default_rng(0), 0
    for _ in range(100):
        images = random_images(rng)
        found, expected = coco_evaluation(images, CLASSES, RANGES, COUNTS), by_pycocotools(images)
        for name in ("precision", "recall"):
            np.testing.assert_array_equal(found.eval[name], expected.eval[name])
        ranges = len(RANGES) + 1
        for place, entry in enumerate(found.evalImgs):
            its = [each for each in expected.evalImgs[place * len(images) :][: len(images)] if each]
            scores = np.concatenate([np.zeros(0), *(each["dtScores"] for each in its)])
            order = np.argsort(-scores, kind="mergesort")
            np.testing.assert_array_equal(entry["dtScores"], scores[order])
            for name in ("dtMatches", "dtIgnore"):
                joined = np.concatenate([np.zeros((10, 0)), *(each[name] for each in its)], axis=1)[:, order] > 0
                np.testing.assert_array_equal(entry[name], joined)
            assert entry["objects"].sum() == sum(int((each["gtIgnore"] == 0).sum()) for each in its)
            counted += (entry["dtMatches"] & entry["dtIgnore"]).any()
        for of_class, entry in zip(matches_of(found), found.evalImgs[::ranges], strict=True):
            assert not (of_class.right & of_class.wrong).any()
            np.testing.assert_array_equal(of_class.right | of_class.wrong, ~entry["dtIgnore"])
    assert counted > 200


def test_of_objects_that_fit_equally_the_last_is_taken():
    """The first detection is two pixels, each of which is an object; the second is the last of these, and finds it taken."""
    objects = np.array([[0, 0, 1, 1], [1, 0, 2, 1]], np.float32)
    truth = Objects(objects, np.zeros(2, int), np.zeros(2, bool), np.ones(2, np.float32))
    image = (truth, np.array([[0.0, 0, 2, 1], [1, 0, 2, 1]]), np.zeros(2, int), np.array([0.9, 0.8]))
    (match,) = matches_of(coco_evaluation([image], 1, {}))
    assert match.right[0].tolist() == [True, False] and match.right[1].tolist() == [False, True]


def test_an_object_that_counts_is_taken_before_one_that_does_not():
    """Two equal objects, one of them large: each range has one. A crowd that fits better leaves the detection right."""
    box = np.array([[0, 0, 2, 2]] * 2, np.float32)
    none, areas = np.zeros(2, bool), np.array([5.0, 12.0], np.float32)
    image = (Objects(box, np.zeros(2, int), none, areas), box[:1].astype(float), np.zeros(1, int), np.ones(1))
    right = [entry["dtMatches"][0].tolist() for entry in coco_evaluation([image], 1, RANGES).evalImgs]
    ignored = [entry["dtIgnore"][0].tolist() for entry in coco_evaluation([image], 1, RANGES).evalImgs]
    assert right == [[True], [True], [True], [True]] and ignored == [[False], [True], [False], [False]]
    second = np.array([[0, 0, 2, 2], [0, 0, 2, 3]], np.float32)
    objects = Objects(second, np.zeros(2, int), np.array([True, False]), areas)
    (match,) = matches_of(coco_evaluation([(objects, *image[1:])], 1, {}))
    assert match.right[:, 0].tolist() == [True] * 4 + [False] * 6 and not match.wrong.any()
