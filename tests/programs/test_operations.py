"""Operations of whole networks against counts by hand; test_text.py has single operations."""

import functools

import jax
import pytest

from cnnvision.programs.text import operations
from cnnvision.runs.join import empty_batch
from tests.models.cases import PATH
from tests.models.tasks import task_of


def conv(pixels, size, inputs, outputs):
    """Operations of a convolution for one image: two for each multiply-add."""
    return 2 * pixels * size**2 * inputs * outputs


def by_hand(name):
    """The convolutions of each net as the laws set it, 64×64 pixels, three classes, one image, larger widths."""
    p = 64 * 64
    if name == "fullres":  # 3 -> 16 -> 16 -> 16 -> 3
        return conv(p, 3, 3, 16) + 2 * conv(p, 3, 16, 16) + conv(p, 1, 16, 3)
    if name == "patchnet":
        # 84² after mirroring by 10; kernels of 4 without padding: 81², pooled at every place 80², taps 2 apart: 74²,
        # pooled 72²; a window of 21 ends as 3² (21 -> 18 -> 9 -> 6 -> 3), so the hidden layer is 3×3 taps, 4 apart: 64².
        return conv(81**2, 4, 3, 16) + conv(74**2, 4, 16, 16) + conv(p, 3, 16, 32) + conv(p, 1, 32, 3)
    # U-Net of width 16 and depth 2: pairs at 64², 32², 16², and back.
    down = conv(p, 3, 3, 16) + conv(p, 3, 16, 16) + conv(p / 4, 3, 16, 32) + conv(p / 4, 3, 32, 32)
    bottom = conv(p / 16, 3, 32, 64) + conv(p / 16, 3, 64, 64)
    up = conv(p / 16, 1, 64, 4 * 32) + conv(p / 4, 3, 64, 32) + conv(p / 4, 3, 32, 32)
    up += conv(p / 4, 1, 32, 4 * 16) + conv(p, 3, 32, 16) + conv(p, 3, 16, 16)
    return down + bottom + up + conv(p, 1, 16, 3)


@functools.cache
def counted(name, **model):
    wide = {"unet": {"backbone": {**PATH, "width": 16}}, "patchnet": {"width": 16, "hidden": 32}, "fullres": {"width": 16}}
    task = task_of(name, **wide[name], **model)
    batch = empty_batch(task, 2)
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    return operations(jax.jit(task.predict).lower(params, state, batch).compile().as_text()) / 2


@pytest.mark.parametrize("name", ["fullres", "patchnet", "unet"])
def test_operations_are_those_counted_by_hand(name):
    assert counted(name) == pytest.approx(by_hand(name), rel=0.05)


def test_window_by_window_counts_every_window():
    """A window of 21: 18² after the first kernel, 9² pooled, 6², 3², hidden; 64² windows."""
    one = conv(18**2, 4, 3, 16) + conv(6**2, 4, 16, 16) + conv(1, 3, 16, 32) + conv(1, 1, 32, 3)
    assert counted("patchnet", run="patches") == pytest.approx(64 * 64 * one, rel=0.05)
