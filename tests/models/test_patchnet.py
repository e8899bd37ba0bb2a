"""The patch classifier: dense and patch by patch are one network, and training draws as many pixels of each class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.errors import ConfigError
from cnnvision.models.patchnet import PatchNet, draw_pixels, mirrored, window_by_window
from cnnvision.types import IGNORE
from tests.models.segmenters import batch_of, close, noise, parameters_in, shaken, start, task_of

PAPER = {"kernels": (4, 5, 4, 4), "window": 95, "width": 48, "hidden": 200}


def params_of(network):
    """Shaken parameters; an image of one window shows all their shapes."""
    image = jnp.zeros((1, network.window, network.window, 3))
    return shaken(jax.eval_shape(network.init, jax.random.key(0), image)["params"])


# One network, two ways --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size, chunk, network",
    [
        ((64, 49), 500, PatchNet(3, PAPER["kernels"], PAPER["window"], width=2, hidden=5)),
        ((18, 31), 64, PatchNet(2, (4, 3, 2), 27, width=3, hidden=4)),
    ],
)
def test_dense_is_patch_by_patch(size, chunk, network):
    params, image = params_of(network), noise(1, *size, 3)
    logits_of = lambda image, dense: network.apply({"params": params}, image, dense)
    dense = jax.jit(lambda image: logits_of(mirrored(image, network.window), dense=True))(image)
    patches = jax.jit(lambda image: window_by_window(logits_of, image, network.window, chunk))(image)
    assert dense.shape == (1, *size, network.classes)
    close(dense, patches, 1e-5)


def slow_logits(params, image, window):
    """[h, w, k] logits of one image [h, w, 3], pixel by pixel: section 2 of the paper in loops."""

    def fold(place, length):  # mirrored at the edge pixel's centre
        place = abs(place)
        return 2 * (length - 1) - place if place >= length else place

    def convolve(image, layer):
        kernel, bias = np.float64(layer["kernel"]), np.float64(layer["bias"])
        size, (height, width, _) = len(kernel), image.shape
        rows = [[image[i : i + size, j : j + size] for j in range(width - size + 1)] for i in range(height - size + 1)]
        return np.maximum([[np.tensordot(part, kernel, 3) + bias for part in row] for row in rows], 0)

    height, width, _ = image.shape
    logits = np.zeros((height, width, len(params["head"]["class"]["bias"])))
    for row in range(height):
        for column in range(width):
            around = range(-(window // 2), window // 2 + 1)
            maps = np.array([[image[fold(row + i, height), fold(column + j, width)] for j in around] for i in around])
            for i in range(1, len(params) - 1):
                maps = convolve(maps, params[f"conv{i}"])
                maps = maps.reshape(len(maps) // 2, 2, len(maps) // 2, 2, -1).max((1, 3))
            hidden = convolve(maps, params["hidden"])
            assert hidden.shape[:2] == (1, 1)
            logits[row, column] = hidden[0, 0] @ params["head"]["class"]["kernel"] + params["head"]["class"]["bias"]
    return logits


@pytest.mark.parametrize("kernels, window", [((2, 3), 13), ((4,), 9), ((2, 3), 9)])
def test_dense_is_what_loops_over_pixels_find(kernels, window):
    """Windows of 13: 13 -> 12 -> 6 -> 4 -> 2, a 2×2 hidden layer; of 9 with (2, 3): 9 -> 8 -> 4 -> 2 -> 1."""
    network = PatchNet(2, kernels, window, width=2, hidden=3)
    params, image = params_of(network), noise(1, 8, 7, 3)
    dense = network.apply({"params": params}, mirrored(image, window), True)
    close(dense[0], slow_logits(jax.tree.map(np.asarray, params), np.float64(image[0]), window), 1e-5)


def test_both_ways_predict_the_same_labels_whatever_the_chunk():
    size = (24, 20)
    tasks = [task_of("patchnet", size)] + [task_of("patchnet", size, run="patches", chunk=n) for n in (77, 480, 1000)]
    params, state = start(tasks[0])
    batch = batch_of(tasks[0])
    dense, *patches = [np.asarray(jax.jit(task.predict)(params, state, batch).labels) for task in tasks]
    assert len(np.unique(dense)) > 1
    for labels in patches:  # 480 pixels: 77 does not divide them, and 1000 are more than there are
        np.testing.assert_array_equal(labels, dense)


# The paper --------------------------------------------------------------------------------------------------------------


def test_the_papers_largest_network_has_so_many_parameters():
    """N4. Sides: 95 − 3 = 92 -> 46; − 4 = 42 -> 21; − 3 = 18 -> 9; − 3 = 6 -> 3. So the hidden units see 3×3×48 numbers."""
    by_hand = (
        4 * 4 * 3 * 48 + 48  # from red, green, blue
        + 5 * 5 * 48 * 48 + 48
        + 4 * 4 * 48 * 48 + 48
        + 4 * 4 * 48 * 48 + 48
        + 3 * 3 * 48 * 200 + 200
        + 200 * 2 + 2  # membrane or not
    )  # fmt: skip
    task = task_of("patchnet", (64, 64), classes=("inside", "membrane"), **PAPER)
    batch = batch_of(task, rows=1)
    params, _ = jax.eval_shape(task.init, jax.random.key(0), batch)
    assert parameters_in(params) == by_hand == 220_826


# Training ---------------------------------------------------------------------------------------------------------------


def test_drawn_pixels_are_balanced_and_none_comes_twice_or_is_ignored():
    """Of 40,000 pixels one class has 200, another 3,800; 4,000 are IGNORE. Over 400 draws of 30, each of three classes is
    expected 4,000 times, with a standard deviation of √(12000 · ⅓ · ⅔) = 52. (Without replacement, a class of 200 gets a
    little less: after half of a draw's 30 pixels it has lost 5 of 200.)
    """
    rng = np.random.default_rng(0)
    flat = np.repeat(np.uint8([0, 1, 2, IGNORE]), [200, 3_800, 32_000, 4_000])
    labels = jnp.asarray(rng.permutation(flat).reshape(160, 250))
    draw = jax.jit(jax.vmap(lambda key: draw_pixels(key, labels, 3, 30)))
    places, drawn = (np.asarray(x) for x in draw(jax.random.split(jax.random.key(0), 400)))
    assert places.shape == (400, 30, 2) and drawn.all()
    found = np.asarray(labels)[places[..., 0], places[..., 1]]
    assert not (found == IGNORE).any()
    assert all(len(np.unique(each, axis=0)) == 30 for each in places)
    counts = np.bincount(found.ravel(), minlength=3)
    assert all(3_750 <= count <= 4_250 for count in counts), counts
    often = np.unique(places[found == 2], axis=0)  # of 32,000 equally likely pixels hardly any is drawn twice
    assert len(often) > 0.9 * counts[2]


def test_a_class_that_is_absent_takes_no_share():
    labels = jnp.asarray(np.repeat(np.uint8([0, 2]), [100, 9_900]).reshape(100, 100))
    places, drawn = jax.vmap(lambda key: draw_pixels(key, labels, 4, 10))(jax.random.split(jax.random.key(1), 300))
    found = np.asarray(labels)[places[..., 0], places[..., 1]]
    assert bool(drawn.all()) and 0.42 < np.mean(found == 0) < 0.55  # 3,000 pixels; 5 of 100 are gone half way


def test_where_there_are_too_few_pixels_the_rest_is_marked():
    labels = np.full((9, 11), IGNORE, np.uint8)
    there = [(0, 0), (3, 10), (8, 10), (8, 0)]
    for i, place in enumerate(there):
        labels[place] = i % 2
    places, drawn = draw_pixels(jax.random.key(0), jnp.asarray(labels), 2, 7)
    assert int(drawn.sum()) == 4
    assert {tuple(place) for place in np.asarray(places)[np.asarray(drawn)].tolist()} == set(there)
    assert not draw_pixels(jax.random.key(0), jnp.full((9, 11), IGNORE, jnp.uint8), 2, 7)[1].any()


def test_all_pixels_drawn_give_the_loss_of_all_pixels():
    """480 of 480 pixels, of which a third is IGNORE: what is drawn beyond the others must not count."""
    loss = {"dice": 0.7, "class_weights": (1.0, 2.0, 0.5)}
    task = task_of("patchnet", (24, 20), samples=480, loss=loss)
    params, state = start(task)
    batch = batch_of(task, ignored=0.3)
    weights = jnp.asarray(np.random.default_rng(1).uniform(0.5, 3.0, (2, 24, 20)).astype(np.float32))
    batch = batch.replace(target=batch.target.replace(weights=weights))
    loss_of = jax.jit(task.loss, static_argnums=4)
    (drawn, drawn_aux), (every, every_aux) = (loss_of(params, state, batch, jax.random.key(0), way) for way in (True, False))
    assert float(drawn.value()) == pytest.approx(float(every.value()), rel=1e-5)
    assert drawn_aux.metrics["pixel_accuracy"].value() == every_aux.metrics["pixel_accuracy"].value()


def test_without_samples_training_sees_every_pixel():
    task = task_of("patchnet", (24, 20), samples=None)
    params, state = start(task)
    loss_of = jax.jit(task.loss, static_argnums=4)
    values = [
        loss_of(params, state, batch_of(task), jax.random.key(i), train)[0].value() for i, train in enumerate((1, 1, 0))
    ]
    assert values[0] == values[1] == values[2]


# Configs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kernels": (5,), "window": 20}, r"config\.model\.window = 20: an even window has no central pixel; with kernels "
                                          r"\(5,\) take other kernels"),
        ({"window": 22}, r"window = 22: a map of 19 pixels cannot be pooled two by two; with .* \(4, 4\) take 21 or 25"),
        ({"window": 5}, r"window = 5: a map of -2 pixels cannot be pooled two by two; .* take 13 or 17"),
        ({"window": 0}, r"config\.model\.window = 0: must be a whole number in 1 … 2,047"),
        ({"size": (10, 64)}, r"config\.data\.size: \(10, 64\) cannot be mirrored by half a window, 10 pixels; take"),
        ({"run": "patch"}, r"config\.model\.run: there is no 'patch'\. Did you mean 'patches'\? Known: dense, patches\."),
        ({"samples": 64 * 64 + 1}, r"config\.model\.samples = 4097: must be at most 4096, the pixels of config\.data\.size"),
        ({"kernels": ()}, r"config\.model\.kernels = \(\): must be sides of kernels, at least one"),
        ({"kernels": (4, 0)}, r"config\.model\.kernels = 0: must be a whole number in 1 … 1,024"),
        ({"chunk": 0}, r"config\.model\.chunk = 0: must be a whole number"),
        ({"hidden": 0}, r"config\.model\.hidden = 0: must be a whole number"),
        ({"width": 0}, r"config\.model\.width = 0: must be a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        task_of("patchnet", **changes)


def test_half_a_window_and_one_pixel_are_enough():
    task = task_of("patchnet", (11, 12), samples=None)
    assert jax.eval_shape(task.predict, *start(task), batch_of(task)).labels.shape == (2, 11, 12)
