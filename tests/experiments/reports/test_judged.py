"""Tables and verdicts of runs: from pretended contributions of images, whose truth is known."""

import csv
import io
import math

import numpy as np
import pytest
from etils import epath

from cnnvision.errors import ConfigError, RunError
from cnnvision.evaluation.contributions import Contributions
from experiments.reports.judged import judge, verdict_line

IMAGES = 200
COMPARED = ["accuracy"]


@pytest.fixture
def run_of(tmp_path):
    """(name, values of the images) -> a run folder with its contributions; ids may be given, and are of one order each."""

    def made(name, values, ids=None, metric="accuracy", step=4):
        folder = epath.Path(tmp_path) / name
        folder.mkdir(parents=True, exist_ok=True)
        ids = tuple(f"{index:03}.jpg" for index in range(len(values))) if ids is None else ids
        about = {"step": step, "steps": 4, "data": "shapes", "split": "val", "compared": [metric]}
        Contributions(tuple(ids), {metric: np.asarray(values, float)}).write(folder / "contributions.npz", about)
        return folder

    return made


def grid(run_of, effects, seeds, noise=0.02):
    """variant -> seed -> folder, of runs that are right on a share of the images."""
    rng = np.random.default_rng(0)
    difficulty = rng.random(IMAGES)
    runs = {}
    for name, effect in effects.items():
        shares = {seed: 0.5 + effect + noise * rng.normal() for seed in range(seeds)}
        runs[name] = {seed: run_of(f"{name}{seed}", difficulty < share) for seed, share in shares.items()}
    return runs


def test_the_table_has_means_intervals_and_seeds(run_of):
    runs = grid(run_of, {"a": 0.0, "b": 0.3}, 3)
    judged = judge(runs)
    values = {
        name: [float(np.load(folder / "contributions.npz")["means/accuracy"].mean()) for folder in of_seeds.values()]
        for name, of_seeds in runs.items()
    }
    for row, name in zip(judged.rows(), "ab", strict=True):
        assert row["variant"] == name and row["seeds"] == 3
        assert row["accuracy"] == pytest.approx(np.mean(values[name]))
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    (line,) = judged.lines()
    difference = np.mean(values["b"]) - np.mean(values["a"])
    assert line.startswith(f"- accuracy: b is better than a ({difference:+.3f}, 95 % ") and "P(better) 1.00" in line
    assert "3 seeds on 200 images, paired" in judged.note


def test_seeds_are_paired_whatever_the_order_in_which_they_came(run_of):
    runs = grid(run_of, {"a": 0.0, "b": 0.1}, 4)
    turned = {"a": dict(reversed(runs["a"].items())), "b": runs["b"]}
    assert judge(turned).lines() == judge(runs).lines()


def test_images_are_paired_whatever_the_order_in_which_they_were_evaluated(run_of):
    rng = np.random.default_rng(1)
    values, ids, order = rng.random(50), np.array([f"{index}.png" for index in range(50)]), rng.permutation(50)
    runs = {"a": {0: run_of("a", values, ids)}, "b": {0: run_of("b", values[order], ids[order])}}
    ((_, _, verdict),) = judge(runs).verdicts("accuracy")
    assert verdict.difference.of_images == 0.0 and verdict.better is None


def test_no_verdict_where_a_seed_is_missing(run_of):
    runs = grid(run_of, {"a": 0.0, "b": 0.3, "c": 0.3}, 3)
    del runs["c"][1]
    judged = judge(runs, ["c, seed 1: failed"])
    assert [each[:2] for each in judged.verdicts("accuracy")] == [("a", "b")]
    row = judged.rows()[2]
    assert row["seeds"] == 2 and math.isnan(row["accuracy_low"]) and row["accuracy"] > 0
    assert judged.report().endswith("- c, seed 1: failed")
    assert not judge(runs, seeds=[0, 1, 2, 3]).lines()  # of a grid that is not at its end


def test_other_seeds_are_no_pairs(run_of):
    runs = grid(run_of, {"a": 0.0, "b": 0.3}, 3)
    runs["b"][7] = runs["b"].pop(1)
    assert not judge(runs).lines()


def test_one_seed_says_that_it_speaks_of_these_trainings(run_of):
    runs = grid(run_of, {"a": 0.0, "b": 0.3}, 1)
    assert judge(runs).note.startswith("One seed on 200 images: intervals and verdicts speak of these trainings")
    runs["b"] = {5: runs["b"][0]}  # whichever it is
    assert len(judge(runs).lines()) == 1


def test_a_metric_that_one_lacks_is_compared_among_the_others(run_of):
    runs = grid(run_of, {"a": 0.0, "b": 0.1}, 1) | {"c": {0: run_of("c", np.ones(IMAGES), metric="recall")}}
    judged = judge(runs)
    assert list(judged.metrics) == ["accuracy", "recall"] and [each[:2] for each in judged.verdicts("accuracy")] == [
        ("a", "b")
    ]
    assert judged.table().splitlines()[-1].count("–") == 2 and not judged.verdicts("recall")


def test_what_is_written_agrees(run_of, tmp_path):
    judged = judge(grid(run_of, {"a_1": 0.0, "b 50%": 0.3}, 3))
    report = judged.write(epath.Path(tmp_path), "table")
    assert (tmp_path / "table.md").read_text() == report + "\n"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert [float(row["accuracy"]) for row in rows] == [row["accuracy"] for row in judged.rows()]
    (told,) = csv.DictReader(io.StringIO((tmp_path / "table_verdicts.csv").read_text()))
    assert (told["variant"], told["minus"], told["better"]) == ("b 50%", "a_1", "b 50%")
    assert float(told["low"]) < float(told["difference"]) < float(told["high"])
    tex = (tmp_path / "table.tex").read_text()
    assert r"a\_1 & 3 & " in tex and r"b 50\% & 3" in tex and tex.startswith(r"\begin{tabular}{lrrr}")
    assert all(part in tex for part in (r"\toprule", r"\midrule", r"\bottomrule"))


def test_a_difference_too_small_to_tell_says_what_would_tell(run_of):
    judged = judge(grid(run_of, {"a": 0.0, "b": 0.0}, 3, noise=0.05))
    ((a, b, verdict),) = judged.verdicts("accuracy")
    assert verdict.better is None
    assert "cannot tell" in verdict_line(a, b, verdict) and "more seeds would tell" in verdict_line(a, b, verdict)


def test_other_images_are_refused(run_of):
    ids = [f"{index:03}.jpg" for index in range(3)]
    runs = {"a": {0: run_of("a", [1, 0, 1])}, "b": {0: run_of("b", [1, 0, 1], [*ids[:2], "x.jpg"])}}
    with pytest.raises(RunError, match=r"b and .*a were evaluated on different images: of 2 .* '002.jpg' is in .*a$"):
        judge(runs)


def test_other_annotations_are_refused(run_of):
    runs = {"a": {0: run_of("a", [1, 0, np.nan])}, "b": {0: run_of("b", [1, 0, 1])}}
    with pytest.raises(RunError, match=r"b and .*a were evaluated on other annotations of '002.jpg'"):
        judge(runs)


def test_what_cannot_be_compared_is_said(run_of, tmp_path):
    run = run_of("a", [1, 0])
    with pytest.raises(ConfigError, match=r"--metric: there is no 'AP'. Known: accuracy"):
        judge({"a": {0: run}}, metrics=["AP"])
    with pytest.raises(RunError, match=r"nothing has no contributions.npz: it is no run folder, was not evaluated yet"):
        judge({"a": {0: epath.Path(tmp_path) / "nothing"}})


def test_a_run_that_is_not_at_its_end_is_said(run_of):
    report = judge({"a": {0: run_of("a", [1, 0], step=2)}, "b": {0: run_of("b", [1, 1])}}).report()
    assert report.splitlines()[-1].endswith("a was evaluated at step 2 of 4")
