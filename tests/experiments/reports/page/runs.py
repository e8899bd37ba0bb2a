"""Runs that a page is made of, as the smoke variants of configs leave them, and what a test reads off the page."""

import html.parser
import json
import pathlib
import re

import jax
import pytest
from etils import epath

from cnnvision.runs.cells import train_cells
from cnnvision.runs.configuration import load_config, to_json
from cnnvision.runs.grid import Grid, Variant
from cnnvision.training.sharding import make_mesh
from experiments import train

WHAT = "python -m experiments.ablate --config=localizer_shapes:smoke --workdir=runs/alpha --seeds=2"


def quick(patched, data):
    """What makes small runs short: few images, few drawn sets of them, one device, no curves."""
    patched.setattr("experiments.reports.judged.ROUNDS", 200)
    patched.setenv("TFDS_DATA_DIR", str(data))
    patched.setattr("cnnvision.pictures.sheets.curves", lambda entries, path: None)
    for room in ("join", "open"):
        patched.setattr(f"cnnvision.runs.{room}.make_mesh", lambda: make_mesh(jax.devices()[:1]))


def trained(folder, data, *configs):
    """Trains the smoke variants of some configs in folders of their names, and a grid of two variants and seeds, "grid"."""
    with pytest.MonkeyPatch.context() as patched, jax.numpy_dtype_promotion("standard"):
        quick(patched, data)
        for name in configs:
            train.run(load_config(f"{name}:smoke"), folder / name, say=lambda line: None)
        argument = "localizer_shapes:smoke"
        keys = {f"alpha={alpha}": [("model.alpha", alpha)] for alpha in ("0.1", "0.9")}
        variants = {name: Variant(argument, of, load_config(argument, of)) for name, of in keys.items()}
        grid = Grid(epath.Path(folder / "grid"), WHAT, to_json(load_config(argument)), variants, 2)
        grid.write()
        train_cells(grid.cells(), say=lambda line: None)
    return folder


class Read(html.parser.HTMLParser):
    """Reads a page. Attributes: numbers: the whole values of `data` elements in tables, by the metric and variant of their
    cell where they have them; headings: levels in order; tags: (name, attributes); captions: of how many tables; text."""

    def __init__(self, page):
        super().__init__()
        self.numbers, self.headings, self.tags, self.captions, self.text, self._cell = [], [], [], 0, [], {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        """Notes what is looked at."""
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "td":
            self._cell = attrs
        if tag == "data":
            self.numbers.append((self._cell.get("data-metric"), self._cell.get("data-variant"), float(attrs["value"])))
        self.captions += tag == "caption"

    def handle_data(self, data):
        """Collects the text."""
        self.text.append(data)

    def all(self, tag):
        """The attributes of all elements of a name."""
        return [attrs for name, attrs in self.tags if name == tag]


def gallery_of(page):
    """The JSON of a page's gallery."""
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def read(path):
    """The text of a file."""
    return pathlib.Path(path).read_text()
