"""The encoder–decoder and the full-resolution net: what they see and what they do not; the two ways of doubling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones import make_backbone
from cnnvision.errors import ConfigError
from cnnvision.heads.segmentation import SegmentationHead
from cnnvision.models.encdec import EncoderDecoder
from cnnvision.models.fullres import FullResolutionNet
from cnnvision.necks.decoder import BilinearUp, Decoder, TransposedConv, enlarged, level_widths
from tests.models import segmenters
from tests.models.segmenters import PLAIN_PATH, batch_of, close, noise, shaken, task_of, unet_task, variables_of
from tests.models.tasks import SMALL

# The encoder–decoder ----------------------------------------------------------------------------------------------------


def encoder_decoder(**options):
    backbone = make_backbone(**{**PLAIN_PATH, **options})
    decoder = Decoder(level_widths(None, backbone.channels), skips=False, normalized=False, norm="none")
    return EncoderDecoder(backbone, decoder, SegmentationHead(3))


def test_only_the_last_map_is_decoded():
    """Finer features, changed after the last was computed from them, change nothing; changed in the last map, all does."""
    network, image = encoder_decoder(depth=3), noise(1, 32, 40, 3)
    variables = variables_of(network, (32, 40))

    @jax.jit
    def logits(offset):
        change = lambda features: {2**i: features[2**i] + offset[i] for i in range(4)}
        return segmenters.with_features_changed(network, variables, image, change)

    before = logits(np.zeros(4, np.float32))
    assert before.shape == (1, 32, 40, 3)
    np.testing.assert_array_equal(logits(np.float32([1, -2, 3, 0])), before)
    assert float(jnp.mean(jnp.abs(logits(np.float32([0, 0, 0, 1])) - before) > 1e-3)) > 0.5


def test_the_decoder_has_no_inputs_for_other_maps():
    task = task_of("encdec", backbone={**PLAIN_PATH, "depth": 3})
    params, _ = jax.eval_shape(task.init, jax.random.key(0), batch_of(task))
    shapes = jax.tree.map(jnp.shape, params["decoder"])
    for i, (before, width) in enumerate(((32, 16), (16, 8), (8, 4))):
        assert shapes[f"up{i}"]["kernel"] == (before, 2, 2, width)
        assert shapes[f"level{i}"]["conv1"]["kernel"] == shapes[f"level{i}"]["conv2"]["kernel"] == (3, 3, width, width)
    assert set(shapes) == {"norm_stride8"} | {f"{part}{i}" for part in ("up", "level") for i in range(3)}


def test_widths_follow_the_backbone_and_halve_beyond_its_finest_map():
    """Strides 2 to 32 of ResNet-18 have 64, 64, 128, 256 and 512 channels; stride 1 gets half of 64."""
    channels = make_backbone("resnet18").channels
    assert level_widths(None, channels) == (256, 128, 64, 64, 32)
    assert level_widths(None, {1: 4, 2: 8, 4: 16}) == (8, 4)
    assert level_widths(None, {4: 24, 8: 40}) == (24, 12, 8)  # 24 / 4 = 6, but never fewer than 8
    assert level_widths((7, 6, 5, 4, 3), channels) == (7, 6, 5, 4, 3)


@pytest.mark.parametrize("name", ["encdec", "unet"])
@pytest.mark.parametrize("widths", [(), (8, 8, 8, 8), (8, 8, 0), (8, -1, 8), (0,)])
def test_widths_that_do_not_fit_are_refused(name, widths):
    decoder = {"widths": widths, "upsampling": "transposed", "norm": "batch"}
    message = r"config\.model\.decoder\.widths = \(.*\): must be None or up to 3 numbers of .* from stride 8 towards 1"
    if not widths:
        message = r"config\.model\.decoder\.widths = \(\): must have one at least; None for as many levels"
    elif min(widths) < 1:
        message = rf"config\.model\.decoder\.widths = {min(widths)}: must be a whole number in 1 … 1,000,000"
    with pytest.raises(ConfigError, match=message):
        task_of(name, backbone={**PLAIN_PATH, "depth": 3}, decoder=decoder)


@pytest.mark.parametrize("name", ["encdec", "unet"])
@pytest.mark.parametrize("key, known", [("upsampling", "bilinear, transposed"), ("norm", "batch, group, none")])
def test_unknown_words_are_refused_with_the_known_ones(name, key, known):
    decoder = {"widths": None, "upsampling": "transposed", "norm": "batch", key: "other"}
    with pytest.raises(ConfigError, match=rf"config\.model\.decoder\.{key}: there is no 'other'\. Known: {known}\."):
        task_of(name, decoder=decoder)


def test_an_encoder_that_loses_its_rim_is_refused():
    with pytest.raises(
        ConfigError, match=r"config\.model\.backbone\.padding = 'valid': .* take 'same', or the model 'unet'"
    ):
        task_of("encdec", (44, 52), backbone={**PLAIN_PATH, "padding": "valid"})


def test_given_widths_make_the_decoder():
    task = task_of(
        "encdec", (32, 48), backbone=SMALL, decoder={"widths": (7, 5, 3), "upsampling": "bilinear", "norm": "none"}
    )
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch_of(task))
    assert params["decoder"]["level2"]["conv2"]["kernel"].shape == (3, 3, 3, 3)
    assert jax.eval_shape(task.predict, params, state, batch_of(task)).labels.shape == (2, 32, 48)


@pytest.mark.parametrize("name", ["encdec", "unet"])
def test_fewer_widths_end_at_a_coarser_stride_and_the_logits_are_enlarged(name):
    task = task_of(name, (32, 48), backbone=SMALL, decoder={"widths": (7,), "upsampling": "transposed", "norm": "none"})
    params, state = task.init(jax.random.key(0), batch_of(task))
    assert set(params["decoder"]) >= {"up0", "level0"} and "up1" not in params["decoder"]
    assert task.predict(params, state, batch_of(task)).labels.shape == (2, 32, 48)


def test_the_contracting_path_takes_all_widths():
    decoder = {"widths": (8,), "upsampling": "bilinear", "norm": "none"}
    with pytest.raises(ConfigError, match=r"widths = \(8,\): the contracting path needs a width for each .* or 3 widths"):
        task_of("unet", backbone={**PLAIN_PATH, "depth": 3}, decoder=decoder)


# The full-resolution net ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_logit_depends_on_exactly_the_pixels_within_depth(depth):
    """With positive weights and pixels no ReLU stops a gradient, and none can cancel another."""
    network = FullResolutionNet(2, width=2, depth=depth, norm="none")
    variables = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.01, variables_of(network, (16, 18)))
    for row, column in ((8, 9), (0, 0), (15, 3)):
        logit = lambda image, at=(row, column): network.apply(variables, image, jnp.ones(1, bool), False)[0, *at, 1]
        seen = np.asarray(jax.jit(jax.grad(logit))(jnp.ones((1, 16, 18, 3))))[0] != 0
        rows, columns = np.mgrid[:16, :18]
        within = np.maximum(abs(rows - row), abs(columns - column)) <= depth
        np.testing.assert_array_equal(seen, np.repeat(within[..., None], 3, axis=-1))
    assert task_of("fullres", (64, 64), "tile", depth=depth).inputs.margin == depth


# What all of them refuse -------------------------------------------------------------------------------------------------


def test_a_fit_that_leaves_pixels_without_an_answer_is_refused():
    with pytest.raises(ConfigError, match=r'config\.data\.resize = "crop" leaves the rim .* "letterbox" or "tile"'):
        task_of("fullres", resize="crop")


def test_a_margin_without_tiles_is_refused():
    assert task_of("fullres", (64, 64), "tile", margin=0).inputs.margin == 0
    assert task_of("fullres").inputs.margin == 0
    with pytest.raises(ConfigError, match=r'config\.data\.margin = 8, but .* no tiles: config\.data\.resize is "stretch"'):
        task_of("fullres", margin=8)
    with pytest.raises(ConfigError, match=r"config\.data\.margin = 8, but the network sets the margin itself"):
        unet_task(valid=True, size=(44, 52), resize="tile", margin=8)


# Doubling ---------------------------------------------------------------------------------------------------------------


def test_the_up_convolution_is_a_transposed_convolution():
    layer, image = TransposedConv(5), noise(2, 3, 4, 6)
    params = shaken(jax.eval_shape(layer.init, jax.random.key(0), image)["params"])
    found, kernel = np.asarray(layer.apply({"params": params}, image)), params["kernel"]
    # [in, 2, 2, out] -> that of the convolution that it transposes, [rows, columns, out, in].
    forward = kernel.transpose(1, 2, 3, 0)
    expected = (
        jax.lax.conv_transpose(image, forward, (2, 2), "VALID", transpose_kernel=True) + params["bias"][None, None, None]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for y in range(6):  # each block of two by two comes from one pixel
        for x in range(8):
            slow = np.asarray(image)[:, y // 2, x // 2] @ np.asarray(kernel)[:, y % 2, x % 2] + np.asarray(params["bias"])
            np.testing.assert_allclose(found[:, y, x], slow, rtol=1e-5, atol=1e-5)


def slow_enlarged(line, factor):
    """`factor` times as many values along the first axis: those at (i + ½) / factor, between the centres j + ½ of `line`."""
    found = []
    for i in range(factor * len(line)):
        place = (i + 0.5) / factor - 0.5
        low = int(np.floor(place))
        share = place - low
        a, b = (line[min(max(j, 0), len(line) - 1)] for j in (low, low + 1))
        found.append((1 - share) * a + share * b)
    return np.array(found)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (1, 1, 1, 2), (1, 1, 6, 1), (1, 2, 3, 1)])
def test_enlarging_is_bilinear_interpolation_between_pixel_centres(shape, factor):
    image = noise(*shape)
    slow = np.asarray(image, np.float64)
    for axis in (1, 2):
        slow = np.moveaxis(slow_enlarged(np.moveaxis(slow, axis, 0), factor), 0, axis)
    np.testing.assert_allclose(enlarged(image, factor), slow, rtol=1e-5, atol=1e-6)


def test_narrowing_before_interpolating_is_narrowing_after_it():
    """Both are linear, and interpolation's weights sum to one, so the bias comes out as it went in."""
    layer, image = BilinearUp(2), noise(1, 4, 5, 6)
    params = shaken(jax.eval_shape(layer.init, jax.random.key(0), image)["params"])
    after = enlarged(image, 2) @ params["narrow"]["kernel"] + params["narrow"]["bias"][None, None, None]
    close(layer.apply({"params": params}, image), after, 1e-6)


@pytest.mark.parametrize("name", ["encdec", "fullres", "patchnet", "unet"])
@pytest.mark.parametrize(("background", "found"), [(None, 0), ("star", 2)])
def test_the_evaluation_knows_which_class_parts_cells(name, background, found):
    task = task_of(name, loss={"border_background": background})
    assert task.evaluator().background == found
