"""The page: its numbers are those of the runs' files; it stands alone; what users named is text; it opens in a browser."""

import csv
import json
import re
import shutil
import statistics
import subprocess

import jax
import numpy as np
import pytest
from etils import epath

from cnnvision.runs.open import load
from experiments import report
from experiments.reports.judged import judge, read
from experiments.reports.page import render
from experiments.reports.page.subject import open_subject
from tests.experiments.reports.page import runs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>window.bad = 1</script><img src=x onerror='window.bad = 1'>$x^{</b>"


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    return shutil.copytree(trained, tmp_path_factory.mktemp("pages") / "runs")


@pytest.fixture(scope="module")
def pages(folder, drawn_shapes):
    """Name of a run or of the grid -> its page."""
    with pytest.MonkeyPatch.context() as patched, jax.numpy_dtype_promotion("standard"):
        runs.quick(patched, drawn_shapes)
        return {each.name: runs.read(report.run(each, say=lambda line: None)) for each in sorted(folder.iterdir())}


@pytest.fixture(params=["grid", "unet_shapes", "mask_rcnn_shapes"])
def page(pages, request):
    return pages[request.param]


def known_numbers(folder):
    """All that the files of a run or grid hold, as far as tables show it."""
    subject = open_subject(folder)
    of_seeds = {name: {seed: run.folder for seed, run in of.items()} for name, of in subject.judged.items()}
    first = {name: read(run.folder) for name, run in subject.shown.items()}
    metrics = list(dict.fromkeys(metric for found, _ in first.values() for metric in found.metrics))
    numbers = {
        value for row in judge(of_seeds, metrics=metrics).rows() for value in row.values() if not isinstance(value, str)
    }
    for name, (found, about) in first.items():
        times = [e["time/step"] for run in subject.runs if run.variant == name for e in run.entries if "time/step" in e]
        numbers |= {statistics.median(times), *(about.get("errors") or {}).values()}
        counts = np.array(about["confusion"]) if "confusion" in about else found.confusion
        if counts is not None:
            counts = counts.reshape(-1, *counts.shape[-2:]).sum(axis=0)
            total = counts.sum(axis=1, keepdims=True)
            numbers |= set(np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0).ravel().tolist())
        numbers.add(float(sum(leaf.size for leaf in jax.tree.leaves(load(subject.shown[name].folder).params))))
    return numbers


@pytest.mark.parametrize("name", ["grid", "unet_shapes", "mask_rcnn_shapes"])
def test_every_number_of_a_table_is_in_the_files(name, folder, pages):
    found, known = runs.Read(pages[name]).numbers, known_numbers(folder / name)
    assert len(found) > 10
    assert [number for number in found if number[2] not in known] == []


def test_the_metrics_of_a_grid_are_those_of_its_table(folder, pages):
    grid = folder / "grid"
    of_seeds = {f"alpha={alpha}": {0: grid / f"alpha={alpha}", 1: grid / f"alpha={alpha}_seed1"} for alpha in ("0.1", "0.9")}
    judged = judge({name: {s: epath.Path(p) for s, p in of.items()} for name, of in of_seeds.items()})
    report = judged.write(epath.Path(grid))
    found = runs.Read(pages["grid"])
    rows = {row["variant"]: row for row in csv.DictReader((grid / "table.csv").open())}
    shown = {(metric, variant): value for metric, variant, value in found.numbers if metric}
    for metric in ("localization_accuracy", "accuracy", "mean_box_iou"):
        for variant, row in rows.items():
            assert shown[metric, variant] == float(row[metric])
    text = " ".join("".join(found.text).split())
    lines = [line.removeprefix("- ").split(": ", 1)[1] for line in report.splitlines() if line.startswith("- ")]
    assert len(lines) == 3 and all(line in text for line in lines)
    assert judged.note in text and runs.WHAT in text


def test_the_last_metrics_of_a_run_are_those_of_its_log(folder, pages):
    last = [json.loads(line) for line in runs.read(folder / "unet_shapes" / "metrics.jsonl").splitlines()][-1]
    shown = {metric: value for metric, _, value in runs.Read(pages["unet_shapes"]).numbers if metric}
    assert shown == {name: pytest.approx(last[name]) for name in ("mean_iou", "boundary_f")}


def test_the_page_stands_alone_and_is_small(page):
    found = runs.Read(page)
    assert not re.search(r"url\((?!#)|@import|fetch\(|https?://(?!www\.w3\.org/2000/svg)", page)
    assert all(attrs.get("href", "#").startswith("#") for _, attrs in found.tags)
    assert not any("src" in attrs for _, attrs in found.tags) and not found.all("link")
    assert "script-src 'sha256-" in page and len(page.encode()) < 2e6


def test_the_page_is_accessible(page):
    found = runs.Read(page)
    assert found.headings[0] == 1 and found.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(found.headings, found.headings[1:], strict=False))
    assert found.captions == len(found.all("table")) > 0
    plots = [attrs for attrs in found.all("div") if attrs.get("role") == "img"]
    assert len(plots) == page.count('class="plot"') and all(attrs["aria-label"] for attrs in plots)
    assert found.all("html")[0]["lang"] and found.all("title") and "viewport" in page
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_gallery_has_the_answers_of_each_variant(pages):
    for name, page in pages.items():
        gallery = runs.gallery_of(page)
        assert len(gallery["images"]) == 24
        for image in gallery["images"]:
            assert len(image["answers"]) == len(gallery["variants"]) == (2 if name == "grid" else 1)
            kind = {"grid": "boxes", "unet_shapes": "map", "mask_rcnn_shapes": "masks"}[name]
            assert kind in image["answers"][0] and kind in image["truth"]
    assert "repeats it" in pages["unet_shapes"] and "unet_shapes:smoke --workdir=" in pages["unet_shapes"]


def hostile(folder, tmp_path, monkeypatch):
    """The page of a run whose folder, classes, data and images have names that would like to be programs."""
    place = tmp_path / HOSTILE.replace("/", "")
    place.mkdir()
    content = json.loads(runs.read(folder / "unet_shapes" / "config.json"))
    content["config"]["data"]["source"] = content["versions"]["jax"] = HOSTILE
    content["data"]["semantic_classes"][1] = content["data"]["classes"][1] = HOSTILE
    (place / "config.json").write_text(json.dumps(content))
    entries = [json.loads(line) for line in runs.read(folder / "unet_shapes" / "metrics.jsonl").splitlines()]
    (place / "metrics.jsonl").write_text("".join(json.dumps(entry | {HOSTILE: 1.0}) + "\n" for entry in entries))
    shutil.copy(folder / "unet_shapes" / "contributions.npz", place)
    made = runs.gallery_of(runs.read(folder / "unet_shapes" / "report.html"))
    made["classes"][1]["name"] = made["images"][0]["id"] = made["variants"][0]["name"] = HOSTILE + "</script>"
    monkeypatch.setattr("experiments.reports.page.gallery.gallery", lambda *_: made)
    return report.run(place, tmp_path / "page.html", say=lambda line: None)


def test_what_users_named_is_text(folder, pages, tmp_path, monkeypatch):
    page = runs.read(hostile(folder, tmp_path, monkeypatch))
    assert "<script>window" not in page and "<img" not in page and "&lt;script&gt;window.bad" in page
    assert page.count("<script") == page.count("</script>") == 2
    assert runs.gallery_of(page)["classes"][1]["name"] == HOSTILE + "</script>"
    assert not [attrs for _, attrs in runs.Read(page).tags if any(name.startswith("on") for name in attrs)]


def test_a_page_without_its_data_has_the_numbers(folder, tmp_path, monkeypatch):
    place, said = tmp_path / "moved", []
    shutil.copytree(folder / "unet_shapes", place)
    content = json.loads(runs.read(place / "config.json"))
    content["config"]["data"]["source"] = "masks:/nowhere"
    (place / "config.json").write_text(json.dumps(content))
    page = runs.read(render.write(place, say=said.append))
    assert "There are no images:" in page and "mean_iou" in page and said[0].startswith("The page has no images: ")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_it_without_an_error(folder, pages, tmp_path, monkeypatch):
    """The page's own script notes on the root element what went wrong, whether it scrolls sideways, and the images."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=500,900", "--virtual-time-budget=3000"]
    files = [*(folder / name / "report.html" for name in pages), hostile(folder, tmp_path, monkeypatch)]
    for file in files:
        command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", epath.Path(file).as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        root = runs.Read(dom).all("html")[0]
        assert root.get("data-ready") == "24" and "data-faults" not in root and root["data-sideways"] == "no", root
        assert not [attrs for attrs in runs.Read(dom).all("img")]
