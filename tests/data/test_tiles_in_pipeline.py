"""Fit "tile", from windows.py to batches: tiles answer for each pixel once, and windows are a function of seed and step."""

import dataclasses

import jax
import numpy as np
import pytest

from cnnvision.data import order, pipeline
from cnnvision.data.augment.windows import all_tiles, core_of, cut_tile, cut_window, mirrored, sample_window, tiles
from cnnvision.data.batching import make_batch
from cnnvision.data.options import AugmentSettings
from cnnvision.errors import ConfigError
from cnnvision.inputs import BorderWeights, InputSpec
from cnnvision.types import IGNORE, Example
from tests.data.drawn import SEMANTIC, Drawn
from tests.data.loading import options, same
from tests.reference import windows as reference

WINDOW = {"flip": 0.5, "rotate": 20.0, "zoom": (0.8, 1.3), "quarter_turns": True, "elastic": 2.0, "brightness": 0.2}


def noise(size):
    """An image, and labels in [0, 9)."""
    rng = np.random.default_rng(size)
    return rng.integers(0, 256, (*size, 3)).astype(np.uint8), rng.integers(0, 9, size).astype(np.uint8)


def spec_of(size=(64, 96), margin=0, step=1, border=None):
    return InputSpec(sizes=(size,), target="semantic", resize="tile", margin=margin, tile_step=step, border=border)


# Tiles --------------------------------------------------------------------------------------------------------------------

SIZES = [(1, 1), (37, 501), (2000, 50), (64, 96), (128, 192), (48, 80), (129, 97)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("margin", "step"), [(0, 1), (8, 1), (8, 16), (20, 8), (31, 1), (5, 7)])
def test_tiles_answer_for_each_pixel_once(size, margin, step):
    spec = spec_of(margin=margin, step=step)
    answers, found = np.zeros(size, int), tiles(size, spec)
    for x, y in found:
        x1, y1, x2, y2 = core_of((x, y), size, spec)
        assert margin <= x1 < x2 <= 96 - margin and margin <= y1 < y2 <= 64 - margin
        assert 0 <= x + x1 and x + x2 <= size[1] and 0 <= y + y1 and y + y2 <= size[0]  # nothing is lost at the ends
        answers[y + y1 : y + y2, x + x1 : x + x2] += 1
    assert (answers == 1).all()
    assert len(found) == len(set(found)) and found == sorted(found, key=lambda tile: tile[::-1])
    assert len({start % step for start, _ in found}) == len({start % step for _, start in found}) == 1


def test_tiles_by_hand():
    """A core of 96 − 2 · 20 = 56 at a distance of 48, the largest multiple of 16; 64 − 40 = 24 at one of 16."""
    spec = spec_of(margin=20, step=16)
    assert tiles((20, 100), spec) == [(-20, -20), (28, -20), (76, -20), (-20, -4), (28, -4), (76, -4)]
    assert core_of((-20, -20), (20, 100), spec) == (20, 20, 68, 36)
    assert core_of((76, -4), (20, 100), spec) == (20, 20, 24, 24)
    assert len(tiles((16, 48), spec)) == 1 and len(tiles((17, 48), spec)) == len(tiles((16, 49), spec)) == 2


@pytest.mark.parametrize("length", [1, 2, 3, 7, 40])
def test_mirrored_places_are_those_of_a_reflected_array(length):
    pad = 45
    expected = np.pad(np.arange(length), pad, mode="reflect")
    np.testing.assert_array_equal(mirrored(np.arange(-pad, length + pad), length), expected)
    assert [reference.reflected(i, length) for i in range(-pad, length + pad)] == expected.tolist()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (90, 120), (64, 96)])
def test_tiles_show_the_image_and_its_mirror_image(size):
    image, maps = noise(size)
    spec, pad = spec_of(margin=10, step=4), 200
    whole = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    for x, y in tiles(size, spec):
        row = cut_tile((x, y), Example("drawn", size, image, semantic=maps), 5, spec)
        np.testing.assert_array_equal(row.image, whole[pad + y : pad + y + 64, pad + x : pad + x + 96])
        np.testing.assert_array_equal(row.transform, np.array([[1, 0, -x], [0, 1, -y]], np.float32))
        assert (row.index, row.image.dtype, row.cells, row.core) == (5, np.uint8, None, core_of((x, y), size, spec))
        expected = np.full((64, 96), IGNORE, np.uint8)
        for j in range(row.core[1], row.core[3]):
            for i in range(row.core[0], row.core[2]):
                expected[j, i] = maps[j + y, i + x]
        np.testing.assert_array_equal(row.semantic, expected)
    assert cut_tile((0, 0), Example("drawn", size, image), 0, spec).semantic is None


# Evaluation ---------------------------------------------------------------------------------------------------------------

SPEC = spec_of((48, 48), margin=8, step=8)


def in_order(processes=1, source=None, spec=SPEC, **changes):
    """All batches of an evaluation, the rows of all processes put together."""
    source = source or Drawn(7)
    shares = [list(pipeline.eval_batches(source, spec, options(**changes), i, processes)) for i in range(processes)]
    assert len({len(share) for share in shares}) == 1
    together = lambda *rows: np.concatenate(rows)
    return [jax.tree.map(together, *[loaded.batch for loaded in step]) for step in zip(*shares, strict=True)]


@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_gives_the_label_of_each_pixel_once(processes):
    source, counts = Drawn(7), np.zeros((7, IGNORE + 1), int)
    batches = in_order(processes, source)
    for batch in batches:
        assert batch.image.shape == (6, 48, 48, 3)
        for row in range(6):
            counts[batch.index[row]] += np.bincount(batch.target.labels[row].ravel(), minlength=IGNORE + 1)
            x1, y1, x2, y2 = batch.core[row]
            inside = np.zeros((48, 48), bool)
            inside[y1:y2, x1:x2] = True
            np.testing.assert_array_equal(batch.target.labels[row] != IGNORE, inside)
            assert inside.any() == batch.valid[row]
    whole = [source.read(i, masks=True).semantic for i in range(7)]
    expected = [np.bincount(maps.ravel(), minlength=len(SEMANTIC)) for maps in whole]
    np.testing.assert_array_equal(counts[:, : len(SEMANTIC)], expected)
    assert counts[:, :IGNORE].sum() == sum(maps.size for maps in whole)
    if processes == 2:
        same(batches, in_order())


@pytest.mark.parametrize("cache_mb", [0, 1000])
def test_an_image_is_decoded_once_for_all_its_tiles(cache_mb):
    source, decoded = Drawn(7), []
    reading = source.read
    source.read = lambda index, image=True, masks=False: (image and decoded.append(index)) or reading(index, image, masks)
    in_order(source=source, cache_mb=cache_mb, threads=0)
    assert decoded == list(range(7))


def test_tiles_come_in_the_order_of_the_ids_and_the_last_batch_is_filled_up():
    source = Drawn(7)
    batches = in_order(source=source)
    rows = [(int(i), *offset) for batch in batches for i, offset in zip(batch.index, -batch.transform[:, :, 2], strict=True)]
    valid = np.concatenate([batch.valid for batch in batches])
    expected = [(index, *tile) for index in range(7) for tile in tiles(source.read(index).size, SPEC)]
    assert [row for row, real in zip(rows, valid, strict=True) if real] == expected
    assert len(valid) == -(-len(expected) // 6) * 6 and valid[: len(expected)].all() and not valid[len(expected) :].any()
    assert [(index, *tile) for index, tile in all_tiles(source, SPEC)] == expected


@pytest.mark.parametrize("changes", [{"threads": 3}, {"workers": 2}, {"cache_mb": 9}, {"augment": WINDOW}])
def test_tiles_do_not_depend_on_who_loads_them(changes):
    same(in_order(augment={}), in_order(**{"augment": {}, **changes}))


def test_an_image_that_cannot_be_read_loses_its_own_tiles_alone():
    class Unknown(Drawn):
        def read(self, index, image=True, masks=False):
            if index == 4:
                raise OSError("gone")  # not even its size is known
            return super().read(index, image, masks)

    sound = in_order()
    of = lambda batches, index: sum(int((batch.valid & (batch.index == index)).sum()) for batch in batches)
    for source, broken, problems in ((Drawn(7, broken=(2,)), 2, of(sound, 2)), (Unknown(7), 4, 1)):
        loaded = list(pipeline.eval_batches(source, SPEC, options()))
        failures = [problem for step in loaded for problem in step.failures]
        assert [problem.file for problem in failures] == [f"image {broken}"] * problems
        found = [of([step.batch for step in loaded], index) for index in range(7)]
        assert found == [0 if index == broken else of(sound, index) for index in range(7)]


def test_tiles_to_predict_on_have_no_target():
    spec = dataclasses.replace(SPEC, target=None)
    for batch, known in zip(in_order(spec=spec), in_order(), strict=True):
        assert batch.target is None
        same(batch, known.replace(target=None))


# Training -----------------------------------------------------------------------------------------------------------------


def train(start=0, spec=SPEC, **changes):
    return list(pipeline.train_batches(Drawn(), spec, options(augment=WINDOW, **changes), 3, start, 6))


@pytest.mark.parametrize("changes", [{"threads": 1}, {"threads": 4, "prefetch": 2}, {"workers": 2}, {"start": 4}])
def test_windows_are_a_function_of_seed_and_step(changes):
    spec = dataclasses.replace(SPEC, border=BorderWeights(10.0, 5.0, 0))
    same(train(spec=spec)[changes.get("start", 0) :], train(spec=spec, **changes))


def test_windows_in_batches_are_those_of_the_example_and_epoch():
    source = Drawn()
    for loaded in train():
        indices, epochs = order.batch_indices(20, 6, 3, loaded.step)
        np.testing.assert_array_equal(loaded.batch.index, indices)
        np.testing.assert_array_equal(loaded.batch.core, [[0, 0, 48, 48]] * 6)
        for row, (index, epoch) in enumerate(zip(indices, epochs, strict=True)):
            example = source.read(index, masks=True)
            rng = order.example_rng(3, epoch, example.id)
            cut = cut_window(sample_window(rng, AugmentSettings(**WINDOW), example.size, (48, 48)), example, index, SPEC)
            np.testing.assert_array_equal(loaded.batch.image[row], cut.image)
            np.testing.assert_array_equal(loaded.batch.target.labels[row], cut.semantic)
            np.testing.assert_array_equal(loaded.batch.transform[row], cut.transform)


def test_sizes_of_windows_change_with_the_step():
    spec = InputSpec(sizes=((32, 48), (40, 40)), target="semantic", resize="tile")
    sizes = [loaded.batch.target.labels.shape[1:] for loaded in train(spec=spec)]
    assert sizes == [spec.sizes[order.bucket(3, step, 2)] for step in range(6)] and len(set(sizes)) == 2


# What is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resize", "augment", "message"),
    [
        (
            "tile",
            {"crop_area": (0.5, 1.0)},
            r'crop_area = \(0.5, 1.0\): .* "stretch" or "letterbox" or "crop" alone, .* \'tile\'',
        ),
        ("tile", {"crop_aspect": (0.5, 1.0)}, r"crop_aspect .*: is for resize .* alone, and"),
        ("tile", {"translate": 0.1}, r"translate = 0.1: is for resize .* alone, and"),
        (
            "tile",
            {"zoom_out": (1.0, 4.0)},
            r'zoom_out = \(1.0, 4.0\): is for resize "stretch" or "letterbox" alone, and .* \'tile\'',
        ),
        ("crop", {"zoom_out": (1.0, 4.0)}, r"zoom_out = \(1.0, 4.0\): is for resize .* alone, and .* 'crop'"),
        ("crop", {"iou_crop": 1.0}, r"iou_crop = 1.0: is for resize .* alone, and .* 'crop'"),
        ("stretch", {"zoom": (0.5, 1.0)}, r"augment.zoom = \(0.5, 1.0\): is for resize \"tile\" alone, and .* 'stretch'"),
        ("letterbox", {"quarter_turns": True}, r"quarter_turns = True: is for resize \"tile\" alone, and .* 'letterbox'"),
        ("crop", {"elastic": 10.0}, r"elastic = 10.0: is for resize \"tile\" alone"),
        ("tile", {"zoom": (0.0, 1.0)}, r"augment.zoom = 0.0: must be a number in 1e-06 … 16"),
        ("tile", {"elastic": -1.0}, r"augment.elastic = -1.0: must be a number in 0 … 1,000"),
        ("tile", {"elastic_grid": 1}, r"augment.elastic_grid = 1: must be a whole number in 2 … 64"),
        ("tile", {"quarter_turns": 1}, r"augment.quarter_turns = 1: must be true or false"),
    ],
)
def test_options_that_do_nothing_or_cannot_be_are_named(resize, augment, message):
    with pytest.raises(ConfigError, match=message):
        pipeline.train_batches(Drawn(), dataclasses.replace(SPEC, resize=resize), options(augment=augment), 0, 0, 1)


def test_options_that_fit_pass():
    AugmentSettings(**{**WINDOW, "rotate": 3.0}).check_resize("tile")
    AugmentSettings(flip=0.5, rotate=3.0, crop_area=(0.5, 1.0), translate=0.1).check_resize("stretch")
    AugmentSettings(zoom=(1.0, 1.0), translate=0.0).check_resize("crop")
    AugmentSettings(zoom_out=(1.0, 4.0), iou_crop=1.0).check_resize("letterbox")


@pytest.mark.parametrize("target", ["class", "objects"])
def test_tiles_are_for_semantic_segmentation(target):
    with pytest.raises(ConfigError, match=r'config.data.resize: "tile" is for semantic segmentation'):
        pipeline.eval_batches(Drawn(), dataclasses.replace(SPEC, target=target), options())


def test_rows_that_fill_up_answer_for_nothing():
    image, maps = noise((20, 30))
    row = cut_tile((-8, -8), Example("a", (20, 30), image, semantic=maps), 0, SPEC)
    batch, _ = make_batch([None, row], SPEC, (48, 48))
    np.testing.assert_array_equal(batch.core, [[0, 0, 0, 0], row.core])
    assert batch.core.dtype == np.int32 and (batch.target.labels[0] == IGNORE).all() and batch.target.weights is None
