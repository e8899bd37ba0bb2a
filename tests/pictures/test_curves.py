"""Curves of learning, and of precision over recall."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cnnvision.pictures import drawing, sheets
from cnnvision.pictures.curves import _panels, _series, draw_curves, draw_precision_recall
from tests.pictures.test_sheets import CLASSES

RECORDS = [
    {"step": 20, "split": "train", "loss": 1.0, "loss/class": 0.4, "learning_rate": 0.1},
    {"step": 10, "split": "train", "loss": 2.0, "loss/class": 0.5, "learning_rate": 0.1},
    {"step": 20, "split": "val", "loss": 1.5, "accuracy": 0.5, "accuracy/cat": None, "accuracy/dog": float("nan")},
    {"step": 40, "split": "val", "loss": 1.2, "accuracy": 0.6, "accuracy/cat": 0.7, "accuracy/dog": 0.5, "time/step": 1.0},
]


def test_series_are_in_order_and_without_holes():
    series = _series(RECORDS)
    assert series["loss"] == {"train": [(10, 2.0), (20, 1.0)], "val": [(20, 1.5), (40, 1.2)]}
    assert series["accuracy/cat"] == {"val": [(40, 0.7)]}


def test_panels_gather_the_parts_of_a_metric():
    assert _panels(_series(RECORDS)) == {
        "loss": ["loss"],
        "accuracy": ["accuracy"],
        "accuracy/…": ["accuracy/cat", "accuracy/dog"],
        "time/step": ["time/step"],
        "loss/…": ["loss/class"],
        "learning_rate": ["learning_rate"],
    }


def test_curves_are_written(tmp_path):
    sheets.curves(RECORDS, tmp_path / "curves.png")
    picture = np.array(Image.open(tmp_path / "curves.png"))
    assert picture.shape[1] > 1000 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    with pytest.raises(ValueError, match="no value"):
        draw_curves([{"step": 1, "split": "train", "loss": None}])


def test_importing_does_not_import_matplotlib():
    code = "import sys, cnnvision.pictures.sheets; assert not {'matplotlib', 'cv2', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_curves_leaves_pyplot_alone():
    code = "import sys; from cnnvision.pictures.curves import draw_curves as d; d([{'step': 1, 'split': 'a', 'x': 1.0}])"
    subprocess.run([sys.executable, "-c", code + "; assert 'matplotlib.pyplot' not in sys.modules"], check=True)


def test_precision_over_recall():
    steps = np.linspace(0, 1, 20)
    nothing = np.full(3, np.nan)
    curves = {CLASSES[0]: (1 - 0.5 * steps, steps), CLASSES[1]: (nothing, nothing), CLASSES[2]: (np.zeros(0), np.zeros(0))}
    picture = draw_precision_recall(curves)
    empty = draw_precision_recall({CLASSES[0]: (nothing, nothing)})
    assert picture.shape == empty.shape and picture.dtype == np.uint8
    near = lambda image: (np.abs(image.astype(int) - np.array(drawing.colour(0))).sum(-1) < 30).sum()
    assert near(picture) > 100 and near(empty) == 0
