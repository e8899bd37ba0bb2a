"""Every config: of each model, neck and backbone, the smoke variant of one trains, evaluates, saves, goes on and predicts.
Of the others, which differ in options alone, the first batches are read and the programs traced.
"""

import json

import jax
import numpy as np
import pytest

from cnnvision.errors import ConfigError
from cnnvision.runs.configuration import load_config
from cnnvision.runs.join import join
from cnnvision.runs.open import load
from cnnvision.training.state import begin
from cnnvision.training.step import make_train_step
from experiments import ablate, evaluate, predict, train
from tests.conftest import ROOT

CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


def parts(name):
    model = load_config(f"{ROOT}/configs/{name}.py:smoke").model
    return model.name, model.get("neck"), model.get("backbone", {}).get("name")


FIRST = {parts(name): name for name in reversed(CONFIGS)}
"""Model, neck and backbone -> the first config with these."""


@pytest.fixture(autouse=True)
def promotion_of_optax():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    from cnnvision.training.sharding import make_mesh

    for room in ("join", "open"):
        monkeypatch.setattr(f"cnnvision.runs.{room}.make_mesh", lambda: make_mesh(jax.devices()[:1]))


@pytest.mark.parametrize("name", FIRST.values())
def test_the_smoke_variant_runs_from_end_to_end(name, tmp_path, few_shapes):
    config = load_config(f"{ROOT}/configs/{name}.py:smoke")
    said = []
    metrics = train.run(config, tmp_path / "run", say=said.append)
    assert np.isfinite(metrics["loss"]) and metrics["images"] == 24
    assert len([line for line in said if line.startswith("compiled the training step")]) == 1

    said.clear()
    assert train.run(config, tmp_path / "run", say=said.append) == metrics  # it is finished: nothing is trained
    trained = load(tmp_path / "run")
    last, task = 4 + len(trained.task.host_stages), trained.task
    assert f"has all of its {last} steps" in said[-1] and trained.step == last

    found = evaluate.run(tmp_path / "run", step=last, say=said.append)
    assert found["images"] == few_shapes["val"]
    written = json.loads((tmp_path / "run" / "evaluation" / "val.json").read_text())
    best = task.best[0] if task.best else "AP"
    assert written["metrics"][best] == found[best] and written["step"] == last
    assert (tmp_path / "run" / "evaluation" / "val_worst.png").exists()

    images = tmp_path / "images"
    images.mkdir()
    import cv2

    rng = np.random.default_rng(0)
    for file, shape in (
        ("wide.jpg", (20, 300, 3)),
        ("tall.png", (210, 30, 4)),
        ("one.png", (1, 1)),
        ("grey.tiff", (64, 64)),
    ):
        cv2.imwrite(str(images / file), rng.integers(0, 256, shape, dtype=np.uint8))
    (images / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    predictions = predict.run(tmp_path / "run", str(images), str(tmp_path / "out"), say=said.append)
    assert [p["file"] for p in predictions] == ["broken.jpg", "grey.tiff", "one.png", "tall.png", "wide.jpg"]
    assert "error" in predictions[0]
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == predictions
    detections = [found for p in predictions for found in p.get("detections", ())]
    if "detections" in predictions[1]:
        assert len(json.loads((tmp_path / "out" / "coco_results.json").read_text())) == len(detections)
    for p in predictions[1:]:
        assert (tmp_path / "out" / f"{p['file']}.png").exists()
        if "mask" in p:
            mask = cv2.imread(str(tmp_path / "out" / p["mask"]), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (p["height"], p["width"]) and sum(p["shares"].values()) == pytest.approx(1.0, abs=1e-4)
            continue
        if "detections" in p:
            scores = [found["score"] for found in p["detections"]]
            assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
            for x1, y1, x2, y2 in (found["box"] for found in p["detections"]):
                assert 0 <= x1 <= x2 <= p["width"] and 0 <= y1 <= y2 <= p["height"]
            for found in p["detections"] if task.inputs.mask_side else ():
                assert found["mask"]["size"] == [p["height"], p["width"]] and 0 <= found["area"] <= p["height"] * p["width"]
            continue
        assert 0 <= p["score"] <= 1
        if "box" in p:
            x1, y1, x2, y2 = p["box"]
            assert 0 <= x1 <= x2 <= p["width"] and 0 <= y1 <= y2 <= p["height"]


@pytest.mark.parametrize("name", sorted({*CONFIGS} - {*FIRST.values()}))
def test_the_smoke_variant_reads_batches_that_its_programs_take(name, tmp_path, few_shapes):
    config = load_config(f"{ROOT}/configs/{name}.py:smoke")
    run = join(config, tmp_path, say=lambda line: None)
    training, batch = config.training, next(iter(run.train_batches(0, 1))).batch
    assert batch.valid.any()
    options = dict(accumulate=training.accumulate, ema_decay=training.ema_decay)
    step = make_train_step(run.task, run.make_optimizer, log_every=training.log_every, **options)
    network = jax.eval_shape(run.task.init, jax.random.key(0), run.example_batch)
    first = lambda params, state: begin(
        run.task, run.make_optimizer, params, state, run.example_batch, training.ema_decay > 0
    )
    state = jax.eval_shape(first, *network)
    after, report = jax.eval_shape(step, state, batch, np.zeros(1, bool))
    same = lambda leaf: (leaf.shape, leaf.dtype)
    assert jax.tree.map(same, after) == jax.tree.map(same, state)
    assert report.failed.shape == ()
    batch = next(iter(run.evaluation.batches())).batch
    assert batch.valid.any()
    jax.eval_shape(run.task.predict, state.params, state.model_state, batch)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_full_config_can_be_joined_from_its_own_values(name):
    """Values that no run could use would be found only on the machine that runs them."""
    from cnnvision.models import make_task
    from cnnvision.runs.join import check_config, check_size, loading
    from cnnvision.task import DataInfo
    from cnnvision.training.optimizer import make_schedule

    config = load_config(f"{ROOT}/configs/{name}.py")
    check_config(config, 1)
    loading(config)
    make_schedule(config.optimizer, config.training.steps)
    task = make_task(config, DataInfo(("a", "b", "c"), ("a", "b", "c")))
    check_size(task, config)
    docstring = (ROOT / "configs" / f"{name}.py").read_text().split('"""')[1]
    for word in ("python -m experiments.train", "Model", "Data", "Hardware", "Result"):
        assert word in docstring
    with pytest.raises(ConfigError, match="Did you mean 'smoke'"):
        load_config(f"{ROOT}/configs/{name}.py:smoek")


def test_a_sweep_becomes_a_table(tmp_path, few_shapes, no_curves):
    config = tmp_path / "swept.py"
    sweep = 'def sweep():\n    return {"model.alpha": (0.1, 0.9)}\n'
    config.write_text(f"from configs.localizer_shapes import get_config  # noqa: F401\n\n\n{sweep}")
    said = []
    report = ablate.run(f"{config}:smoke", [], tmp_path / "grid", say=said.append)
    table = [line for line in report.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in table[2:]] == ["alpha=0.1", "alpha=0.9"]
    assert (tmp_path / "grid" / "table.md").read_text() == report + "\n"
    assert len((tmp_path / "grid" / "table.csv").read_text().splitlines()) == 3
    runs = [json.loads((tmp_path / "grid" / f"alpha={alpha}" / "config.json").read_text()) for alpha in (0.1, 0.9)]
    assert [run["config"]["model"]["alpha"] for run in runs] == [0.1, 0.9]
    # Another seed, of which both have the same: the first ones are not trained again.
    said.clear()
    report = ablate.run(f"{config}:smoke", [], tmp_path / "grid", seeds=2, shard=(1, 2), say=said.append)
    assert "1 of 2 runs are finished" in said and sum(line.startswith("— ") for line in said) == 1
    missing = "- alpha=0.9, seed 1: is not finished; no verdict without it. `"
    assert missing in report and "better" not in report.replace('say "better"', "")
    report = ablate.run(f"{config}:smoke", [], tmp_path / "grid", seeds=2, shard=(2, 2), say=said.append)
    assert "2 seeds on 24 images" in report and "- mean_box_iou: " in report
    said.clear()
    assert ablate.run(f"{config}:smoke", [], tmp_path / "grid", seeds=2, say=said.append) == report
    assert said == ["4 of 4 runs are finished"]
    assert ablate.failed(tmp_path) == ablate.failed(tmp_path / "grid") == []
    for name in ("alpha=0.9_seed1", "of_no_cell"):
        (tmp_path / "grid" / name).mkdir(exist_ok=True)
        (tmp_path / "grid" / name / "failed.txt").write_text("the loss is not finite")
    assert ablate.failed(tmp_path / "grid") == ["alpha=0.9_seed1"]
