"""Which images are shown, and how masks and maps get into the page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cnnvision.evaluation.coco import Matches
from cnnvision.evaluation.contributions import Contributions
from experiments.reports.page import answers, plots, repeat, tables
from experiments.reports.page.gallery import choose, wrongness

IDS = tuple(f"{index:02}" for index in range(40))


def evaluated(*values):
    found = {str(place): Contributions(IDS, {"accuracy": np.array(of, float)}) for place, of in enumerate(values)}
    return tables.Evaluated(None, (), ("accuracy",), found, {})


def test_how_wrong_means_maps_and_detections_are():
    means = {"accuracy": np.array([1.0, 0.0, np.nan]), "mean_box_iou": np.array([0.5, 0.0, np.nan])}
    np.testing.assert_allclose(wrongness(Contributions(("a", "b", "c"), means), tuple(means)), [0.25, 1, np.nan])
    maps = np.array([[[3, 1, 0], [0, 4, 0]], [[0, 0, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
    np.testing.assert_allclose(wrongness(Contributions(("a", "b", "c"), confusion=maps), ()), [1 / 8, 1, np.nan])
    right, wrong = np.zeros((10, 3), bool), np.zeros((10, 3), bool)
    right[:, 0] = wrong[:, 1:] = True
    matches = Matches(np.array([0.9, 0.8, 0.1]), np.array([0, 1, 0]), right, wrong, np.array([1.0, 1.0, 0.0]))
    found = Contributions(("a", "b", "c"), classes=("x",), matches={"AP": [matches]})
    np.testing.assert_allclose(wrongness(found, ()), [0, 1, 0])  # from .9 on; an image without objects has none found


def test_the_worst_the_most_disagreed_on_and_the_rest():
    first, second = np.ones(40), np.ones(40)
    first[[3, 5]] = second[3] = 0
    choice = choose(evaluated(first, second), 9)
    assert choice.ids[:2] == ["03", "05"] and len(set(choice.ids)) == 9
    assert choice.wrong[:, 1].tolist() == [1, 0]
    assert {*choice.ids[2:]} >= {"00", "39"}, "spread evenly over all"
    assert len(choose(evaluated(first), 100).ids) == 40
    assert [why for why in choose(evaluated(first), 6).why if "disagreed" in why] == []


def test_outlines_fill_to_the_mask():
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:10] = True
    mask[4, 5] = False
    path = answers.outline(mask)
    assert path.count("M") == 2 and path.startswith("M3.5 2.5L") and path.endswith("Z")
    assert answers.outline(np.zeros((3, 3), bool)) == ""


def test_maps_have_the_colours_of_their_classes():
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    picture = Image.open(io.BytesIO(base64.b64decode(answers.map_png(labels, ("background", "a", "b")))))
    found = np.array(picture.convert("RGBA"))
    assert found[..., 3].tolist() == [[0, 255], [255, 0]]
    assert "#{:02X}{:02X}{:02X}".format(*found[0, 1, :3]) == answers.SAFE[1] == answers.colour(1, ("background", "a"))


def test_means_over_seeds_are_of_steps_that_all_have():
    assert plots.mean([[(1, 2.0), (2, 4.0)], [(1, 4.0)]]) == [(1, 3.0)]


def test_names_in_plots_are_text():
    plot = plots.cost([(0, "<b>$x^{", 1.0, 0.5, 0.4, 0.6), (9, "b", 2.0, 0.6, float("nan"), float("nan"))], "<i>", "$m")
    assert "<i>" not in plot.svg and "&lt;i&gt;" in plot.svg and "$m" in plot.svg
    assert "var(--v0)" in plot.svg and "var(--v1)" in plot.svg and "#abc" not in plot.svg


@pytest.mark.parametrize("key, value", [("model.alpha", "0.25"), ("data.size", "(32, 32)"), ("model.pretrained", "x.pth")])
def test_the_command_that_repeats_a_run(key, value):
    from cnnvision.runs.configuration import load_config, to_json

    config = to_json(load_config("localizer_shapes:smoke", [(key, value)]))
    argument, changed = repeat.nearest_config(config)
    assert argument == "localizer_shapes:smoke" and [name for name, *_ in changed] == [f"config.{key}"]
    command = repeat.command_of(argument, changed, config, "runs/a b")
    assert f"config.{key}={value}" in command and "'--workdir=runs/a b'" in command
