"""evaluation/instances.py: against pycocotools on whole masks, and cases worked by hand."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as coding
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cnnvision.errors import DataError
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.evaluation.detection_errors import confident
from cnnvision.evaluation.instances import InstanceEvaluator
from cnnvision.evaluation.worst import Worst, mistake
from cnnvision.types import Batch, DetectionPrediction, Example, InstancePrediction, Objects, ObjectTarget
from tests.reference.boundary import boundary_iou
from tests.reference.masks import pasted

CLASSES = ("cat", "dog")
RANGES = {"small": (0.0, 60.0), "medium": (60.0, 200.0), "large": (200.0, 1e10)}
SIDE = 7


class ByBoundary(COCOeval):
    """pycocotools, told the smaller of both IoU of whole masks."""

    def computeIoU(self, image, label):
        found, objects = self._dts[image, label], self._gts[image, label]
        order = np.argsort([-each["score"] for each in found], kind="mergesort")
        iou = [[boundary_iou(found[i]["plane"], each["plane"], each["iscrowd"]) for each in objects] for i in order[:100]]
        return np.array(iou) if found and objects else []


def box_of(plane):
    rows, columns = np.flatnonzero(plane.any(1)), np.flatnonzero(plane.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [3, 3, 9, 8]


def example(name, planes, labels, crowd=None):
    planes = np.asarray(planes, bool)
    boxes = np.array([box_of(plane) for plane in planes], np.float32).reshape(-1, 4)
    crowd = np.zeros(len(planes), bool) if crowd is None else np.asarray(crowd)
    area = planes.sum((1, 2)).astype(np.float32)
    return Example(name, planes.shape[1:], objects=Objects(boxes, np.asarray(labels, np.int32), crowd, area, planes))


def predicted(rows, most=9):
    """[(boxes, masks, labels, scores)] of each image; the padding is full of nonsense that must not count."""
    shape = (len(rows), most)
    prediction = InstancePrediction(
        boxes=np.full((*shape, 4), 7.0, np.float32),
        labels=np.zeros(shape, np.int32),
        scores=np.ones(shape, np.float32),
        valid=np.zeros(shape, bool),
        masks=np.ones((*shape, SIDE, SIDE), np.float32),
    )
    for row, (boxes, masks, labels, scores) in enumerate(rows):
        count = slice(len(labels))
        prediction.boxes[row, count], prediction.labels[row, count] = np.reshape(boxes, (-1, 4)), labels
        prediction.masks[row, count], prediction.scores[row, count] = np.reshape(masks, (-1, SIDE, SIDE)), scores
        prediction.valid[row, count] = True
    return prediction


def random_set(rng, images=5):
    """With crowds, ties, empty masks of objects and of detections, images without objects or detections."""
    examples, rows = [], []
    for image in range(images):
        size = tuple(int(side) for side in rng.integers(20, 34, 2))
        planes = np.zeros((int(rng.integers(0, 5)) * (image % 4 > 0), *size), bool)
        labels = rng.integers(0, 2, len(planes))
        boxes, masks, guesses = [], [], []
        for plane, label in zip(planes, labels, strict=True):
            (y, x), (h, w) = rng.integers(0, 18, 2), rng.integers(3, 16, 2)
            plane[y : y + h, x : x + w] = rng.random() < 0.9
            for _ in range(int(rng.integers(0, 3))):
                boxes.append(np.array(box_of(plane)) + rng.normal(0, 1, 4))
                masks.append(np.clip(rng.normal(0.9, 0.25, (SIDE, SIDE)), 0, 1) * (rng.random() < 0.9))
                guesses.append(label if rng.random() < 0.8 else 1 - label)
        if rng.random() < 0.4:
            boxes, masks, guesses = [*boxes, [2, 2, 15.5, 11]], [*masks, rng.random((SIDE, SIDE))], [*guesses, 0]
        scores = rng.choice([0.3, 0.6, 0.9], len(boxes)) if image % 2 else rng.random(len(boxes))
        examples.append(example(f"{image}.png", planes, labels, rng.random(len(planes)) < 0.2))
        rows.append((np.float32(boxes), np.float32(masks), np.array(guesses, int), np.float32(scores)))
    return examples, rows


def by_pycocotools(examples, rows, kind):
    """The nine numbers of each kind; the masks are whole images, pasted pixel by pixel."""
    truth, found = COCO(), COCO()
    data = {"images": [{"id": i, "height": each.size[0], "width": each.size[1]} for i, each in enumerate(examples)]}
    data["categories"] = [{"id": i} for i in range(len(CLASSES))]
    code = lambda plane: {"plane": plane, "segmentation": coding.encode(np.asfortranarray(plane, np.uint8))}
    sides = lambda box: [float(x) for x in (box[0], box[1], box[2] - box[0], box[3] - box[1])]
    truths, guesses = [], []
    for image, (each, (boxes, masks, labels, scores)) in enumerate(zip(examples, rows, strict=True)):
        objects = each.objects
        for i, plane in enumerate(objects.masks):
            row = {"id": len(truths) + 1, "image_id": image, "category_id": int(objects.labels[i]), **code(plane)}
            truths.append(row | {"bbox": sides(objects.boxes[i]), "area": float(objects.area[i])})
            truths[-1]["iscrowd"] = int(objects.crowd[i])
        for i, box in enumerate(boxes.astype(float)):
            plane = pasted(masks[i], boxes[i], each.size)
            area = float(np.prod(sides(box)[2:]) if kind == "bbox" else plane.sum())
            row = {"id": len(guesses) + 1, "image_id": image, "category_id": int(labels[i]), **code(plane)}
            guesses.append(row | {"bbox": sides(box), "area": area, "score": float(scores[i]), "iscrowd": 0})
    with contextlib.redirect_stdout(io.StringIO()):
        for coco, annotations in ((truth, truths), (found, guesses)):
            coco.dataset = {**data, "annotations": annotations}
            coco.createIndex()
        evaluation = ByBoundary(truth, found, "segm") if kind == "boundary" else COCOeval(truth, found, kind)
        evaluation.params.areaRng = [[0, 1e10], *RANGES.values()]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats[:9] == -1, np.nan, evaluation.stats[:9])


def evaluated(examples, rows):
    evaluator = InstanceEvaluator(CLASSES, RANGES)
    for part in (slice(0, 2), slice(2, None)):
        if examples[part]:
            evaluator.update(examples[part], predicted(rows[part]))
    return evaluator


NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")


def test_metrics_are_those_of_pycocotools_on_whole_masks():
    rng, defined = np.random.default_rng(0), 0
    for _ in range(25):
        examples, rows = random_set(rng)
        metrics = evaluated(examples, rows).compute()
        for kind, prefix, names in (("bbox", "", NAMES), ("segm", "mask_", NAMES), ("boundary", "boundary_", NAMES[:3])):
            expected = by_pycocotools(examples, rows, kind)[: len(names)]
            np.testing.assert_allclose([metrics[prefix + name] for name in names], expected, atol=1e-12)
            defined += np.isfinite(expected).sum() * (0 < expected[0] < 1)
    assert defined > 350


def test_metrics_of_boxes_are_those_of_the_detection_evaluator():
    examples, rows = random_set(np.random.default_rng(1), images=8)
    instances, boxes = evaluated(examples, rows), DetectionEvaluator(CLASSES, RANGES)
    boxes.update(examples, predicted(rows))
    metrics, expected = instances.compute(), boxes.compute()
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, nan_ok=True, abs=0)
    of_masks = {f"mask_{name}" for name in (*NAMES, "AP/cat", "AP/dog")}
    assert set(metrics) - set(expected) == of_masks | {f"boundary_{name}" for name in NAMES[:3]}
    np.testing.assert_array_equal(instances.precision_recall(0), boxes.precision_recall(0))


def filled(x, y, right, bottom, size=(40, 40)):
    """A plane with a box in it, whose four corner pixels are left out."""
    plane = np.zeros(size, bool)
    plane[y:bottom, x:right] = True
    plane[[y, y, bottom - 1, bottom - 1], [x, right - 1, x, right - 1]] = False
    return plane


def test_right_boxes_with_right_and_wrong_masks():
    """A full mask fills a 14 × 14 box, by the rule of pasting also the pixels right of it and below, but not the corners.

    The object here is that. Of the left half of the mask in the same box the IoU is about a half, of an empty one 0.
    """
    truth = example("0.png", [filled(8, 8, 23, 23)], [0])
    full, half = np.ones((SIDE, SIDE)), np.ones((SIDE, SIDE))
    half[:, 4:] = 0
    metrics = {}
    for name, mask in (("full", full), ("half", half), ("empty", 0 * full)):
        metrics[name] = evaluated([truth], [([8, 8, 22, 22], mask, [0], [0.9])]).compute()
        assert metrics[name]["AP50"] == metrics[name]["AP75"] == pytest.approx(1)
    assert metrics["full"]["mask_AP"] == metrics["full"]["boundary_AP"] == metrics["full"]["mask_AP/cat"] == pytest.approx(1)
    assert metrics["half"]["mask_AP50"] == pytest.approx(1) and metrics["half"]["mask_AP75"] == 0
    assert metrics["half"]["boundary_AP50"] == 0  # two sides of four, and one where there is none
    assert metrics["empty"]["mask_AP"] == metrics["empty"]["boundary_AP"] == metrics["empty"]["mask_AR100"] == 0


def test_a_crowd_is_neither_right_nor_wrong():
    """The better detection lies in the crowd. Were it wrong, precision would be a half; of another class it is wrong."""
    planes = [filled(2, 2, 39, 15), filled(8, 20, 23, 35)]
    full = np.ones((2, SIDE, SIDE))
    for label, expected in ((0, 1.0), (1, 0.5)):
        truth = example("0.png", planes, [label, 0], [True, False])
        rows = [([[4, 4, 12, 12], [8, 20, 22, 34]], full, [0, 0], [0.9, 0.8])]
        metrics = evaluated([truth], rows).compute()
        assert metrics["mask_AP"] == metrics["boundary_AP"] == pytest.approx(expected)


def test_an_object_with_an_empty_mask_is_never_found():
    truth = example("0.png", [filled(8, 8, 23, 23), np.zeros((40, 40), bool)], [0, 0])
    rows = [([[8, 8, 22, 22], [3, 3, 9, 8]], np.stack([np.ones((SIDE, SIDE)), np.zeros((SIDE, SIDE))]), [0, 0], [0.9, 0.8])]
    metrics = evaluated([truth], rows).compute()
    assert metrics["AP50"] == pytest.approx(1) and metrics["mask_AR10"] == 0.5
    assert metrics["mask_AP"] == metrics["boundary_AP"] == pytest.approx(51 / 101)  # precision is 1 at recalls to one half


def test_no_images_no_objects_and_no_masks():
    metrics = evaluated([], []).compute()
    assert np.isnan(metrics["mask_AP"]) and np.isnan(metrics["boundary_AP"]) and metrics["images"] == 0
    nothing = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool), np.zeros(0, np.float32))
    evaluator = InstanceEvaluator(CLASSES, RANGES)
    evaluator.update([Example("0.png", (9, 9), objects=nothing)], predicted([([1, 1, 5, 5], np.ones((7, 7)), [0], [0.5])]))
    assert np.isnan(evaluator.compute()["mask_AP"])
    one = Example("a/b.png", (9, 9), objects=Objects(np.zeros((1, 4)), np.zeros(1, int), np.zeros(1, bool), np.zeros(1)))
    with pytest.raises(DataError, match=r"a/b\.png: its objects have no masks"):
        evaluator.update([one], predicted([([1, 1, 5, 5], np.ones((7, 7)), [0], [0.5])]))
    assert len(evaluator.images) == len(evaluator.masked) == 1


def test_no_planes_are_kept():
    examples, rows = random_set(np.random.default_rng(0))
    evaluator = evaluated(examples, rows)
    assert all(objects.masks is None for objects, *_ in evaluator.images)
    assert all(
        isinstance(code["counts"], bytes) for objects, codes, *_ in evaluator.masked for code in [*objects.masks, *codes]
    )


def test_resampled_values_are_of_both():
    evaluator = evaluated(*random_set(np.random.default_rng(3), images=8))
    metrics, values = evaluator.compute(), evaluator.contributions().redrawn()
    assert {"AP", "AP50", "APs", "mask_AP", "mask_AP50", "mask_APl", "boundary_AP75", "mask_AP/cat"} <= set(values)
    for name, each in values.items():
        assert each.shape == (2000,)
        if name in metrics and not np.isnan(metrics[name]):
            assert np.nanmin(each) <= metrics[name] <= np.nanmax(each)
    assert (values["AP"] != values["mask_AP"]).any()


def test_errors_and_the_worst_are_judged_by_boxes():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    target = ObjectTarget(boxes[None], np.array([[0, 1]]), np.ones((1, 2), bool), np.zeros((1, 2), bool))
    found = predicted([(boxes, np.ones((2, SIDE, SIDE)), [0, 0], [0.9, 0.4])], most=3)
    sure = confident(found, 0.5)
    assert type(sure) is InstancePrediction and sure.masks is found.masks and sure.valid.tolist() == [[True, False, False]]
    plain = DetectionPrediction(found.boxes, found.labels, found.scores, found.valid)
    one = lambda struct: type(struct)(**{name: value[0] for name, value in vars(struct).items() if value is not None})
    assert mistake(one(found), one(target)) == mistake(one(plain), one(target)) == 2
    rows = np.zeros((1, 4, 4, 3), np.uint8), np.array([[4, 4]]), np.ones(1, bool), np.zeros(1, int)
    worst = Worst(1)
    worst.add(Batch(*rows, np.zeros((1, 2, 3)), np.zeros((1, 4), int), target), found)
    assert worst.shown()[0][1].masks.shape == (1, 3, SIDE, SIDE)
