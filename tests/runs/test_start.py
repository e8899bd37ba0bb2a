"""A run that starts from another run's folder."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.data.batching import empty_batch
from cnnvision.errors import RunError, WeightsError
from cnnvision.models import make_task
from cnnvision.runs import config_json
from cnnvision.runs.configuration import load_config
from cnnvision.runs.join import join
from cnnvision.runs.start import with_start
from cnnvision.task import DataInfo
from cnnvision.training.checkpoint import Checkpoints
from cnnvision.training.sharding import make_mesh
from cnnvision.training.state import TrainState
from tests.models.tasks import make_batch


def mesh():
    return make_mesh(jax.devices()[:1])


def config_of(name, **model):
    config = load_config(f"{name}:smoke").copy_and_resolve_references().unlock()
    for key, value in model.items():
        with config.model.ignore_type():
            config.model[key] = value
    return config


def drawn(task, seed):
    """Parameters and model state, each leaf drawn."""
    rng = np.random.default_rng(seed)
    trees = jax.eval_shape(task.init, jax.random.key(0), empty_batch(task.inputs, 1))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.random(leaf.shape, np.float32)), trees)


def saved(folder, config, info, ema=False):
    """A run folder with one checkpoint, and what is in it."""
    task = make_task(config, info)
    params, model_state = drawn(task, 1)
    average = jax.tree.map(lambda leaf: leaf + 1, params) if ema else None
    config_json.write(config, info, folder)
    with Checkpoints(folder, task.best) as checkpoints:
        state = TrainState(jnp.int32(7), params, model_state, {}, average, {}, jnp.zeros((), bool))
        checkpoints.save(state, {}, None)
    return task, average or params, model_state


def started(name, folder, info, seed=2, **model):
    """(params, model_state, report) of a new network; its parameters as drawn."""
    config = config_of(name, pretrained=str(folder), **model)
    task = with_start(make_task(config, info), config, info, mesh())
    ours = drawn(task, seed)
    return ours, task.warm_start(*ours)


@pytest.fixture
def run_of_faster_rcnn(tmp_path):
    config, info = config_of("faster_rcnn_shapes"), DataInfo(("dog", "cat", "bird"))
    config.training.ema_decay = 0.9
    return tmp_path / "old", saved(tmp_path / "old", config, info, ema=True)


def test_mask_rcnn_from_faster_rcnn_of_other_classes(run_of_faster_rcnn):
    folder, (_, theirs, their_state) = run_of_faster_rcnn
    (ours, _), (params, model_state, report) = started("mask_rcnn_shapes", folder, DataInfo(("cat", "car")))
    same = lambda a, b: jax.tree.map(np.testing.assert_array_equal, a, b)
    for part in ("backbone", "neck", "rpn"):
        same(params[part], theirs[part])
    same(params["box_head"]["hidden0"], theirs["box_head"]["hidden0"])
    same(params["mask_head"], ours["mask_head"])
    same(model_state, their_state)
    bias, old = params["box_head"]["class"]["bias"], theirs["box_head"]["class"]["bias"]
    np.testing.assert_array_equal(bias, [old[0], old[2], ours["box_head"]["class"]["bias"][2]])
    assert report == (
        f"{folder}, step 7: backbone, box_head/hidden0, neck and rpn taken. box_head/box and box_head/class: the rows of 1 "
        "of 2 classes taken, by name; there is no car. Left at the initialisation (not there): mask_head."
    )


def test_a_classifier_of_reordered_classes_gives_the_same_scores(tmp_path, few_shapes):
    config = config_of("classifier_shapes")
    run = join(config, tmp_path / "new", mesh(), say=lambda line: None)
    backwards = DataInfo(run.classes[::-1])
    task, params, model_state = saved(tmp_path / "old", config, backwards)
    with config.model.ignore_type():
        config.model.pretrained = str(tmp_path / "old")
    new = join(config, tmp_path / "new", mesh(), say=lambda line: None).task
    ours, our_state, report = new.warm_start(*drawn(new, 2))
    batch = make_batch(task, rows=1)
    expected = jax.jit(task.predict)(params, model_state, batch).scores
    found = jax.jit(new.predict)(ours, our_state, batch).scores
    assert float(jnp.ptp(expected)) > 0.01
    np.testing.assert_allclose(found, expected[:, ::-1], rtol=1e-5)
    assert report.endswith(f"head: the rows of all {len(run.classes)} classes taken, by name.")


def test_a_segmenter_takes_rows_by_the_names_of_maps(tmp_path):
    config = config_of("unet_shapes")
    _, theirs, _ = saved(tmp_path / "old", config, DataInfo(("x",), ("background", "nucleus")))
    _, (params, _, report) = started("unet_shapes", tmp_path / "old", DataInfo(("y",), ("nucleus", "background")))
    np.testing.assert_array_equal(params["head"]["class"]["kernel"], theirs["head"]["class"]["kernel"][..., ::-1])
    assert "all 2 classes" in report


def test_a_detector_takes_a_classifier_s_backbone(tmp_path):
    info = DataInfo(("dog", "cat"))
    _, theirs, _ = saved(tmp_path / "old", config_of("classifier_shapes"), info)
    _, (params, _, report) = started("faster_rcnn_shapes", tmp_path / "old", info)
    jax.tree.map(np.testing.assert_array_equal, params["backbone"], theirs["backbone"])
    assert report.startswith(f"{tmp_path / 'old'}, step 7: backbone taken. ") and report.endswith("has no place for head.")


def test_what_cannot_be_started_from(tmp_path, run_of_faster_rcnn):
    folder, info = run_of_faster_rcnn[0], DataInfo(("dog",))

    def refused(path, match, **model):
        with pytest.raises(RunError, match=rf"(?s)^config\.model\.pretrained = {path}: .*{match}"):
            started("faster_rcnn_shapes", path, info, **model)

    (tmp_path / "no_run").mkdir()
    refused(tmp_path / "no_run", r"is no run folder: it has no config\.json.*[^.]\. Give the folder of a trained run")
    config_json.write(config_of("classifier_shapes"), info, tmp_path / "begun")
    refused(tmp_path / "begun", r"has no checkpoint yet.* Give the folder of a trained run")
    (tmp_path / "begun" / "checkpoints").mkdir()
    refused(tmp_path / "begun", "has no checkpoint yet")
    small = config_of("faster_rcnn_shapes").model.backbone.to_dict()
    refused(folder, "another one .*name: 'small' there, 'vgg16' here", backbone={"name": "vgg16"})
    refused(folder, rf"width: {small['width']} there, 5 here.*Give this config the same", backbone={**small, "width": 5})
    refused(folder, "norm: 'batch' there, 'group' here", backbone={**small, "norm": "group"})
    description = json.loads((folder / "config.json").read_text())
    description["config"]["model"]["name"] = "gone"
    (folder / "config.json").write_text(json.dumps(description))
    refused(folder, "there is no 'gone'")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match=f"{tmp_path / 'gone'}: there is no such folder of a run"):
        started("faster_rcnn_shapes", tmp_path / "gone", DataInfo(("dog",)))
    with pytest.raises(WeightsError, match=r"gone: there is no such file of weights.* the folder of a run"):
        started("faster_rcnn_shapes", tmp_path / "gone", DataInfo(("dog",)), backbone={"name": "resnet18"})


def test_options_of_a_backbone_that_change_no_parameter_are_free(run_of_faster_rcnn):
    small = config_of("faster_rcnn_shapes").model.backbone.to_dict()
    changed = {**small, "norm": "frozen", "frozen_stages": 1, "dtype": "bfloat16"}
    assert small["norm"] == "batch"
    _, (_, _, report) = started("faster_rcnn_shapes", run_of_faster_rcnn[0], DataInfo(("dog",)), backbone=changed)
    assert "backbone" in report and "all 1 classes" in report
