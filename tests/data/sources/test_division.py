"""sources/division.py: a data set without splits becomes train and val."""

import numpy as np

from cnnvision.data.sources import open_source
from cnnvision.data.sources.division import SIDE, choose, group, write_division
from tests.data.planted import encoded, write


def noise(seed, side=32):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def classes_of(root, count=20, rare=5):
    for name, images in (("cat", count), ("emu", rare)):
        for i in range(images):
            write(root / name / f"{i}.png", encoded(noise(1000 * len(name) + i + 77 * (name == "emu"))))
    return root


def opened(root, split):
    return open_source(f"folder:{root}", split)


def test_one_in_five_of_each_class(tmp_path):
    classes_of(tmp_path)
    val = opened(tmp_path, "val").ids
    assert sum(id.startswith("cat/") for id in val) == 4 and sum(id.startswith("emu/") for id in val) == 1
    assert sorted([*val, *opened(tmp_path, "train").ids]) == sorted(
        f"{p.parent.name}/{p.name}" for p in tmp_path.rglob("*.png")
    )


def test_names_and_places_decide_nothing(tmp_path):
    classes_of(tmp_path / "one")
    for path in (tmp_path / "one").rglob("*.png"):
        write(tmp_path / "two" / path.parent.name / f"z{99 - int(path.stem)}.png", path.read_bytes())
    files = [
        {source.original(i)[1] for i in range(len(source))}
        for source in (opened(tmp_path / d, "val") for d in ("one", "two"))
    ]
    assert files[0] == files[1]


def test_near_copies_are_on_one_side():
    """Brighter by a fifth, and with an error as of compression; the others are other pictures."""
    rng = np.random.default_rng(0)
    greys = rng.uniform(0, 200, (6, SIDE * SIDE))
    greys[3] = 1.2 * greys[0]
    greys[5] = greys[0] + rng.normal(0, 1, SIDE * SIDE)
    assert sorted(map(sorted, group(list("abcdef"), greys))) == [[0, 3, 5], [1], [2], [4]]
    assert sorted(map(sorted, group(list("abcaef"), rng.uniform(0, 200, (6, SIDE * SIDE))))) == [[0, 3], [1], [2], [4], [5]]


def test_where_all_are_alike_nearness_says_nothing():
    greys = np.tile(np.arange(SIDE * SIDE) % 200, (5, 1)).astype(float)
    assert len(group(list("abcde"), greys)) == 5


def test_few_images_leave_one_for_val():
    assert choose([[0], [1], [2], [3]], list("dcba"), [(0,), (0,), (1,), (1,)]) in ([1], [3])
    assert choose([[0]], ["a"], [(0,)]) == []


def test_a_file_decides_where_it_is_there(tmp_path):
    classes_of(tmp_path, 3, 2)
    write_division(tmp_path / "split.csv", {"train": ["cat/0.png", "emu/0.png"], "val": ["cat/1.png", "emu/1.png"]})
    source = opened(tmp_path, "val")
    assert source.ids == ("cat/1.png", "emu/1.png") and opened(tmp_path, "train").ids == ("cat/0.png", "emu/0.png")
    left = [p for p in source.problems if p.effect == "left out"]
    assert [(p.file, p.value) for p in left] == [("split.csv", "cat/2.png")] and "as split.csv has it" in source.problems[
        0
    ].message
