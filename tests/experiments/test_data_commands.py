"""The commands `doctor` and `convert`, and what `evaluate` says of data."""

import json
from types import SimpleNamespace

import pytest

from cnnvision.errors import ConfigError, DataError
from cnnvision.inputs import InputSpec
from cnnvision.task import DataInfo
from experiments import convert, doctor, evaluate, proposals
from tests.conftest import ROOT
from tests.data.planted import csv_set, encoded, folder_set, masks_set, picture, two_fields, write


def test_doctor_on_a_sound_set(tmp_path, capsys):
    assert doctor.command([f"--data=csv:{csv_set(tmp_path)}"]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith(f"csv:{tmp_path}: nothing to mend.\n")
    assert "| train | 3        | 40 … 40 … 40" in printed and "| cat              | 3     | 1   |" in printed


def test_doctor_lists_the_gravest_first_and_fails(tmp_path, capsys):
    root = csv_set(tmp_path, ["cat/0.png,40,30,cat,9,5,6,9", "cat/0.png,40,30,cat,5,5,5,9", "no.png,40,30,cat,1,1,5,9"])
    assert doctor.command([f"--data=csv:{root}", "--split=train"]) == 1
    printed = capsys.readouterr().out
    order = [printed.index(words) for words in ("left out (1)", "object left out (1)", "repaired (1)", "| split |")]
    assert order == sorted(order) and "train.csv, row 6 (cat/0.png), box: the box is empty" in printed
    assert printed.endswith("1 left out, 1 object left out, 1 repaired.\n")
    assert [p.effect for p in doctor.run(f"csv:{root}", progress=False).problems] == [
        "left out",
        "object left out",
        "repaired",
    ]


def test_doctor_ends_well_where_things_are_only_repaired(tmp_path):
    assert doctor.command([f"--data=csv:{csv_set(tmp_path, ['cat/0.png,40,30,cat,9,5,6,9'])}"]) == 0


def test_convert(tmp_path, capsys):
    root = csv_set(tmp_path / "csv", ["cat/0.png,40,30,cat,5,5,5,9"])
    assert convert.command([f"--data=csv:{root}", f"--output=coco:{tmp_path / 'coco'}", "--suffix=2017"]) == 0
    assert "train: 1 faults" in capsys.readouterr().out
    content = json.loads((tmp_path / "coco" / "annotations" / "instances_val2017.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "0.png", "width": 40, "height": 30}]


def test_convert_says_that_maps_are_not_written(tmp_path, capsys, few_shapes):
    convert.run("shapes", f"coco:{tmp_path / 'coco'}", progress=False)
    assert "semantic maps are not written" in capsys.readouterr().out


def test_convert_tells_of_images_that_had_to_be_left_out(tmp_path, capsys):
    root = csv_set(tmp_path / "csv")
    write(root / "train" / "cat" / "1.png", encoded(picture(1))[:500])
    assert convert.command([f"--data=csv:{root}", f"--output=coco:{tmp_path / 'coco'}"]) == 1
    assert "train/cat/1.png: the image breaks off" in capsys.readouterr().out


def test_convert_refuses_what_it_cannot_write(tmp_path):
    root = csv_set(tmp_path / "csv")
    for output in ("cooc:x", "coco:", "x", "voc:x"):
        with pytest.raises(DataError, match="should read coco:DIR"):
            convert.run(f"csv:{root}", output)
    with pytest.raises(DataError, match="exists already"):
        convert.run(f"csv:{root}", f"coco:{root}", progress=False)
    with pytest.raises(DataError, match="no boxes"):
        convert.run(f"folder:{folder_set(tmp_path / 'folder')}", f"coco:{tmp_path / 'new'}", progress=False)


def test_evaluate_says_which_classes_of_other_data_do_not_count(tmp_path, monkeypatch):
    trained = SimpleNamespace(
        task=SimpleNamespace(inputs=InputSpec(((8, 8),), target="semantic")),
        info=DataInfo((), ("0", "9", "255"), {}),
        config=None,
        mesh=None,
    )
    monkeypatch.setattr("cnnvision.runs.open.load", lambda *_: trained)
    monkeypatch.setattr("cnnvision.runs.join.evaluation_of", lambda *_: 1 / 0)  # all of interest is said before it
    said, root = [], masks_set(tmp_path)
    write(root / "train" / "mask" / "0.png", encoded(two_fields(left=7)))
    write(root / "classes.csv", "value,name\n0,0\n255,255\n7,dirt\n")
    with pytest.raises(ZeroDivisionError):
        evaluate.run("x", f"masks:{root}", "val", say=said.append)
    assert "1 of 3 classes are not among those of the network" in said[0] and "(found 'dirt')" in said[0]
    assert "(found '9')" in said[1] and len(said) == 2


def test_names_of_other_data_become_names_of_files():
    names = ["masks:../d/r g", "masks:../d/r_g", "masks:" + "ü" * 300 + "/odd", "coco:a"]
    files = [evaluate.readable(name) for name in names]
    assert len(set(files)) == 4 and all(file.isascii() and len(file) < 80 for file in files)
    assert files[3].startswith("coco_a_") and evaluate.readable("coco:a") == files[3]


def test_proposals(tmp_path, monkeypatch, capsys, few_shapes):
    monkeypatch.setenv("CNNVISION_PROPOSALS", str(tmp_path))
    settings = ["--config.model.proposals.method=random", "--config.model.proposals.most=300"]
    assert proposals.command([f"--config={ROOT}/configs/fast_rcnn_shapes.py:smoke", *settings]) == 0
    printed = capsys.readouterr().out
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]
    assert table[0] == ["first", "AR", "AR/small", "AR/medium", "AR/large", "recall50", "recall75"]
    assert [row[0] for row in table[2:]] == ["10", "100", "1000", "2000"]
    recall = [float(row[5]) for row in table[2:]]
    assert 0 < recall[0] < recall[1] < recall[2] == recall[3] <= 1
    assert "shapes val: 300 boxes an image" in printed and len(list(tmp_path.rglob("*.npy"))) == few_shapes["val"]
    with pytest.raises(ConfigError, match="faster_rcnn takes no proposals"):
        proposals.command([f"--config={ROOT}/configs/faster_rcnn_shapes.py:smoke"])
