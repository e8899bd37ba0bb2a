"""Which seeds of a grid a page compares: folders with what `ablate` and `train` would leave there, without networks."""

import json

import numpy as np
import pytest
from etils import epath

from cnnvision.evaluation.contributions import Contributions
from cnnvision.runs import grid
from experiments.reports.page.subject import open_subject
from experiments.reports.page.tables import evaluate

ENTRY = '{"step": 4, "split": "train", "loss": 1.0}\n'
ABOUT = {"step": 4, "steps": 4, "data": "shapes", "split": "val", "compared": ["accuracy"]}
IDS = tuple(f"{index:02}" for index in range(60))


@pytest.fixture
def grid_of(tmp_path, monkeypatch):
    """(finished seeds of a, of b, why the last run failed) -> a page's subject: a grid of three seeds."""
    monkeypatch.setattr(grid, "finished", lambda folder: (folder / "contributions.npz").exists())

    def made(*finished, failed=""):
        rng, cells = np.random.default_rng(0), []
        for variant, count, share in zip("ab", finished, (0.4, 0.7), strict=True):
            for seed in range(3):
                place = epath.Path(tmp_path) / f"{variant}{seed}"
                place.mkdir()
                cells.append({"variant": variant, "seed": seed, "folder": place.name})
                if seed < count:
                    (place / "metrics.jsonl").write_text(ENTRY)
                    Contributions(IDS, {"accuracy": 1.0 * (rng.random(60) < share)}).write(
                        place / "contributions.npz", ABOUT
                    )
        if failed:
            (place / "failed.txt").write_text(failed)
        content = {"what": "ablate", "base": {"model": {}}, "variants": {"a": {}, "b": {}}, "cells": cells}
        (epath.Path(tmp_path) / "grid.json").write_text(json.dumps(content))
        return open_subject(tmp_path)

    return made


def test_on_the_way_those_that_all_variants_have(grid_of):
    judged = evaluate(grid_of(3, 2)).judged
    assert judged.wanted == [0, 1] and len(judged.verdicts("accuracy")) == 1 and "2 seeds on 60 images" in judged.note
    assert judged.missing == ["b, seed 2: has not begun"]


def test_on_the_way_the_others_where_a_variant_has_none(grid_of):
    judged = evaluate(grid_of(2, 0)).judged
    assert judged.wanted == [0, 1] and judged.judged("accuracy") == ["a"]


def test_at_the_end_all_as_in_the_grids_own_table(grid_of):
    judged = evaluate(grid_of(3, 2, failed="no data")).judged
    assert judged.wanted == [0, 1, 2] and judged.judged("accuracy") == ["a"]
    assert judged.missing == ["b, seed 2: failed (no data)"]
