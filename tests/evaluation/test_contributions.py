"""What images contribute: the evaluation's own metrics come out of it, of all images and after a file; sets as drawn."""

import math

import numpy as np
import pytest
from etils import epath

from cnnvision.errors import ConfigError, RunError
from cnnvision.evaluation import contributions
from cnnvision.evaluation.bootstrap import resamples
from cnnvision.evaluation.classification import ClassificationEvaluator
from cnnvision.evaluation.localization import LocalizationEvaluator
from cnnvision.evaluation.segmentation import SegmentationEvaluator
from cnnvision.types import ClassPrediction, Example, LocalizationPrediction, Objects, SegmentationPrediction
from tests.evaluation import test_detection, test_instances

NAMES = ("a", "b", "c", "d", "e", "f")


def classified(rng, images=9):
    evaluator = ClassificationEvaluator(NAMES)
    examples = [Example(f"{9 - i}", (4, 4), label=int(rng.integers(6)) if i else None) for i in range(images)]
    evaluator.update(examples, ClassPrediction(rng.random((images, 6)).astype(np.float32)))
    return evaluator


def located(rng, images=9):
    evaluator = LocalizationEvaluator(NAMES[:3])
    one = lambda: Objects(np.array([[0.0, 0.0, 8.0, 8.0]]), np.array([rng.integers(2)]), np.zeros(1, bool), np.array([64.0]))
    examples = [Example(f"{9 - i}", (9, 9), objects=one() if i else None) for i in range(images)]
    boxes = np.concatenate([rng.random((images, 2)), 4 + 5 * rng.random((images, 2))], axis=1).astype(np.float32)
    evaluator.update(examples, LocalizationPrediction(rng.random((images, 3)).astype(np.float32), boxes))
    return evaluator


def segmented(rng, images=7, classes=2):
    evaluator = SegmentationEvaluator(NAMES[:classes])
    maps = rng.integers(0, classes, (2, images, 12, 12)).astype(np.uint8)
    examples = [Example(f"{9 - i}", (12, 12), semantic=each) for i, each in enumerate(maps[0])]
    evaluator.update(examples, SegmentationPrediction(maps[1]))
    return evaluator


def detected(rng):
    return test_detection.evaluated(*test_detection.random_set(rng, images=8))


def found(rng):
    return test_instances.evaluated(*test_instances.random_set(rng, images=8))


KINDS = {"classes": classified, "locations": located, "maps": segmented, "detections": detected, "masks": found}


@pytest.fixture(params=KINDS)
def evaluator(request):
    return KINDS[request.param](np.random.default_rng(3))


def equal(first, second):
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_all_images_once_give_the_evaluations_own_metrics(evaluator):
    metrics = evaluator.compute()
    values = evaluator.contributions().values()
    shared = set(values) & set(metrics)
    assert len(shared) >= 4 and "images" not in shared
    equal({name: values[name] for name in shared}, {name: metrics[name] for name in shared})


def test_a_drawn_set_is_the_literal_one(evaluator):
    """Of metrics that are means or of pixels; average precisions are held against COCO's code beside their own function."""
    evaluator.compute()
    all_of_them = evaluator.contributions()
    names = [name for name in all_of_them.metrics if name in all_of_them.means or all_of_them.confusion is not None]
    for weights in resamples(len(all_of_them.ids), 5, 1):
        rows = np.repeat(np.arange(len(weights)), weights)
        means = {name: values[rows] for name, values in all_of_them.means.items()}
        pixels = None if all_of_them.confusion is None else all_of_them.confusion[rows]
        literal = contributions.Contributions(tuple(map(str, rows)), means, all_of_them.classes, pixels)
        drawn = all_of_them.redrawn(weights[None], names)
        equal({name: values[0] for name, values in drawn.items()}, literal.values(names))


def test_a_file_holds_them_all(tmp_path, evaluator):
    evaluator.compute()
    written = evaluator.contributions()
    written.write(epath.Path(tmp_path) / "new" / "val.npz", {"step": 7})
    again, about = contributions.read(epath.Path(tmp_path) / "new" / "val.npz")
    assert about == {"step": 7} and again.ids == written.ids and again.metrics == written.metrics
    equal(again.redrawn(), written.redrawn())


def test_the_order_of_evaluation_does_not_matter(evaluator):
    evaluator.compute()
    given = evaluator.contributions()
    turned = given.sorted()
    assert turned.ids == tuple(sorted(given.ids)) != given.ids or given.ids == turned.ids
    equal(given.values(), turned.values())
    weights = resamples(len(given.ids), 20, 0)
    place = [turned.ids.index(each) for each in given.ids]
    equal(given.redrawn(weights[:, place]), turned.redrawn(weights))


def test_no_images_are_no_number():
    for empty in (ClassificationEvaluator(NAMES), LocalizationEvaluator(NAMES), SegmentationEvaluator(NAMES)):
        assert all(math.isnan(value) for value in empty.contributions().values().values())
        assert all(np.isnan(values).all() for values in empty.contributions().redrawn().values())


def test_an_unknown_metric():
    with pytest.raises(ConfigError, match="Did you mean 'mean_iou'"):
        segmented(np.random.default_rng(0)).contributions().redrawn(metrics=["mean_iuo"])


def test_a_class_may_be_called_anything():
    """Names that look like parts of other metrics' names."""
    evaluator = test_detection.DetectionEvaluator(("50", "s/50", "AP"), {})
    truth = test_detection.objects_of([[0, 0, 10, 10], [20, 20, 40, 50]], [0, 1])
    evaluator.images, evaluator.ids = [(truth, truth.boxes[:1], truth.labels[:1], np.array([0.5]))], ["a"]
    metrics, values = evaluator.compute(), evaluator.contributions().values()
    equal({name: values[name] for name in values if name in metrics}, {name: metrics[name] for name in values})
    assert values["AP/50"] == 1.0 and values["AP/s/50"] == 0.0 and math.isnan(values["AP/AP"])


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:200], lambda b: b"\x80\x04N." + b, lambda b: b[:-30] + b[30:60]]
)
def test_a_damaged_file_is_one_line(tmp_path, damage):
    path = epath.Path(tmp_path) / "val.npz"
    segmented(np.random.default_rng(0)).contributions().write(path, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=r"val\.npz cannot be read .*delete it"):
        contributions.read(path)
