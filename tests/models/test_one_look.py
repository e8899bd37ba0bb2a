"""YOLO and SSD on images that are wider than high and padded: what is right for squares alone is found out here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones.darknet import LEAK
from cnnvision.heads.grid_head import START
from cnnvision.heads.ssd_head import MatchingSettings
from cnnvision.models import ssd, yolo
from cnnvision.types import ObjectTarget
from tests.models.tasks import make_batch, task_of
from tests.reference import ssd as slow_ssd
from tests.reference import yolo as slow_yolo
from tests.reference.boxes import iou

HEIGHT, WIDTH = 64, 96
SIZES = ((64, 96), (44, 90), (64, 70))
"""(height, width) of what is image: all, and not all of the last rows and columns of cells."""
OBJECTS = (([3, 2, 20, 20], 0), ([50, 5, 69, 30], 1), ([30, 31, 50, 43], 2))
EVERYTHING = {"score_above": 0.5}


def batch_of(task):
    """An image of each size with the same three objects; a fourth row is none."""
    boxes = np.tile(np.array([box for box, _ in OBJECTS], np.float32), (4, 1, 1))
    labels = np.tile(np.array([label for _, label in OBJECTS], np.int32), (4, 1))
    valid = np.ones((4, 3), bool)
    valid[3] = False
    target = ObjectTarget(*map(jnp.asarray, (boxes, labels, valid, np.zeros((4, 3), bool))))
    size = jnp.array([*SIZES, (HEIGHT, WIDTH)], jnp.int32)
    return make_batch(task).replace(target=target, size=size, valid=jnp.array([True, True, True, False]))


def check_found(found, kept=(0, 1, 2)):
    """Each image's detections are its objects."""
    for row in range(3):
        valid = np.asarray(found.valid[row])
        order = np.argsort(np.asarray(found.labels[row])[valid])
        assert np.asarray(found.labels[row])[valid][order].tolist() == list(kept)
        expected = [OBJECTS[k][0] for k in kept]
        np.testing.assert_allclose(np.asarray(found.boxes[row])[valid][order], expected, atol=1e-2)


def planted_cells(size):
    """What a perfect grid of 8×12 cells says: of each cell two boxes, the second the object's; a sure box in the padding."""
    outputs = np.zeros((8, 12, 2 * 5 + 3), np.float32)
    for (x1, y1, x2, y2), label in OBJECTS:
        row, column = slow_yolo.cell_of((x1, y1, x2, y2), (8, 12), HEIGHT, WIDTH)
        x, y = (x1 + x2) / 2 / WIDTH * 12 - column, (y1 + y2) / 2 / HEIGHT * 8 - row
        outputs[row, column, 5:10] = x, y, np.sqrt((x2 - x1) / WIDTH), np.sqrt((y2 - y1) / HEIGHT), 1.0
        outputs[row, column, 10 + label] = 1.0
    for row, column in ((7, 1), (1, 11)):
        if row * 8 >= size[0] or column * 8 >= size[1]:
            outputs[row, column, 5:10], outputs[row, column, 10] = (-2.0, -2.0, 0.3, 0.3, 1.0), 1.0
    return outputs


GRID = {"cells": None, "hidden": (), "boxes": 2, "convolutions": ((8, 1),)}


def test_yolo_finds_what_a_perfect_grid_says(monkeypatch):
    """Also an object whose cell has its middle in the padding: its centre is in the image."""
    task = task_of("yolo", size=(HEIGHT, WIDTH), grid=GRID, max_objects=3, detections=EVERYTHING)
    batch = batch_of(task)
    outputs = jnp.asarray(np.stack([planted_cells(size) for size in (*SIZES, SIZES[0])]))
    monkeypatch.setattr(yolo.Stages, "outputs", lambda *arguments: outputs)
    check_found(jax.jit(task.predict)(None, None, batch))
    check_found(jax.jit(task.ceiling)(batch))
    matched = jax.jit(task.matches)(None, None, batch)
    for row, (box, label) in enumerate(OBJECTS):
        mine = np.asarray(matched["responsible boxes"].valid[0]) & (
            np.asarray(matched["responsible boxes"].object[0]) == label
        )
        np.testing.assert_allclose(np.asarray(matched["responsible boxes"].boxes[0])[mine], [box], atol=1e-2)
        cell = np.asarray(matched["cells"].valid[0]) & (np.asarray(matched["cells"].object[0]) == row)
        x1, y1, x2, y2 = np.asarray(matched["cells"].boxes[0])[cell][0]
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        assert (x2 - x1, y2 - y1) == (8, 8) and x1 <= x < x2 and y1 <= y < y2
    assert np.asarray(matched["cells"].valid).sum(axis=1).tolist() == [3, 3, 3, 0]


def test_yolos_loss_on_wide_and_padded_images_equals_the_reference():
    task = task_of("yolo", size=(HEIGHT, WIDTH), grid=GRID, max_objects=3)
    batch = batch_of(task)
    params, state = jax.jit(task.init)(jax.random.key(0), batch)
    outputs = np.asarray(task.parts["grid"](params, state, batch))
    _, aux = jax.jit(task.loss, static_argnums=4)(params, state, batch, jax.random.key(0), False)
    sums = dict.fromkeys(("xy", "wh", "object", "no_object", "class"), 0.0)
    for row, size in enumerate(SIZES):
        boxes, labels = zip(*OBJECTS, strict=True)
        given = (boxes, labels, [True] * 3, [False] * 3, size, HEIGHT, WIDTH)
        for name, value in slow_yolo.terms(outputs[row].tolist(), 2, *given)[0].items():
            sums[name] += value / len(SIZES)
    assert sums == pytest.approx({name: float(aux.metrics[f"loss/{name}"].value()) for name in sums}, rel=1e-4)


@pytest.fixture(scope="module")
def one_shot():
    """SSD's task, its default boxes, a batch, and of each image the boxes that lie within it."""
    task = task_of("ssd", size=(HEIGHT, WIDTH), max_objects=3, detections=EVERYTHING)
    batch = batch_of(task)
    found = jax.device_get(jax.jit(task.matches)(None, None, batch))["default boxes"]
    boxes = found.boxes[0]
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return task, boxes, batch, [(middles[:, 1] < size[0]) & (middles[:, 0] < size[1]) for size in SIZES], found


def test_ssd_finds_what_a_perfect_head_says(one_shot, monkeypatch):
    task, boxes, batch, inside, _ = one_shot
    logits, deltas = np.zeros((4, len(boxes), 4), np.float32), np.zeros((4, len(boxes), 4), np.float32)
    logits[..., 0] = 20.0
    for row in range(3):
        for box, label in OBJECTS:
            overlaps = [iou(each, box) if within else -1.0 for each, within in zip(boxes.tolist(), inside[row], strict=True)]
            best = int(np.argmax(overlaps))
            logits[row, best, 1 + label] = 40.0
            deltas[row, best] = slow_ssd.encode(box, boxes[best].tolist(), slow_ssd.WEIGHTS)
        if not inside[row].all():  # a sure box in the padding
            logits[row, np.flatnonzero(~inside[row])[-1], 1] = 40.0
    monkeypatch.setattr(ssd.Stages, "heads", lambda *arguments: (jnp.asarray(logits), jnp.asarray(deltas)))
    check_found(jax.jit(task.predict)(None, None, batch))
    check_found(jax.jit(task.ceiling)(batch))


def test_ssd_matches_and_its_loss_are_the_references_on_wide_and_padded_images(one_shot, monkeypatch):
    task, boxes, batch, inside, found = one_shot
    rng = np.random.default_rng(0)
    logits, deltas = (rng.normal(size=(4, len(boxes), 4)).astype(np.float32) for _ in range(2))
    confidence = location = count = 0.0
    fits = np.asarray(jax.jit(task.fitting)(batch))
    for row, within in enumerate(inside):
        mine, objects = boxes[within].tolist(), [box for box, _ in OBJECTS]
        matched = slow_ssd.match(mine, objects, [True] * 3, 0.5)
        assert [number is not None for number in matched] == found.valid[row][within].tolist()
        assert not found.valid[row][~within].any()
        assert fits[row].tolist() == [max(iou(each, box) for each in mine) >= 0.5 for box in objects]
        number = sum(each is not None for each in matched)
        of_image = (objects, [1 + label for _, label in OBJECTS])
        mine = slow_ssd.loss(logits[row : row + 1, within], deltas[row : row + 1, within], mine, [of_image])
        confidence, location, count = confidence + mine[0] * number, location + mine[1] * number, count + number
    monkeypatch.setattr(ssd.Stages, "terms", terms_of(logits, deltas))
    _, aux = jax.jit(task.loss, static_argnums=4)(None, None, batch, jax.random.key(0), False)
    values = [float(aux.metrics[f"loss/{name}"].value()) for name in ("class", "box")]
    assert values == pytest.approx([confidence / count, location / count], rel=1e-4)


def terms_of(logits, deltas):
    """`Stages.terms` with the network's outputs replaced."""
    real = ssd.Stages.terms

    def terms(self, params, model_state, batch, train):
        stages = ssd.dataclasses.replace(
            self, apply=lambda *a, **k: ((jnp.asarray(logits), jnp.asarray(deltas)), model_state)
        )
        return real(stages, params, model_state, batch, train)

    return terms


def test_the_papers_numbers_are_the_defaults():
    """Redmon et al. 2016, section 2.2; Liu et al. 2016, section 2.2, and torchvision's post-processing."""
    given = yolo.Settings()
    assert (given.lambda_coord, given.lambda_noobj, given.grid.boxes, given.grid.cells, given.grid.dropout) == (
        5,
        0.5,
        2,
        7,
        0.5,
    )
    assert LEAK == 0.1 and START == (0.5, 0.5, 0.5, 0.5, 0.0)
    assert MatchingSettings() == MatchingSettings(positive_from=0.5, negatives=3.0)
    of_ssd = ssd.Settings()
    assert of_ssd.alpha == 1.0 and of_ssd.detections.candidates == 400
    assert (given.detections.score_above, of_ssd.detections.score_above) == (0.001, 0.01)
