"""Overlap-tile (Ronneberger et al. 2015, figure 2): tiles put together are what one pass over the whole image gives."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones.layers import IMAGENET_MEAN, IMAGENET_STD
from cnnvision.data import pipeline
from cnnvision.data.augment.windows import cut_tile, tiles
from cnnvision.data.options import DataSettings
from cnnvision.models.patchnet import PatchNet, mirrored
from cnnvision.models.unet import fitting_side, output_side, reach
from cnnvision.ops.images import normalize
from cnnvision.training.evaluate import SplitEvaluation
from cnnvision.training.sharding import make_mesh
from cnnvision.types import IGNORE, Example
from tests.models.segmenters import close, start, task_of, unet_of, unet_task
from tests.models.tasks import CLASSES

DEPTH = 2
SIZE = (128, 128)
REACH = reach(DEPTH)
"""23 pixels; margins are 24, the next multiple of the stride 4, and cores 80."""


class Pictures:
    """Images of given sizes in memory: noise on waves, and maps of noise."""

    name, split, classes, semantic_classes = "pictures", "val", CLASSES, CLASSES
    area_ranges, problems = {}, []

    def __init__(self, *sizes):
        self.sizes, self.ids = sizes, tuple(f"{height}×{width}" for height, width in sizes)

    def __len__(self):
        return len(self.sizes)

    @functools.cache  # noqa: B019
    def example(self, index):
        rng, (height, width) = np.random.default_rng(index), self.sizes[index]
        y, x, c = np.mgrid[:height, :width, :3]
        waves = 128 + 90 * np.sin(y / 11 + c) * np.cos(x / 17 - c)
        image = np.clip(waves + rng.normal(0, 25, waves.shape), 0, 255).astype(np.uint8)
        return Example(
            self.ids[index], (height, width), image, semantic=rng.integers(0, 3, (height, width)).astype(np.uint8)
        )

    def read(self, index, image=True, masks=False):
        example = self.example(index)
        return dataclasses.replace(
            example, image=example.image if image else None, semantic=example.semantic if masks else None
        )


@jax.jit
def normalised(image):
    size = jnp.array([image.shape[:2]], jnp.int32)
    return normalize(image[None], size, IMAGENET_MEAN, IMAGENET_STD)


def logits_by_tiles(logits_of, example, spec):
    """Logits of a whole image, put together from the cores of its tiles."""
    found = None
    for x, y in tiles(example.size, spec):
        row = cut_tile((x, y), example, 0, spec)
        logits = np.asarray(logits_of(normalised(row.image)))[0]
        rim = (spec.sizes[0][0] - len(logits)) // 2  # lost without padding
        found = np.full((*example.size, logits.shape[-1]), np.nan, np.float32) if found is None else found
        x1, y1, x2, y2 = row.core
        found[y + y1 : y + y2, x + x1 : x + x2] = logits[y1 - rim : y2 - rim, x1 - rim : x2 - rim]
    assert not np.isnan(found).any()
    return found


def whole(logits_of, image, stride):
    """Logits of one pass over an image, continued by its mirror image at the right and bottom up to the stride."""
    padded = np.pad(image, [(0, -image.shape[0] % stride), (0, -image.shape[1] % stride), (0, 0)], mode="reflect")
    return np.asarray(logits_of(normalised(padded)))[0, : image.shape[0], : image.shape[1]]


def inside(size, far=REACH):
    """What lies so far from the border that it cannot see how a convolution pads."""
    return slice(far, size[0] - far), slice(far, size[1] - far)


def predicted(task, params, state, source, mesh=None, targets=True):
    """(metrics, label maps in original pixels by id, the evaluation) of a split, eight rows a batch."""
    inputs = task.inputs if targets else dataclasses.replace(task.inputs, target=None)
    options = DataSettings(eval_batch_size=8, threads=0)
    batches = lambda: pipeline.eval_batches(source, inputs, options)
    evaluation, maps = SplitEvaluation(task, source, batches, mesh or make_mesh(jax.devices()[:1])), {}

    def collect(examples, predictions):
        for example, labels in zip(examples, predictions.labels, strict=True):
            assert example.id not in maps
            maps[example.id] = labels

    metrics, _ = evaluation.run(params, state, collect=collect)
    return metrics, maps, evaluation


@functools.cache
def prepared(norm="none", upsampling="transposed"):
    """task, params, model_state, image -> logits: a U-Net of depth 2 and width 4."""
    task = unet_task(DEPTH, norm=norm, upsampling=upsampling, size=SIZE, resize="tile")
    network = unet_of(DEPTH, norm=norm, upsampling=upsampling)
    params, state = start(task)
    apply = jax.jit(lambda params, image: network.apply({"params": params, **state}, image, jnp.ones(1, bool), False))
    balance(params, functools.partial(apply, params))
    return task, params, state, functools.partial(apply, params)


def balance(params, logits_of):
    """Moves the last biases so that each class is the answer somewhere: maps of one class would all be equal."""
    logits = logits_of(normalised(Pictures(SIZE).example(0).image))
    bias = params["head"]["class"]["bias"]
    params["head"]["class"]["bias"] = bias - jnp.median(logits.reshape(-1, logits.shape[-1]), axis=0)


# Tiles are the whole ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm, upsampling", [("none", "transposed"), ("batch", "transposed"), ("none", "bilinear")])
def test_tiles_put_together_are_one_pass_over_the_whole_image(norm, upsampling):
    task, params, state, logits_of = prepared(norm, upsampling)
    far = reach(DEPTH, upsampling == "bilinear")
    assert far <= task.inputs.margin < far + 4
    source = Pictures((300, 210))
    example = source.example(0)
    expected = whole(logits_of, example.image, 4)
    found = logits_by_tiles(logits_of, example, task.inputs)
    part = inside(example.size, far)
    close(found[part], expected[part], 1e-4)
    maps = predicted(task, params, state, source)[1]
    np.testing.assert_array_equal(maps["300×210"], found.argmax(-1))
    np.testing.assert_array_equal(maps["300×210"][part], expected.argmax(-1)[part])
    assert len(np.unique(maps["300×210"])) == 3
    assert bool(state) == (norm == "batch")  # the running statistics, which are neither 0 nor 1


def test_tiles_of_a_large_image_are_one_pass_over_it():
    task, params, state, logits_of = prepared()
    source = Pictures((1000, 700))
    expected = whole(logits_of, source.example(0).image, 4).argmax(-1)
    found = predicted(task, params, state, source)[1]["1000×700"]
    np.testing.assert_array_equal(found[inside((1000, 700))], expected[inside((1000, 700))])


def test_a_margin_below_the_reach_shows_at_the_seams():
    """That the margin is needed, and that tests like those above would see it missing."""
    task = unet_task(DEPTH, size=SIZE, resize="tile", margin=4)
    logits_of, example = prepared()[3], Pictures((300, 210)).example(0)
    part = inside(example.size)
    wrong = np.abs(logits_by_tiles(logits_of, example, task.inputs)[part] - whole(logits_of, example.image, 4)[part])
    assert task.inputs.margin == 4 and wrong.max() > 1e-2


def test_the_patch_classifier_is_the_same_up_to_the_border():
    """It mirrors the borders itself."""
    source = Pictures((90, 141))
    task, one_pass = task_of("patchnet", (64, 64), "tile"), task_of("patchnet", (90, 141))
    assert task.inputs.margin == 10  # half of a window of 21
    params, state = start(task)
    network = PatchNet(3, (4, 4), 21, 4, 8)
    balance(params, lambda image: network.apply({"params": params}, mirrored(image, 21)))
    (row,) = pipeline.eval_batches(source, one_pass.inputs, DataSettings(eval_batch_size=1, threads=0))
    expected = jax.jit(one_pass.predict)(params, state, jax.tree.map(jnp.asarray, row.batch)).labels[0]
    found = predicted(task, params, state, source)[1]["90×141"]
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) == 3


@pytest.mark.parametrize("upsampling, edge", [("transposed", 0), ("bilinear", 4)])
def test_without_padding_tiles_are_the_same_up_to_the_border(upsampling, edge):
    """The network sees nothing but the image and its mirror image: 20 pixels more at each side than it answers for.

    Interpolation repeats the edges of maps: 1 pixel of each upsampled map is not as in the middle, and, since a pair of
    convolutions loses two and spreads over two, 1 of its output; then 3 and 3. So of 4 answers at each edge none is used.
    """
    task = unet_task(DEPTH, valid=True, upsampling=upsampling, size=(60, 76), resize="tile")
    network, lost = unet_of(DEPTH, valid=True, upsampling=upsampling), (60 - output_side(60, DEPTH)) // 2
    assert lost == 20 and task.inputs.margin == 20 + edge
    params, state = start(task)
    apply = jax.jit(lambda params, image: network.apply({"params": params}, image, jnp.ones(1, bool), False))
    balance(params, functools.partial(apply, params))
    logits_of, source = functools.partial(apply, params), Pictures((90, 141))
    example = source.example(0)
    enough = [fitting_side(side + 2 * (lost + edge) + 3, DEPTH) for side in example.size]
    around = [(lost + edge, fit - side - lost - edge) for side, fit in zip(example.size, enough, strict=True)]
    answers = logits_of(normalised(np.pad(example.image, [*around, (0, 0)], mode="reflect")))
    expected = np.asarray(answers)[0, edge : edge + 90, edge : edge + 141]
    found = logits_by_tiles(logits_of, example, task.inputs)
    close(found, expected, 1e-4)
    labels = predicted(task, params, state, source)[1]["90×141"]
    np.testing.assert_array_equal(labels, expected.argmax(-1))
    assert len(np.unique(labels)) == 3


# Any size ---------------------------------------------------------------------------------------------------------------


def test_images_of_any_size_are_answered_in_their_own_with_one_program():
    task, params, state, logits_of = prepared()
    source = Pictures((1, 1), (37, 501), (2000, 50), (80, 80), (81, 1))
    metrics, maps, evaluation = predicted(task, params, state, source)
    assert len(evaluation.compiled.programs) == 1
    assert {name: labels.shape for name, labels in maps.items()} == dict(zip(source.ids, source.sizes, strict=True))
    assert not any((labels == IGNORE).any() for labels in maps.values())
    for i, name in enumerate(source.ids):
        np.testing.assert_array_equal(maps[name], logits_by_tiles(logits_of, source.example(i), task.inputs).argmax(-1))
    # Each pixel counts once: accuracy of the tiles' loss, of the evaluator and by hand are the same share.
    right = [maps[name] == source.example(i).semantic for i, name in enumerate(source.ids)]
    by_hand = sum(each.sum() for each in right) / sum(each.size for each in right)
    assert metrics["pixel_accuracy"] == pytest.approx(by_hand, rel=1e-6) and metrics["images"] == 5
    assert evaluation.evaluator.confusion.sum() == sum(height * width for height, width in source.sizes)

    without = predicted(task, params, state, source, targets=False)
    assert without[0] == {} and len(without[2].compiled.programs) == 1
    for name in source.ids:
        np.testing.assert_array_equal(without[1][name], maps[name])


def test_the_loss_of_a_split_is_that_of_its_pixels():
    task, params, state, logits_of = prepared()
    task = unet_task(DEPTH, size=SIZE, resize="tile", loss={})
    source = Pictures((37, 151), (100, 3), (1, 1))
    metrics, _, _ = predicted(task, params, state, source)
    total, count = 0.0, 0
    for i in range(3):
        logits = logits_by_tiles(logits_of, source.example(i), task.inputs).astype(np.float64)
        shifted = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        total -= np.take_along_axis(shifted, source.example(i).semantic[..., None].astype(int), -1).sum()
        count += shifted[..., 0].size
    assert metrics["loss/cross_entropy"] == pytest.approx(total / count, rel=1e-5)
    assert metrics["loss"] == metrics["loss/cross_entropy"]


def test_eight_devices_put_the_same_labels_together():
    task, params, state, _ = prepared()
    source = Pictures((300, 210), (1, 1), (37, 501))
    one, eight = (predicted(task, params, state, source, make_mesh(devices)) for devices in (jax.devices()[:1], None))
    assert eight[2].mesh.size == 8 and len(eight[2].compiled.programs) == 1
    for name in source.ids:
        np.testing.assert_array_equal(eight[1][name], one[1][name])
    assert eight[0] == pytest.approx(one[0], rel=1e-5, nan_ok=True)
