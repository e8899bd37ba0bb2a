"""Runs that are trained once for all tests of the page."""

import pytest

from tests.experiments.reports.page import runs


@pytest.fixture(scope="session")
def trained(drawn_shapes, tmp_path_factory):
    """A folder of two runs and a grid; what a test changes, it copies."""
    return runs.trained(tmp_path_factory.mktemp("runs"), drawn_shapes, "unet_shapes", "mask_rcnn_shapes")


@pytest.fixture(autouse=True)
def short(drawn_shapes, monkeypatch):
    """The same for every test of this folder."""
    runs.quick(monkeypatch, drawn_shapes)
