"""The ladder command: trains what is missing, compares, goes on."""

import csv
import json
import math
import os

import jax
import pytest
from PIL import Image

from cnnvision.errors import ConfigError, RunError
from cnnvision.runs.open import load
from cnnvision.training import loop
from experiments import ladder
from experiments.reports import comparison, contenders
from experiments.reports.costs import Cost, Program, parts_of, steps

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture(autouse=True)
def promotion_of_optax():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    from cnnvision.training.sharding import make_mesh

    for room in ("join", "open"):
        monkeypatch.setattr(f"cnnvision.runs.{room}.make_mesh", lambda: make_mesh(jax.devices()[:1]))


def test_the_detection_ladder_from_end_to_end(tmp_path, monkeypatch, few_shapes):
    monkeypatch.setattr(comparison, "ROUNDS", 6)
    # With what the others have: crops; proposals made ahead, none, or learnt; masks.
    names = ["R-CNN", "Fast R-CNN", "YOLO", "Mask R-CNN"]
    only = ["rcnn", "fast_rcnn", "YOLO", "Mask R-CNN"]
    report = ladder.run("detection", "shapes", tmp_path, smoke=True, say=lambda line: None, only=only)
    rows_of = lambda table: [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")][2:]
    table, _, errors, *_ = report.split("\n\n")
    lines = [line for line in report.splitlines() if line.startswith("- ")]
    assert rows_of(table) == rows_of(errors) == names
    assert sum(" after " in line for line in lines) == len(names) - 1
    pairs = len(names) * (len(names) - 1) // 2
    assert all(sum(line.startswith(f"- {metric}: ") for line in lines) == pairs for metric in ("AP", "AP50", "ms an image"))
    assert (tmp_path / "ladder.md").read_text() == report + "\n"
    rows = [
        {key: value if key == "detector" else float(value) for key, value in row.items()}
        for row in csv.DictReader((tmp_path / "ladder.csv").open())
    ]
    parts = [key for key in rows[0] if key.startswith("ms_") and key != "ms_an_image"]
    assert {f"ms_{part}" for part in ("proposals", "backbone", "RoI_heads", "post_processing")} <= {*parts}
    for row, name in zip(rows, names, strict=True):
        last = json.loads((tmp_path / name.lower().replace(" ", "_") / "metrics.jsonl").read_text().splitlines()[-1])
        assert row["detector"] == name and row["AP50"] == pytest.approx(last["AP50"])
        assert row["AP_low"] <= row["AP"] <= row["AP_high"] and row["AP50_low"] <= row["AP50"] <= row["AP50_high"]
        if "proposal_recall" in last:  # a detector without proposals has none
            assert row["proposal_recall"] == last["proposal_recall"] and 0 < row["proposal_recall"] <= 1
        threshold = load(tmp_path / name.lower().replace(" ", "_")).threshold
        assert 0 <= threshold == last["score_threshold"] <= 1  # of predict's pictures
        assert row["ms_an_image"] == pytest.approx(sum(row[part] for part in parts)) and row["ms_backbone"] > 0
    # R-CNN and Fast R-CNN look at the same regions, and one of them once only.
    assert 0 < rows[0]["proposal_recall"] == rows[1]["proposal_recall"]
    assert rows[0]["ms_proposals"] == rows[1]["ms_proposals"] > 0
    assert "ms_grid" in parts and rows[2]["ms_proposals"] == 0
    assert parts[-1] == "ms_masks" and rows[0]["ms_masks"] == 0 and rows[3]["mask_AP"] >= 0
    for picture in ("ladder.png", "ladder_seconds.png", "ladder_errors.png"):
        assert (tmp_path / picture).exists()
    # A cell holds one object; the other detectors encode all of them.
    assert 0.3 < rows[2]["ceiling_AP"] < 1 and math.isnan(rows[0]["ceiling_AP"])
    kinds = ("right", "duplicate", "wrong_class", "badly_placed", "background")
    assert all(sum(row[f"errors_{kind}"] for kind in kinds) == pytest.approx(1) for row in rows)
    assert all(0 < row["errors_missed"] <= 1 and row["memory_mib"] > 0 and row["compile_seconds"] > 0 for row in rows)


def test_parts_of_a_prediction_end_where_the_next_begins():
    cost = lambda seconds: Program(None, (), 1.0, seconds=[seconds])
    programs = {"backbone": cost(2.0), "proposals": cost(5.0), "RoI heads": cost(4.5), "post-processing": cost(6.0)}
    learnt = Cost("a", programs)
    assert learnt.split == {"proposals": 3.0, "backbone": 2.0, "post-processing": 1.0} and learnt.seconds == 6.0
    programs = {name: program for name, program in programs.items() if name != "proposals"}
    made = Cost("b", programs, 10.0)
    assert made.split == {"proposals": 10.0, "backbone": 2.0, "RoI heads": 2.5, "post-processing": 1.5}
    assert (made.seconds, made.network_seconds) == (16.0, 6.0)
    tenth = Cost("c", programs, 10.0, times=10)  # measured on a tenth of the proposals
    assert tenth.split == {"proposals": 10.0, "backbone": 20.0, "RoI heads": 25.0, "post-processing": 15.0}
    assert (tenth.seconds, tenth.gflops, learnt.gflops) == (70.0, 10.0, 1.0)
    assert steps([tenth, made])[0].split(": ", 1)[1] == (
        "4.38 times as fast with proposals, 10 times as fast without those that are made ahead; 10 times fewer operations"
    )
    assert (
        steps([learnt, Cost("g", {"head": cost(12.0)})])[0].split(": ", 1)[1] == "2 times slower; 1 times fewer operations"
    )
    # What a network does not tell apart is one; columns come in the order in which parts occur.
    whole = Cost("d", {"post-processing": cost(3.0)})
    one_stage = Cost("e", {"head": cost(1.0), "post-processing": cost(2.0)})
    assert (whole.parts, whole.split, whole.seconds) == ([], {}, 3.0)
    with_masks = Cost("f", {"head": cost(1.0), "post-processing": cost(2.0), "masks": cost(4.0)})
    assert with_masks.split == {"head": 1.0, "post-processing": 1.0, "masks": 2.0}
    names = ["head", "proposals", "backbone", "RoI heads", "post-processing"]
    assert parts_of([whole, one_stage, made, learnt]) == names
    assert parts_of([with_masks, whole, made, learnt]) == [*names, "masks"]


def test_the_segmentation_ladder_from_end_to_end(tmp_path, monkeypatch, few_shapes):
    """Killed at the third network, it goes on with that one."""
    trained, real = [], loop.train

    def stops_at_the_third(run):
        trained.append(run.workdir.name)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(run)

    monkeypatch.setattr(loop, "train", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        ladder.run("segmentation", "shapes", tmp_path, smoke=True, say=lambda line: None)
    monkeypatch.setattr(loop, "train", real)
    said = []
    report = ladder.run("segmentation", "shapes", tmp_path, smoke=True, say=said.append)
    names = list(ladder.FAMILIES["segmentation"])
    table = [line.split("|")[1].strip() for line in report.splitlines() if line.startswith("|")][2:]
    assert table == names
    assert len([line for line in said if line.startswith("compiled the training step")]) == len(names) - 2
    # Ten pairs, milliseconds and two metrics, each with its interval; and the two ways of the patch classifier.
    lines = [line for line in report.splitlines() if line.startswith("- ")]
    assert len(lines) == 3 * 10 + 1
    for name in ("ms an image", "mean_iou", "boundary_f"):
        assert sum(line.startswith(f"- {name}: ") for line in lines) == 10
    assert "window by window" in report.splitlines()[-1] and "s an image (median of 5)" in report.splitlines()[-1]
    assert (tmp_path / "ladder.md").read_text() == report + "\n"
    rows = list(csv.DictReader((tmp_path / "ladder.csv").open()))
    assert [row["network"] for row in rows] == names
    quality = [f"{metric}{end}" for metric in ("mean_iou", "boundary_f") for end in ("", "_low", "_high")]
    costs = ["gflop_an_image", "memory_mib", "compile_seconds", "ms_an_image"]
    assert list(rows[0]) == ["network", "parameters", *costs, *quality]
    for row in rows:
        numbers = {key: float(value) for key, value in row.items() if key != "network"}
        assert all(0 <= numbers[f"{metric}_low"] <= numbers[f"{metric}_high"] <= 1 for metric in ("mean_iou", "boundary_f"))
        assert all(0 <= numbers[key] <= 1 for key in quality) and numbers["ms_an_image"] > 0
        assert row["parameters"] == str(int(numbers["parameters"])) and f"{int(numbers['parameters']):,}" in report
    with Image.open(tmp_path / "ladder.png") as picture:
        assert picture.height > (len(names) + 2) * 160

    # In tiles, an image costs as much as all of its tiles.
    run = tmp_path / "full_resolution"
    description = json.loads((run / "config.json").read_text())
    description["config"]["data"]["resize"] = "tile"
    (run / "config.json").write_text(json.dumps(description))
    tiled = contenders.contender("tiled", run, said.append, {})
    size, margin = tiled.trained.task.inputs.sizes[0], tiled.trained.task.inputs.margin
    assert size == (64, 64) and margin > 0 and tiled.cost.times == math.ceil(128 / (64 - 2 * margin)) ** 2
    whole = float(rows[names.index("full resolution")]["gflop_an_image"])
    assert tiled.cost.gflops == pytest.approx(tiled.cost.times * whole, rel=0.02)


def test_a_run_on_other_data_is_not_taken_for_one_on_these(tmp_path, monkeypatch):
    """Refused before anything is trained; another way to write the same folder is the same data."""
    folder = tmp_path / "runs" / "full_resolution"
    folder.mkdir(parents=True)
    data = {"classes": [], "semantic_classes": [], "area_ranges": {}}
    config = {"model": {}, "data": {"source": f"masks:{tmp_path}/a"}, "training": {}, "optimizer": {}}
    (folder / "config.json").write_text(json.dumps({"config": config, "data": data, "versions": {}}))
    begun = []
    monkeypatch.setattr("cnnvision.runs.cells.train_cells", lambda cells, *a: begun.append(cells) or 1 / 0)
    for other in (f"masks:{tmp_path}/b", f"instances:{tmp_path}/a", "shapes"):
        with pytest.raises(RunError) as error:
            ladder.run("segmentation", other, tmp_path / "runs")
        assert f"{folder} holds a run on 'masks:{tmp_path}/a', and --data is '{other}': give another --workdir" in str(
            error.value
        )
    assert not begun
    for same in (f"masks:{tmp_path}/a", f"masks:{tmp_path}/b/../a/", f"masks:{os.path.relpath(tmp_path / 'a')}"):
        with pytest.raises(ZeroDivisionError):
            ladder.run("segmentation", same, tmp_path / "runs")
    assert len(begun) == 3


def test_keys_are_set_in_all_configs(tmp_path, monkeypatch):
    seen = {}
    trained = lambda cells, *a: seen.update({cell.variant: cell.config for cell in cells})
    monkeypatch.setattr("cnnvision.runs.cells.train_cells", trained)
    monkeypatch.setattr(comparison, "compare", lambda *a: "the report")
    common = ["--family=segmentation", "--data=shapes:single", f"--workdir={tmp_path}"]
    assert ladder.command([*common, "--config.training.steps=7", "--config.data.batch_size", "16"]) == 0
    assert list(seen) == list(ladder.FAMILIES["segmentation"])
    for config in seen.values():
        assert (config.training.steps, config.data.batch_size, config.data.source) == (7, 16, "shapes:single")
    with pytest.raises(
        ConfigError, match=r"--config.model.window: .* no key 'window'.*That is fullres_shapes; keys are set"
    ):
        ladder.command([*common, "--config.model.window=21"])
    with pytest.raises(ConfigError, match=r"--config\.data\.source: the ladder takes its data from --data"):
        ladder.command([*common, "--config.data.source=shapes"])


def test_some_of_the_systems_are_chosen_by_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("cnnvision.runs.cells.train_cells", lambda cells, *a: seen.append([cell.variant for cell in cells]))
    monkeypatch.setattr(comparison, "compare", lambda workdirs, *a: f"{list(workdirs)}")
    common = ["--family=segmentation", "--data=shapes", f"--workdir={tmp_path}"]
    assert ladder.command([*common, "--only=U-Net, full resolution"]) == 0
    assert ladder.command([*common, "--only=unet,full_resolution"]) == 0  # as files would be called
    assert seen == [["full resolution", "U-Net"]] * 2
    with pytest.raises(ConfigError, match=r"--only: there is no 'UNit'. Did you mean 'U-Net'\? Known: U-Net, U-Net without"):
        ladder.command([*common, "--only=full resolution,UNit"])
    with pytest.raises(ConfigError, match=r"--only: there is no ''\. Known: "):
        ladder.command([*common, "--only="])
    with pytest.raises(ConfigError, match=r"there is no 'fastest-rcnn'\. Did you mean 'Faster R-CNN'\?"):
        ladder.run("detection", "shapes", tmp_path, only=["fastest-rcnn"])
    assert len(seen) == 2


def test_an_unknown_family_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'segmentation'"):
        ladder.run("segmentatoin", "shapes", tmp_path)
