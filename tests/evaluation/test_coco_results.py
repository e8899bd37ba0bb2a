"""Detections in COCO's format of results, read by pycocotools."""

import contextlib
import io
import json

import jax
import numpy as np
import pytest
from pycocotools import mask as pycocotools_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cnnvision.data.sources import open_source
from cnnvision.data.sources.coco.writer import write_coco
from cnnvision.evaluation.coco_results import compressed, results_of
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.types import COCO_AREA_RANGES, DetectionPrediction, InstancePrediction
from tests.data.drawn import CLASSES, Drawn
from tests.reference.masks import pasted

IMAGES, MOST = 12, 6


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A data set whose ids are not places."""
    root = tmp_path_factory.mktemp("data") / "coco"
    write_coco([Drawn(IMAGES)], root, progress=False)
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    for key, owner, name in (("id", "images", "image_id"), ("id", "categories", "category_id")):
        moved = {row[key]: 7 * row[key] + 3 for row in content[owner]}
        for row in content[owner]:
            row[key] = moved[row[key]]
        for row in content["annotations"]:
            row[name] = moved[row[name]]
    path.write_text(json.dumps(content))
    return open_source(f"coco:{root}", "train", CLASSES[::-1])


def answers(source):
    """(examples, predictions in original pixels): each object, moved a little, and boxes anywhere; masks of some noise."""
    rng, examples = np.random.default_rng(0), [source.read(index, image=False) for index in range(len(source))]
    boxes, labels = np.zeros((IMAGES, MOST, 4), np.float32), np.zeros((IMAGES, MOST), np.int32)
    for row, example in enumerate(examples):
        count = len(example.objects.boxes)
        boxes[row, :count] = example.objects.boxes + rng.normal(0, 1.5, (count, 4))
        labels[row, :count] = example.objects.labels
        corners = rng.uniform(0, 40, (MOST - count, 2))
        boxes[row, count:] = np.concatenate([corners, corners + rng.uniform(5, 90, (MOST - count, 2))], axis=1)
        labels[row, count:] = rng.integers(0, len(CLASSES), MOST - count)
    masks = np.clip(rng.normal(0.9, 0.25, (IMAGES, MOST, 28, 28)), 0, 1).astype(np.float32)
    scores = np.sort(rng.random((IMAGES, MOST), np.float32), axis=1)[:, ::-1]
    valid = np.arange(MOST) < rng.integers(0, MOST + 1, (IMAGES, 1))
    return examples, InstancePrediction(boxes, labels, scores, valid, masks)


def written(source, path, examples, predictions):
    said = []
    with results_of(source, path, said.append) as collect:
        for part in (slice(0, 5), slice(5, None)):
            collect(examples[part], jax.tree.map(lambda x, part=part: x[part], predictions))
    return said


def by_pycocotools(source, path, kind):
    """The twelve numbers."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(f"{source.name.removeprefix('coco:')}/annotations/instances_train.json")
        evaluation = COCOeval(truth, truth.loadRes(str(path)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def test_average_precision_is_that_of_our_evaluator(source, tmp_path):
    examples, predictions = answers(source)
    assert written(source, tmp_path / "found" / "results.json", examples, predictions) == []
    evaluator = DetectionEvaluator(source.classes, COCO_AREA_RANGES)
    evaluator.update(examples, predictions)
    ours = evaluator.compute()
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")
    theirs = by_pycocotools(source, tmp_path / "found" / "results.json", "bbox")[:9]
    theirs[theirs < 0] = np.nan
    assert 0.1 < theirs[0] < 0.9
    np.testing.assert_allclose([ours[name] for name in names], theirs, atol=1e-9)
    assert 0.1 < by_pycocotools(source, tmp_path / "found" / "results.json", "segm")[0] < 0.9
    assert [file.name for file in (tmp_path / "found").iterdir()] == ["results.json"]


def test_each_row_is_what_was_found(source, tmp_path):
    """Its image's id, its class's, its corner and sides, and the mask of the slow rule at the size of the image."""
    examples, predictions = answers(source)
    written(source, tmp_path / "results.json", examples, predictions)
    rows = iter(json.loads((tmp_path / "results.json").read_text()))
    for i, example in enumerate(examples):
        for j in np.flatnonzero(predictions.valid[i]):
            row, box = next(rows), predictions.boxes[i, j]
            assert row["image_id"] == source.image_ids[i] and row["category_id"] == 7 * (3 - predictions.labels[i, j]) + 3
            assert np.float32(row["score"]) == predictions.scores[i, j]
            np.testing.assert_allclose(row["bbox"], [*box[:2], *(box[2:] - box[:2])], rtol=1e-5)
            assert row["segmentation"]["size"] == [*example.size]
            mask = pycocotools_mask.decode(row["segmentation"])
            np.testing.assert_array_equal(mask, pasted(predictions.masks[i, j], box, example.size))
    assert next(rows, None) is None


def test_a_class_that_the_data_set_lacks_has_no_rows(tmp_path):
    from tests.data.planted import coco_set

    source = open_source(f"coco:{coco_set(tmp_path)}", "train", ("bird", "dog"))
    examples = [source.read(index, image=False) for index in range(2)]
    boxes = np.tile(np.array([1, 2, 11, 12], np.float32), (2, 2, 1))
    found = DetectionPrediction(boxes, np.array([[0, 1], [1, 0]]), np.ones((2, 2), np.float32), np.ones((2, 2), bool))
    (line,) = written(source, tmp_path / "results.json", examples, found)
    assert line.endswith("results.json: without 2 detections of classes that the data set lacks: bird")
    rows = json.loads((tmp_path / "results.json").read_text())
    same = {"category_id": 7, "bbox": [1.0, 2.0, 10.0, 10.0], "score": 1.0}
    assert rows == [{"image_id": 10, **same}, {"image_id": 20, **same}]


def test_no_file_is_left_where_there_are_no_ids_or_nobody_detects_or_something_fails(source, tmp_path):
    examples, predictions = answers(source)
    with results_of(Drawn(3), tmp_path / "results.json", print) as collect:
        assert collect is None
    with results_of(source, tmp_path / "results.json", print) as collect:
        collect(examples, object())
    with pytest.raises(KeyError), results_of(source, tmp_path / "results.json", print) as collect:
        collect(examples, predictions)
        raise KeyError
    assert not list(tmp_path.iterdir())
    written(source, tmp_path / "results.json", examples, predictions.replace(valid=np.zeros((IMAGES, MOST), bool)))
    assert json.loads((tmp_path / "results.json").read_text()) == []
    with results_of(source, tmp_path / "results.json", print):
        pass
    assert not list(tmp_path.iterdir())  # nothing is left of what was found before


def test_run_lengths_of_40_megapixels_stay_run_lengths():
    size = (5000, 8000)
    coded = compressed(np.array([5000 * 4000, 100, 5000 * 4000 - 100]), size)
    assert len(coded["counts"]) < 20 and pycocotools_mask.area({**coded, "counts": coded["counts"].encode()}) == 100
