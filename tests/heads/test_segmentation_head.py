"""heads/segmentation.py: which pixels count in each term, what a config may say, and averages over views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from cnnvision.errors import ConfigError
from cnnvision.heads.segmentation import (
    PixelLossSettings,
    SegmentationHead,
    border_weights,
    check_classes,
    segmentation_metrics,
    segmentation_terms,
)
from cnnvision.inputs import BorderWeights
from cnnvision.models.pixels import PixelSettings, pixel_inputs
from cnnvision.ops.images import centre
from cnnvision.settings import read
from cnnvision.task import DataInfo, Mean
from cnnvision.types import IGNORE, SemanticTarget

INFO = DataInfo(classes=(), semantic_classes=("ground", "cell", "dirt"))


def middle(target, size):
    """A target cut to what a network without padding answers for."""
    return jax.tree.map(lambda plane: centre(plane, size), target)


def loss_of(**changes):
    return read(PixelLossSettings, changes, "config.model.loss")


def drawn(shape=(3, 6, 5), k=3, seed=0, ignored=0.3):
    """Logits, and labels of which some are IGNORE."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(shape) < ignored, IGNORE, rng.integers(0, k, shape)).astype(np.uint8)
    return jnp.array(rng.normal(size=(*shape, k)) * 2, jnp.float32), jnp.array(labels)


ALL = {"cross_entropy": 1.0, "dice": 1.0, "focal": 1.0}
YES = jnp.ones(3, bool)


# Terms --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [("cross_entropy",), ("dice",), ("focal",), ("cross_entropy", "dice"), tuple(ALL)])
def test_terms_without_weight_are_absent(wanted):
    logits, labels = drawn()
    weights = {name: 0.25 if name in wanted else 0.0 for name in ALL}
    assert set(segmentation_terms(loss_of(**weights), logits, SemanticTarget(labels), YES)) == set(wanted)


@pytest.mark.parametrize("class_weights", [(), (0.5, 2.0, 3.0)])
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("term", ALL)
def test_pixels_that_are_ignored_and_examples_that_are_not_real_count_nowhere(term, weighed, class_weights):
    """Neither their logits nor their weights change the value, and their logits have no gradient; nor do all other labels
    of an example that is not real."""
    logits, labels = drawn()
    valid = jnp.array([True, False, True])
    counts = (labels != IGNORE) & valid[:, None, None]
    config = loss_of(**{**dict.fromkeys(ALL, 0.0), term: 1.0}, class_weights=class_weights)
    weights = jnp.array(np.random.default_rng(1).uniform(1, 5, labels.shape), jnp.float32)
    value = lambda logits, labels, weights: segmentation_terms(
        config, logits, SemanticTarget(labels, weights if weighed else None), valid
    )[term].value()
    before, gradient = jax.value_and_grad(value)(logits, labels, weights)
    others = jnp.where(counts[..., None], logits, 50 * drawn(seed=7)[0])
    after = value(others, labels.at[1].set(drawn(seed=8)[1][1]), jnp.where(counts, weights, 99.0))
    assert float(before) == pytest.approx(float(after), rel=1e-6) and before > 0
    np.testing.assert_array_equal(np.asarray(gradient)[~np.asarray(counts)], 0)
    assert (np.abs(np.asarray(gradient)[np.asarray(counts)]).max(axis=-1) > 0).mean() > 0.9


def test_means_are_weighed_by_class_and_border():
    """Logits are the logarithms of probabilities, so that the terms can be written down."""
    p = jnp.array([[[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [1 / 3, 1 / 3, 1 / 3]]]])
    labels = jnp.array([[[0, 1, 2, IGNORE]]], jnp.uint8)
    border = jnp.array([[[1.0, 1.0, 4.0, 9.0]]])
    nats = -np.log([0.5, 0.8, 0.6])
    for class_weights, weights, expected in (
        ((), None, [1, 1, 1]),
        ((2.0, 0.0, 0.5), None, [2, 0, 0.5]),
        ((), border, [1, 1, 4]),
        ((2.0, 0.0, 0.5), border, [2, 0, 2]),
        ((0.2,), border, [0.2, 1, 4]),
    ):
        config = loss_of(focal=0.1, focal_gamma=1.0, class_weights=class_weights)
        terms = segmentation_terms(config, jnp.log(p), SemanticTarget(labels, weights), jnp.ones(1, bool))
        assert float(terms["cross_entropy"].value()) == pytest.approx(np.average(nats, weights=expected), rel=1e-5)
        focal = nats * [0.5, 0.2, 0.4]
        assert float(terms["focal"].value()) == pytest.approx(np.average(focal, weights=expected), rel=1e-5)
        assert float(terms["cross_entropy"].count) == pytest.approx(sum(expected))


def test_dice_is_a_mean_over_images_and_classes():
    """Two images count: of the first all is right, of the second all p are 1/3; the third has no pixel that counts."""
    labels = np.full((3, 2, 3), IGNORE, np.uint8)
    labels[0], labels[1, 0] = [[0, 0, 1], [1, 2, 2]], [0, 0, 1]
    logits = np.zeros((3, 2, 3, 3), np.float32)
    logits[0] = 100 * np.eye(3)[labels[0]]
    term = segmentation_terms(
        loss_of(cross_entropy=0.0, dice=1.0), jnp.array(logits), SemanticTarget(jnp.array(labels)), YES
    )
    # Of each class Σ p² = 3 / 9; two pixels of the first, one of the second, none of the third.
    each = [1 - (2 * n / 3 + 1) / (1 / 3 + n + 1) for n in (2, 1, 0)]
    assert float(term["dice"].value()) == pytest.approx(sum(each) / 6, rel=1e-5) and float(term["dice"].count) == 6


def test_no_pixel_that_counts_is_no_loss():
    logits, _ = drawn()
    target = SemanticTarget(jnp.full((3, 6, 5), IGNORE, jnp.uint8))
    value = lambda x: sum(term.value() for term in segmentation_terms(loss_of(**ALL), x, target, YES).values())
    found, gradient = jax.value_and_grad(value)(logits)
    assert float(found) == 0 and (np.asarray(gradient) == 0).all()


def test_terms_of_slices_add_up():
    logits, labels = drawn()
    config, valid = loss_of(**ALL, class_weights=(1.0, 2.0, 0.5)), jnp.array([True, True, False])
    terms = jax.jit(lambda *rows: segmentation_terms(config, rows[0], SemanticTarget(rows[1]), rows[2]))
    whole, one, two = (terms(logits[s], labels[s], valid[s]) for s in (slice(None), slice(1), slice(1, None)))
    for name, mean in whole.items():
        assert float(one[name].merge(two[name]).value()) == pytest.approx(float(mean.value()), rel=1e-6)


def test_accuracy_by_hand():
    logits = jnp.array([[[[2.0, 1, 0], [0, 1, 2], [0, 5, 1], [9, 0, 0]]]] * 2)
    labels = jnp.array([[[0, 1, 1, IGNORE]]] * 2, jnp.uint8)
    metrics = segmentation_metrics({"dice": Mean.of(1.0, 1.0)}, logits, SemanticTarget(labels), jnp.array([True, False]))
    accuracy = metrics["pixel_accuracy"]
    assert (float(accuracy.total), float(accuracy.count)) == (2, 3) and float(metrics["loss/dice"].value()) == 1.0


def test_the_head_is_a_linear_layer_on_each_pixel():
    features = jnp.array(np.random.default_rng(0).normal(size=(2, 3, 4, 5)), jnp.bfloat16)
    head = SegmentationHead(7)
    variables = head.init(jax.random.key(0), features)
    layer = variables["params"]["class"]
    found = head.apply(variables, features)
    assert found.dtype == jnp.float32 and layer["kernel"].shape == (5, 7)
    expected = np.float32(features) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    np.testing.assert_allclose(found, expected, atol=1e-5)


# Configs ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_entropy": -1.0}, r"loss.cross_entropy = -1.0: must be a number in 0 … 1,000,000"),
        ({"dice": 2e6}, r"loss.dice = 2000000.0: must be"),
        ({"focal": float("nan")}, r"loss.focal = nan: must be"),
        ({"cross_entropy": 0.0}, r"every term has weight 0, .* set one of cross_entropy, dice, focal"),
        ({"focal_gamma": -0.5}, r"loss.focal_gamma = -0.5: must be a number in 0 … 100"),
        ({"border_w0": -1.0}, r"loss.border_w0 = -1.0: must be"),
        ({"border_sigma": 0.0}, r"loss.border_sigma = 0.0: must be a number in 0.1 … 10,000"),
        ({"border_w0": 10.0, "border_background": "grund"}, r"loss.border_background: .*'grund'. Did you mean 'ground'"),
        ({"border_background": "grund"}, r"loss.border_background: .*'grund'. Did you mean 'ground'"),
        (
            {"class_weights": (1.0, 2.0, 1.0, 1.0)},
            r"class_weights = \(1.0, 2.0, 1.0, 1.0\): must be .* at most one for each of the 3 classes, .*: ground, cell",
        ),
        ({"class_weights": (1.0, 2.0, -1.0)}, r"class_weights = -1.0: must be"),
        ({"class_weights": (0.0, 0.0, 0.0)}, r"class_weights = \(0.0, 0.0, 0.0\): must be"),
    ],
)
def test_losses_that_cannot_be_used_are_named(changes, message):
    with pytest.raises(ConfigError, match=r"config\.model\.loss.*" + message.removeprefix("loss")):
        check_classes(loss_of(**changes), INFO)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        ALL,
        {"border_background": "dirt"},
        {"border_w0": 10.0},
        {"class_weights": (0.0, 1.0, 2.0), "dice": 0.5},
        {"class_weights": (0.0,)},
    ],
)
def test_losses_that_can_be_used_pass(changes):
    check_classes(loss_of(**changes), INFO)


def test_what_the_pipeline_weighs_with():
    assert border_weights(loss_of(border_sigma=3.0), INFO) is None
    assert border_weights(loss_of(border_w0=10.0), INFO) == BorderWeights(10.0, 5.0, 0)
    assert border_weights(loss_of(border_w0=2.0, border_sigma=1.5, border_background="dirt"), INFO) == BorderWeights(
        2.0, 1.5, 2
    )


def test_views_that_cannot_be_used_are_named():
    for tta in ("none", "flips", "rotations"):
        assert read(PixelSettings, {"tta": tta}, "config.model").tta == tta
    data = ConfigDict(dict(size=(64, 96), more_sizes=(), resize="stretch", margin=None))
    inputs = lambda tta: pixel_inputs(data, PixelSettings(tta=tta), INFO, reach=1, stride=1)
    assert inputs("flips").sizes == ((64, 96),)
    with pytest.raises(ConfigError, match=r"config.model.tta: .*'rotation'. Did you mean 'rotations'"):
        read(PixelSettings, {"tta": "rotation"}, "config.model")
    with pytest.raises(ConfigError, match=r"'rotations' needs a square input, and config.data.size is \(64, 96\)"):
        inputs("rotations")


# Predictions --------------------------------------------------------------------------------------------------------------
