"""training/originals.py: rows of predictions become whole examples again, each once and in order; evaluation sees those."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.data import pipeline
from cnnvision.data.augment import wholes
from cnnvision.evaluation.segmentation import SegmentationEvaluator
from cnnvision.inputs import InputSpec
from cnnvision.ops import losses
from cnnvision.pictures import sheets
from cnnvision.task import LossAux, Mean
from cnnvision.training.evaluate import SplitEvaluation
from cnnvision.training.originals import Originals
from cnnvision.training.sharding import make_mesh
from cnnvision.types import IGNORE, Batch, ClassPrediction, LocalizationPrediction, SegmentationPrediction
from tests.data.drawn import SEMANTIC, Drawn
from tests.data.loading import options
from tests.training import toy

SPEC = InputSpec(sizes=((48, 48),), target="semantic", resize="tile", margin=8, tile_step=8)
STRETCHED = InputSpec(sizes=((40, 56),), target="semantic")


def batches_of(source, spec=SPEC, size=6):
    return [loaded.batch for loaded in pipeline.eval_batches(source, spec, options(eval_batch_size=size))]


def collected(source, batches, answer, masks=True):
    """(examples, maps) of each batch and of the rest, for predictions `answer(batch)`."""
    originals = Originals(source, masks)
    parts = [originals.add(answer(batch), batch.index, batch.valid, batch.transform, batch.core) for batch in batches]
    parts.append(originals.rest())
    return parts


def truth_of(batch):
    """The true labels, and nonsense wherever the row does not answer."""
    return SegmentationPrediction(np.where(batch.target.labels == IGNORE, 77, batch.target.labels))


def flat(parts):
    examples = [example for found, _ in parts for example in found]
    return examples, [labels for _, prediction in parts for labels in prediction.labels]


@pytest.mark.parametrize("size", [1, 4, 6, 1000])
def test_tiles_become_the_maps_they_were_cut_from_across_batches(size):
    source = Drawn(7)
    examples, maps = flat(collected(source, batches_of(source, size=size), truth_of))
    assert [example.id for example in examples] == list(source.ids)
    for index, (example, labels) in enumerate(zip(examples, maps, strict=True)):
        whole = source.read(index, masks=True)
        assert labels.dtype == np.uint8 and example.image is None and example.size == labels.shape
        np.testing.assert_array_equal(labels, whole.semantic)
        np.testing.assert_array_equal(example.semantic, whole.semantic)


def test_an_example_comes_as_soon_as_the_next_one_begins():
    source = Drawn(3)
    originals, seen = Originals(source, masks=False), []
    for batch in batches_of(source, size=1):
        examples, prediction = originals.add(truth_of(batch), batch.index, batch.valid, batch.transform, batch.core)
        assert len(examples) == len(prediction.labels)
        seen += [example.id for example in examples]
        assert seen == list(source.ids[: batch.index[0]]) if batch.valid[0] else True
        assert all(example.semantic is None for example in examples)
    examples, prediction = originals.rest()
    assert [*seen, *(example.id for example in examples)] == list(source.ids) and prediction.labels[0].dtype == np.uint8
    assert originals.rest()[0] == [] and len(originals.rest()[1].labels) == 0


@pytest.mark.parametrize("spec", [SPEC, STRETCHED])
def test_unreadable_examples_and_rows_that_fill_up_are_left_out(spec):
    source = Drawn(7, broken=(0, 3, 6))
    batches = batches_of(source, spec)
    assert not all(batch.valid.all() for batch in batches)
    examples, maps = flat(collected(source, batches, truth_of))
    assert [example.id for example in examples] == [source.ids[i] for i in (1, 2, 4, 5)]
    if spec is SPEC:
        for labels, index in zip(maps, (1, 2, 4, 5), strict=True):
            np.testing.assert_array_equal(labels, source.read(index, masks=True).semantic)
    nothing = Drawn(4, broken=range(4))
    assert flat(collected(nothing, batches_of(nothing, spec), truth_of)) == ([], [])


def test_stretched_maps_come_back_in_original_pixels():
    """Each original pixel has the class of the input pixel that its centre fell into; the truth survives nearly whole."""
    source = Drawn(7)
    examples, maps = flat(collected(source, batches_of(source, STRETCHED), truth_of))
    for index, (example, labels) in enumerate(zip(examples, maps, strict=True)):
        height, width = example.size
        rows, columns = (np.arange(height) + 0.5) * 40 / height, (np.arange(width) + 0.5) * 56 / width
        seen = next(batch for batch in batches_of(source, STRETCHED) if index in batch.index[batch.valid])
        shown = seen.target.labels[np.flatnonzero(seen.valid & (seen.index == index))[0]]
        np.testing.assert_array_equal(labels, shown[rows.astype(int)[:, None], columns.astype(int)])
        assert (labels == source.read(index, masks=True).semantic).mean() > 0.9


def test_where_the_network_gives_no_answer_there_is_none():
    """A rim of IGNORE within the core stays IGNORE; so does an example's tile that never came."""
    source = Drawn(2)

    def answer(batch):
        labels = truth_of(batch).labels
        labels[:, :10], labels[:, :, :9] = IGNORE, IGNORE
        return SegmentationPrediction(labels)

    _, maps = flat(collected(source, batches_of(source), answer))
    for index, labels in enumerate(maps):
        whole = source.read(index, masks=True).semantic
        rows, columns = (np.arange(length) % 32 for length in whole.shape)
        lost = (rows < 2)[:, None] | (columns < 1)
        np.testing.assert_array_equal(labels, np.where(lost, IGNORE, whole))
    first = batches_of(source, size=100)[0]
    first.valid[1] = False
    _, maps = flat(collected(source, [first], truth_of))
    whole = source.read(0, masks=True).semantic
    whole[:32, 32:64] = IGNORE
    np.testing.assert_array_equal(maps[0], whole)


def test_boxes_and_classes_come_back_row_by_row():
    source = Drawn(7, broken=(2,))
    spec = InputSpec(sizes=((40, 56),), target="objects", max_objects=1)
    batches = batches_of(source, spec)
    scores = lambda batch: np.tile(batch.index[:, None].astype(np.float32), (1, 3))
    parts = collected(source, batches, lambda b: LocalizationPrediction(scores(b), b.target.boxes[:, 0]), masks=False)
    assert [[example.id for example in examples] for examples, _ in parts] == [
        [source.ids[i] for i in (0, 1, 3, 4, 5)], ["image 6"], []
    ]  # fmt: skip
    for examples, prediction in parts[:2]:
        for example, score, box in zip(examples, prediction.scores, prediction.boxes, strict=True):
            index = source.ids.index(example.id)
            assert score[0] == index and example.objects.masks is None
            largest = np.argsort(-example.objects.area, kind="stable")[:1]
            np.testing.assert_allclose(box, example.objects.boxes[largest[0]] if len(largest) else np.zeros(4), atol=1e-3)
    found = collected(source, batches, lambda batch: ClassPrediction(scores(batch)))
    np.testing.assert_array_equal(np.concatenate([p.scores[:, 0] for _, p in found[:-1]]), [0, 1, 3, 4, 5, 6])


# Evaluation ---------------------------------------------------------------------------------------------------------------


def task_of(spec):
    """Says from a pixel's colour alone which class it has: dark ground, or the brightest channel. It is always right."""

    def logits_of(image):
        image = image.astype(jnp.float32)
        return jnp.concatenate([jnp.full((*image.shape[:3], 1), 100.0), image], axis=-1)

    def loss(params, model_state, batch, key, train):
        counts = (batch.target.labels != IGNORE) & batch.valid[:, None, None]
        values = losses.pixel_cross_entropy(0.01 * logits_of(batch.image), batch.target.labels.astype(jnp.int32))
        L = Mean.of(values, counts)
        return L * 1.0, LossAux(model_state, {"loss/class": L})

    def predict(params, model_state, batch):
        return SegmentationPrediction(jnp.argmax(logits_of(batch.image), axis=-1).astype(jnp.uint8))

    evaluator = lambda: SegmentationEvaluator(SEMANTIC)
    return dataclasses.replace(toy.make_task(), inputs=spec, loss=loss, predict=predict, evaluator=evaluator)


@pytest.mark.parametrize(("margin", "size"), [(8, 6), (0, 4), (16, 2)])
def test_an_evaluation_in_tiles_is_that_of_whole_images(margin, size):
    """The metrics, the counts and the loss: each pixel once, whatever the tiles and the batches are."""
    source, spec = Drawn(5), dataclasses.replace(SPEC, margin=margin)
    batches = lambda: pipeline.eval_batches(source, spec, options(eval_batch_size=size))
    evaluation = SplitEvaluation(
        task_of(spec), source, batches, make_mesh(jax.devices()[:1]), functools.partial(wholes.Wholes, source)
    )
    seen = []
    collect = lambda examples, found: seen.extend(zip(examples, found.labels, strict=True))
    metrics, kept = evaluation.run({}, {}, keep=2, collect=collect)
    assert [example.id for example, _ in seen] == list(source.ids)
    examples = [source.read(i, masks=True) for i in range(5)]
    assert evaluation.evaluator.confusion.sum() == sum(whole.semantic.size for whole in examples)
    assert not evaluation.evaluator.unpredicted.any()
    for (_, labels), whole in zip(seen, examples, strict=True):
        np.testing.assert_array_equal(labels, whole.semantic)
    assert metrics["mean_iou"] == metrics["pixel_accuracy"] == 1.0 and metrics["images"] == 5
    nats = []
    for whole in examples:
        logits = np.concatenate([np.full((*whole.size, 1), 1.0), 0.01 * whole.image], axis=-1)
        logits = logits.reshape(-1, 4)
        picked = logits[np.arange(len(logits)), whole.semantic.ravel()]
        nats.append(np.log(np.exp(logits).sum(axis=1)) - picked)
    expected = np.concatenate(nats).mean()
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5) == metrics["loss/class"]
    assert {int(i) for batch, _ in kept for i in batch.index} == {0, 4}
    assert isinstance(kept[0][0], Batch) and all(len(batch.index) == len(found.labels) for batch, found in kept)


def evaluated(source, keep, resize="tile"):
    """What an evaluation in small batches keeps for pictures."""
    spec = SPEC if resize == "tile" else STRETCHED
    batches = lambda: pipeline.eval_batches(source, spec, options(eval_batch_size=2))
    pictures = functools.partial(wholes.Wholes, source) if resize == "tile" else None
    return SplitEvaluation(task_of(spec), source, batches, make_mesh(jax.devices()[:1]), pictures).run({}, {}, keep=keep)[1]


def test_pictures_of_tiled_images_show_them_whole():
    source = Drawn(5, broken=(4,))
    ((batch, found),) = evaluated(source, keep=3)
    assert batch.index.tolist() == [0, 2] and batch.valid.all()  # the third cannot be read
    for row, index in enumerate((0, 2)):
        whole = source.read(index, masks=True)
        height, width = whole.size
        assert batch.size[row].tolist() == [height, width] and batch.core[row].tolist() == [0, 0, width, height]
        np.testing.assert_array_equal(batch.transform[row], np.eye(2, 3))
        np.testing.assert_array_equal(batch.image[row, :height, :width], whole.image)
        for maps in (batch.target.labels, found.labels):
            np.testing.assert_array_equal(maps[row, :height, :width], whole.semantic)
            assert (maps[row, height:] == IGNORE).all() and (maps[row, :, width:] == IGNORE).all()
    assert sheets.sheet(batch, SEMANTIC, found).shape[1] > 3 * batch.image.shape[2]


def test_pictures_of_tiled_images_are_few_and_small(monkeypatch):
    monkeypatch.setattr(wholes, "MOST", 2)
    monkeypatch.setattr(wholes, "LONGEST", 20)
    source = Drawn(5)
    ((batch, found),) = evaluated(source, keep=16)
    assert batch.index.tolist() == [0, 4]
    assert max(batch.image.shape[1:3]) == 20 and found.labels.shape == batch.image.shape[:3] == batch.target.labels.shape
    for row, index in enumerate((0, 4)):
        whole = source.read(index, masks=True)
        small, (height, width) = batch.size[row], whole.size
        assert small.max() == 20 and math.isclose(small[0] / small[1], height / width, rel_tol=0.1)
        np.testing.assert_allclose(batch.transform[row] @ [width, height, 1], small[::-1], atol=1e-4)
        # The class of an original pixel beneath each drawn one.
        rows, columns = ((np.arange(side) + 0.5) * length / side for side, length in zip(small, whole.size, strict=True))
        expected = whole.semantic[rows.astype(int)[:, None], columns.astype(int)]
        assert (found.labels[row, : small[0], : small[1]] == expected).mean() > 0.99
        assert found.labels[row].tolist() == batch.target.labels[row].tolist()  # this network is always right


def test_pictures_of_other_inputs_show_the_inputs():
    kept = evaluated(Drawn(5), keep=16, resize="stretch")
    assert [batch.index.tolist() for batch, _ in kept] == [[0, 1], [2, 3], [4]]
    assert all(batch.image.shape[1:3] == found.labels.shape[1:] == (40, 56) for batch, found in kept)
    assert evaluated(Drawn(5), keep=0) == []
