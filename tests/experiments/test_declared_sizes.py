"""A program for each declared input size, and no other: whatever sizes the images have and however many objects."""

import dataclasses
import logging

import jax
import numpy as np
import pytest

from cnnvision.runs.configuration import load_config
from cnnvision.runs.join import join
from cnnvision.training.loop import compile_step, new_state
from cnnvision.training.sharding import make_mesh, put_batch
from cnnvision.training.stopping import stop_flags
from cnnvision.types import COCO_AREA_RANGES, Example, Objects
from tests.conftest import ROOT

IMAGES, SIZES, MOST = 500, 200, 100


class Crowded:
    """Noise of 200 sizes, with 0 to 100 boxes of an image, in memory."""

    name, split, classes, semantic_classes = "crowded", "train", ("a", "b"), ()
    area_ranges, problems, ids = COCO_AREA_RANGES, [], tuple(map(str, range(IMAGES)))

    def __len__(self):
        return IMAGES

    def read(self, index, image=True, masks=False):
        height, width = 10 + index % SIZES // 10, 10 + 3 * (index % 10)
        rng, count = np.random.default_rng(index), index % (MOST + 1)
        corners = np.stack([rng.integers(0, side - 1, count) for side in (width, height)], axis=1)
        boxes = np.concatenate([corners, [width, height] - rng.random((count, 2)) * 0.5], axis=1).astype(np.float32)
        objects = Objects(boxes, np.zeros(count, np.int32), np.zeros(count, bool), np.ones(count, np.float32))
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8) if image else None
        return Example(self.ids[index], (height, width), pixels, objects=objects)


class Counter:
    """An evaluator that counts: COCO's own takes a quarter of a minute for so many objects."""

    images = 0

    def update(self, examples, predictions):
        assert len(predictions.boxes) == len(examples)
        self.images += len(examples)

    def compute(self):
        return {"images": self.images}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Faster R-CNN with two declared sizes, and what it says."""
    monkeypatch.setattr("cnnvision.runs.join.open_source", lambda *_: Crowded())
    config = load_config(f"{ROOT}/configs/faster_rcnn_shapes.py:smoke")
    config.model.max_objects = MOST
    config.data.update(size=(32, 48), more_sizes=((48, 32),), resize="letterbox", batch_size=50, eval_batch_size=50)
    config.data.eval_examples, config.training.steps = None, 10
    with jax.numpy_dtype_promotion("standard"):
        yield join(config, tmp_path, make_mesh(jax.devices()[:1]), say=lambda line: None)


def test_one_program_for_each_declared_size(run, caplog):
    source = Crowded()
    assert len({source.read(i, image=False).size for i in range(IMAGES)}) == SIZES
    state, stop = new_state(run), stop_flags(type("Going", (), {"name": ""}), run.mesh)
    step, seen, objects, compiled = compile_step(run, state), [], set(), []
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for loaded in run.train_batches(0, 10):
            caplog.clear()
            state, report = step(state, put_batch(loaded.batch, run.mesh), stop)
            seen.append(loaded.batch.image.shape[1:3])
            objects |= set(loaded.batch.target.valid.sum(axis=1).tolist())
            compiled.append(any("Compiling" in line for line in caplog.messages))
    assert set(seen) == {(32, 48), (48, 32)} and {0, MOST} <= objects and not bool(report.failed)
    # Twice: the first batch of each size.
    assert [i for i, fresh in enumerate(compiled) if fresh] == sorted(seen.index(size) for size in set(seen))
    assert len(step.compilations) == len(step.programs) == 2
    assert "(50, 32, 48, 3) uint8" in step.compilations[1] and "(50, 48, 32, 3) uint8" in step.compilations[1]

    run.evaluation.task = dataclasses.replace(run.task, evaluator=Counter)
    metrics, _ = run.evaluation.run(state.params, state.model_state)
    assert metrics["images"] == IMAGES and len(run.evaluation.compiled.compilations) == 1
