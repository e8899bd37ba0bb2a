"""The ladder command: trains what is missing, compares, goes on; operations against counts by hand."""

import csv
import functools

import jax
import pytest
from PIL import Image

from cnnvision.errors import ConfigError
from cnnvision.models import make_task
from cnnvision.task import DataInfo
from cnnvision.training.program_text import operations
from experiments import ladder
from experiments.configuration import from_json
from experiments.runs import empty_batch
from tests.models.test_laws import CONFIGS


@pytest.fixture(autouse=True)
def promotion_of_optax():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    from cnnvision.training.sharding import make_mesh

    monkeypatch.setattr("experiments.runs.make_mesh", lambda: make_mesh(jax.devices()[:1]))


def test_the_segmentation_ladder_from_end_to_end(tmp_path, monkeypatch):
    said = []
    report = ladder.run("segmentation", "shapes", tmp_path, smoke=True, say=said.append)
    names = list(ladder.FAMILIES["segmentation"])
    table = [line.split("|")[1].strip() for line in report.splitlines() if line.startswith("|")][2:]
    assert table == names
    assert len([line for line in said if line.startswith("compiled the training step")]) == len(names)
    # Ten pairs, two metrics, each with its interval; and the two ways of the patch classifier.
    assert len([line for line in report.splitlines() if line.startswith("- ")]) == 2 * 10 + 1
    assert "window by window" in report.splitlines()[-1]
    assert (tmp_path / "ladder.md").read_text() == report + "\n"
    rows = list(csv.DictReader((tmp_path / "ladder.csv").open()))
    assert [row["network"] for row in rows] == names and all(0 <= float(row["mean_iou"]) <= 1 for row in rows)
    with Image.open(tmp_path / "ladder.png") as picture:
        assert picture.height > (len(names) + 2) * 160

    said.clear()
    again = ladder.run("segmentation", "shapes", tmp_path, smoke=True, say=said.append)
    assert not [line for line in said if line.startswith("compiled the training step")], "trained again"
    quality = lambda text: [line.split("|")[5:] for line in text.splitlines() if line.startswith("|")]
    assert quality(again) == quality(report)


def test_a_killed_ladder_goes_on_with_the_run_that_it_was_at(tmp_path, monkeypatch):
    from experiments import train

    trained, real = [], train.run

    def stops_at_the_third(config, workdir, say):
        trained.append(workdir.name)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(config, workdir, say=say)

    monkeypatch.setattr(train, "run", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        ladder.run("segmentation", "shapes", tmp_path, smoke=True, say=lambda line: None)
    monkeypatch.setattr(train, "run", real)
    said = []
    ladder.run("segmentation", "shapes", tmp_path, smoke=True, say=said.append)
    assert len([line for line in said if line.startswith("compiled the training step")]) == 3


def test_an_unknown_family_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'segmentation'"):
        ladder.run("segmentatoin", "shapes", tmp_path)


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
    config = {**CONFIGS[name], **model}
    if name == "unet":
        config["backbone"] = {**config["backbone"], "width": 16}
    elif name == "patchnet":
        config |= {"width": 16, "hidden": 32}
    else:
        config["width"] = 16
    task = make_task(
        from_json({"model": config, "data": {"size": [64, 64], "fit": "stretch", "margin": -1}}),
        DataInfo(("a", "b", "c"), ("a", "b", "c")),
    )
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
