"""AP of a whole run: `evaluate`, on one device and on eight, and pycocotools by hand on the file that `predict` writes."""

import contextlib
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cnnvision.data.pipeline import eval_batches
from cnnvision.data.sources import open_source
from cnnvision.data.sources.coco.writer import write_coco
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.inputs import InputSpec
from cnnvision.ops.geometry import map_boxes
from cnnvision.runs.defaults import base
from cnnvision.runs.join import loading
from cnnvision.runs.open import Trained
from cnnvision.task import DataInfo, LossAux, Mean, Task
from cnnvision.training.sharding import make_mesh
from cnnvision.types import COCO_AREA_RANGES, DetectionPrediction
from experiments import evaluate, predict
from tests.data.drawn import CLASSES, Drawn

IMAGES, MOST, SIZE = 19, 130, (64, 96)
"""Of sizes of their own; the last batch of eight holds three. More detections of an image than the 100 that count."""

INPUTS = InputSpec((SIZE,), "objects", "letterbox", max_objects=8)
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """COCO's layout, its ids in no order, some objects crowd: another order of classes and of images than that of names."""
    root = tmp_path_factory.mktemp("data") / "coco"
    write_coco([Drawn(IMAGES)], root, progress=False)
    path, rng = root / "annotations" / "instances_train.json", np.random.default_rng(0)
    content = json.loads(path.read_text())
    images, categories = 100 + rng.permutation(IMAGES), {1: 18, 2: 7, 3: 90}
    for image in content["images"]:
        image["id"] = int(images[image["id"] - 1])
    for category in content["categories"]:
        category["id"] = categories[category["id"]]
    for annotation in content["annotations"]:
        annotation["image_id"] = int(images[annotation["image_id"] - 1])
        annotation["category_id"] = categories[annotation["category_id"]]
        annotation["iscrowd"] = int(rng.random() < 0.15)
        annotation["area"] *= float(rng.choice([0.3, 1.0, 20.0]))  # as of a mask: the ranges go by it, not by the box
    path.write_text(json.dumps(content))
    return root


def answers_to(boxes, labels, index, rng):
    """(boxes, labels, scores) of one image: right, moved, of a wrong class, twice, much too many, none. Scores tie."""
    if index % 6 == 5:
        return np.zeros((0, 4)), np.zeros(0, int), np.zeros(0)
    moved = boxes + rng.normal(0, 2, boxes.shape)
    more = MOST - 3 * len(boxes) if index % 9 == 0 else 4
    corners = rng.uniform(0, 40, (more, 2))
    anywhere = np.concatenate([corners, corners + rng.uniform(5, 20, (more, 2))], axis=1)
    found = np.concatenate([boxes, moved, boxes + 1, anywhere])
    named = np.concatenate([labels, labels, (labels + 1) % len(CLASSES), rng.integers(0, len(CLASSES), more)])
    scores = np.concatenate([rng.choice([0.5, 0.75, 1.0], 3 * len(boxes)), rng.choice([0.25, 0.5], more)])
    order = np.argsort(-scores, kind="stable")
    return found[order], named[order], scores[order]


def checksum(image):
    """uint32 [b] of uint8 [b, h, w, 3]: tells the images apart."""
    pixels = image.reshape(len(image), -1).astype(jnp.uint32)
    return pixels @ (jnp.arange(pixels.shape[1], dtype=jnp.uint32) ** 2 + 1)


def recognize(params, model_state, batch):
    """The planted answers to an image that it has seen; nothing to any other."""
    same = checksum(batch.image)[:, None] == params["checksum"][None]
    row, known = jnp.argmax(same, axis=1), jnp.any(same, axis=1)
    found = jax.tree.map(lambda x: x[row], params["answers"])
    return found.replace(valid=found.valid & known[:, None])


@pytest.fixture(scope="module")
def trained(data):
    """mesh -> a run that knows what to answer to each image."""
    config, rng = base(), np.random.default_rng(1)
    config.data.update(size=SIZE, resize="letterbox", eval_batch_size=8)
    # The order of classes is that of training, which is not that of the file.
    source, sums, answers = open_source(f"coco:{data}", "train", CLASSES), [], []
    for loaded in eval_batches(source, INPUTS, loading(config)):
        batch = loaded.batch
        sums.append(np.asarray(checksum(batch.image))[batch.valid])
        for index, transform in zip(batch.index[batch.valid], batch.transform[batch.valid], strict=True):
            objects = source.read(int(index), image=False).objects
            answers.append(answers_to(map_boxes(objects.boxes, transform), objects.labels, int(index), rng))
    pad = lambda part, dtype: np.stack(
        [np.pad(np.asarray(a[part], dtype), [(0, MOST - len(a[part])), (0, 0)][: np.ndim(a[part])]) for a in answers]
    )
    valid = np.arange(MOST) < np.array([[len(labels)] for _, labels, _ in answers])
    sums = np.concatenate(sums)
    assert len(np.unique(sums)) == len(answers) == IMAGES
    planted = DetectionPrediction(pad(0, np.float32), pad(1, np.int32), pad(2, np.float32), valid)

    def loss(params, model_state, batch, key, train):
        return Mean.of(jnp.zeros(len(batch.valid)), batch.valid) * 1.0, LossAux(model_state, {})

    evaluator = lambda: DetectionEvaluator(CLASSES, COCO_AREA_RANGES)
    task = Task(INPUTS, None, loss, recognize, evaluator, ("AP", "max"))
    info, params = DataInfo(CLASSES, (), COCO_AREA_RANGES), {"checksum": sums, "answers": planted}
    return lambda mesh: Trained(config, info, task, params, {}, 1, mesh)


def rows_of(data, predictions):
    """predictions.json in COCO's format of results, with the ids that the data set has."""
    truth, results = json.loads((data / "annotations" / "instances_train.json").read_text()), []
    images = {image["file_name"]: image["id"] for image in truth["images"]}
    categories = {category["name"]: category["id"] for category in truth["categories"]}
    for found in predictions:
        for detection in found["detections"]:
            x1, y1, x2, y2 = detection["box"]
            row = dict(image_id=images[found["file"]], category_id=categories[detection["class"]])
            results.append({**row, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": detection["score"]})
    return results


def by_hand(data, results):
    """The nine numbers that pycocotools prints, of a file of results or its rows."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data / "annotations" / "instances_train.json"))
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:9]


@pytest.mark.parametrize("devices", [1, 8])
def test_the_ap_of_evaluate_is_that_of_pycocotools_on_predictions(data, trained, devices, tmp_path, monkeypatch):
    mesh, quiet = make_mesh(jax.devices()[:devices]), lambda line: None
    monkeypatch.setattr("cnnvision.runs.open.load", lambda workdir, step: trained(mesh))
    metrics = evaluate.run(tmp_path / "run", f"coco:{data}", "train", say=quiet)
    predict.run(tmp_path / "run", str(data / "train"), str(tmp_path / "out"), say=quiet)
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    counts = [len(found["detections"]) for found in predictions]
    assert len(predictions) == metrics["images"] == IMAGES and min(counts) == 0 and max(counts) > 100
    expected = by_hand(data, rows_of(data, predictions))
    assert (expected > 0.05).all() and (expected[:5] < 0.95).all()
    np.testing.assert_allclose([metrics[name] for name in NAMES], expected, atol=1e-6)
    (written,) = (tmp_path / "run" / "evaluation").glob("train_of_*_coco_results.json")
    np.testing.assert_allclose(by_hand(data, str(written)), expected, atol=1e-6)
    alike = json.loads((tmp_path / "out" / "coco_results.json").read_text())  # no data set's ids: from 1 on
    assert len(alike) == sum(counts) and {row["category_id"] for row in alike} == {1, 2, 3}
    assert [counts[id - 1] for id in dict.fromkeys(row["image_id"] for row in alike)] == [count for count in counts if count]
    assert [found["image_id"] for found in predictions] == list(range(1, IMAGES + 1))
