"""data/wrappers/proposals.py: what boxes are made, the same every time, where they are kept, how they come into a batch."""

import dataclasses
import io
import threading

import numpy as np
import pytest

from cnnvision.data.augment import apply, resized
from cnnvision.data.batching import make_batch, validate
from cnnvision.data.order import batch_indices, seen
from cnnvision.data.sources import open_source
from cnnvision.data.wrappers import proposals
from cnnvision.errors import DataError, RunError
from cnnvision.inputs import InputSpec, ProposalSpec
from cnnvision.ops.geometry import overlaps
from cnnvision.types import Example, Objects

SEARCH = ProposalSpec("selective_search", most=50, least_side=1)
SPECS = {
    "selective_search": SEARCH,
    "random": ProposalSpec("random", most=50, scales=(0.2, 0.8), ratios=(0.5, 2.0)),
    "sliding": ProposalSpec("sliding", most=50, scales=(0.3, 0.6), ratios=(0.5, 1.0)),
}


def picture(height=60, width=90, seed=0):
    """Rectangles of one colour on another."""
    image = np.full((height, width, 3), 40, np.uint8)
    rng = np.random.default_rng(seed)
    boxes = [(8, 6, 30, 40), (45, 20, 80, 50)]
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = rng.integers(100, 256, 3)
    return image, np.array(boxes, np.float32)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_boxes_lie_in_the_image_and_are_the_same_every_time(spec):
    image, _ = picture()
    boxes = proposals.propose(image, spec)
    assert boxes.dtype == np.float32 and 0 < len(boxes) <= 50
    assert (boxes >= 0).all() and (boxes <= [90, 60, 90, 60]).all() and (boxes[:, :2] < boxes[:, 2:]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    for _ in range(3):
        np.testing.assert_array_equal(proposals.propose(image, spec), boxes)
    fewer = proposals.propose(image, dataclasses.replace(spec, most=5))
    assert len(fewer) == min(5, len(boxes)) and (spec.method != "selective_search" or (fewer == boxes[:5]).all())


def test_selective_search_finds_what_stands_out_in_an_order_of_its_own():
    image, objects = picture()
    boxes = proposals.propose(image, dataclasses.replace(SEARCH, most=2000))
    assert all(overlaps(box[None], boxes).max() > 0.9 for box in objects)
    other = proposals.propose(image, dataclasses.replace(SEARCH, most=2000, seed=1))
    assert not np.array_equal(boxes, other) and {*map(tuple, boxes)} == {*map(tuple, other)}
    large = proposals.propose(image, dataclasses.replace(SEARCH, most=2000, least_side=150))  # three times
    assert (np.round(large * 3, 3) % 1 == 0).all() and (large % 1 != 0).any()


def test_a_strip_is_not_enlarged_without_bound(monkeypatch):
    sizes, resize = [], proposals.cv2.resize
    monkeypatch.setattr(proposals.cv2, "resize", lambda *a, **k: sizes.append(resize(*a, **k).shape) or resize(*a, **k))
    proposals.propose(
        np.random.default_rng(0).integers(0, 256, (6, 90, 3), np.uint8), dataclasses.replace(SEARCH, least_side=60)
    )
    assert sizes == [(12, 180, 3)]


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (2, 400), (3, 3), (37, 501)])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_images_of_any_size_have_proposals(spec, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    boxes = proposals.propose(image, dataclasses.replace(spec, least_side=16))
    assert len(boxes) and (boxes <= np.array(shape)[[1, 0, 1, 0]]).all() and (boxes[:, :2] < boxes[:, 2:]).all()


def test_random_boxes_have_the_sizes_and_shapes_asked_for():
    image = np.zeros((400, 400, 3), np.uint8)
    boxes = proposals.propose(image, dataclasses.replace(SPECS["random"], most=4000))
    sides = boxes[:, 2:] - boxes[:, :2]
    size, ratio = np.sqrt(sides.prod(axis=1)) / 400, sides[:, 1] / sides[:, 0]
    assert 0.2 <= size.min() < 0.21 and 0.79 < size.max() <= 0.8 + 1e-5
    assert 0.5 - 1e-4 <= ratio.min() < 0.51 and 1.96 < ratio.max() <= 2.0 + 1e-4
    assert abs(np.log(ratio).mean()) < 0.03  # as many tall ones as wide ones
    assert np.abs(boxes.mean(axis=0).reshape(2, 2).mean(axis=0) - 200).max() < 8


def test_sliding_boxes_by_hand():
    spec = ProposalSpec("sliding", most=100, scales=(0.5, 1.0), ratios=(1.0,), step=0.5)
    boxes = proposals.propose(np.zeros((40, 40, 3), np.uint8), spec)
    expected = [[0, 0, 40, 40], *([x, y, x + 20, y + 20] for y in (0, 10, 20) for x in (0, 10, 20))]
    np.testing.assert_allclose(boxes, expected)


def test_of_too_many_sliding_boxes_evenly_many_stay():
    spec = ProposalSpec("sliding", most=10**6, scales=(0.1, 0.4), ratios=(0.5, 2.0), step=0.25)
    image = np.zeros((128, 128, 3), np.uint8)
    every, few = proposals.propose(image, spec), proposals.propose(image, dataclasses.replace(spec, most=400))
    assert len(every) > 2000 and len(few) == 400

    def shares(boxes):
        """Of two sizes, two shapes and the four quarters of the image."""
        sides, middles = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
        kind = (sides[:, 0] > sides[:, 1]) + 2 * (sides.max(axis=1) > 30)
        quarter = (middles > 64) @ [1, 2]
        return np.bincount(4 * kind + quarter, minlength=16) / len(boxes)

    np.testing.assert_allclose(shares(few), shares(every), atol=0.03)


class Pictures:
    name, split, classes, semantic_classes, problems = "pictures", "train", ("a",), (), ()
    ids = tuple("abcdef")

    def __len__(self):
        return len(self.ids)

    def read(self, index, image=True, masks=False):
        if index == 3:
            raise DataError("broken")
        pixels, boxes = picture(seed=index)
        objects = Objects(boxes, np.zeros(2, np.int32), np.zeros(2, bool), np.ones(2, np.float32))
        return Example(self.ids[index], (60, 90), pixels if image else None, None, objects)


def test_boxes_are_made_once_and_kept_by_content_and_settings(tmp_path, monkeypatch):
    made, lock = [], threading.Lock()
    propose = proposals.propose

    def counted(image, spec):
        with lock:
            made.append(spec)
        return propose(image, spec)

    monkeypatch.setattr(proposals, "propose", counted)
    said = []
    source = proposals.WithProposals(Pictures(), proposals.ProposalStore(SEARCH, tmp_path))
    proposals.prepare(source, [0, 1, 2, 3, 4], 2, said.append)  # the fourth cannot be read
    assert len(made) == 4
    np.testing.assert_array_equal(source.read(2).proposals, propose(picture(seed=2)[0], SEARCH))
    assert source.read(0, image=False).proposals is None and len(made) == 4
    again = proposals.WithProposals(Pictures(), proposals.ProposalStore(SEARCH, tmp_path))
    again.read(1)
    assert len(made) == 4
    other = proposals.ProposalStore(dataclasses.replace(SEARCH, seed=5), tmp_path)
    other.of(picture(seed=1)[0])
    assert len(made) == 5 and other.folder != again.store.folder
    (file,) = [path for path in tmp_path.rglob("*.npy") if other.folder in path.parents]
    file.write_bytes(file.read_bytes()[:100])  # cut short
    np.testing.assert_array_equal(other.of(picture(seed=1)[0]), propose(picture(seed=1)[0], other.spec))
    assert len(made) == 6
    assert not list(tmp_path.rglob("*.draft"))


def damaged(content):
    """A file's content with something wrong, and what is wrong."""
    save = lambda array: (buffer := io.BytesIO(), np.save(buffer, array))[0].getvalue()
    yield "an odd header", content[:60] + bytes([131]) + content[61:]
    yield "an archive", b"PK\x03\x04" + content
    yield "empty", b""
    yield "another kind", save(np.zeros((3, 4), np.uint32))
    yield "another shape", save(np.zeros((3, 5), np.float32))
    yield "no numbers", save(np.full((3, 4), np.nan, np.float32))
    yield "too many", save(np.zeros((10_000, 4), np.float32))


def test_a_damaged_file_is_made_again(tmp_path):
    store, image = proposals.ProposalStore(SEARCH, tmp_path), picture()[0]
    expected = store.of(image)
    (file,) = tmp_path.rglob("*.npy")
    content = file.read_bytes()
    for what, wrong in damaged(content):
        file.write_bytes(wrong)
        np.testing.assert_array_equal(store.of(image), expected, err_msg=what)
        assert file.read_bytes() == content, what


def test_a_file_that_cannot_be_read_is_no_fault_of_the_image(tmp_path):
    store, image = proposals.ProposalStore(SEARCH, tmp_path), picture()[0]
    store.of(image)
    (file,) = tmp_path.rglob("*.npy")
    file.unlink()
    file.mkdir()
    with pytest.raises(RunError, match=r"kept there cannot be read .*CNNVISION_PROPOSALS"):
        store.of(image)


def test_what_was_prepared_once_is_not_read_again(tmp_path):
    """The first image tells folders of one kind with files of the same names apart."""

    class Counted(Pictures):
        shift = 0

        def __init__(self):
            self.reads = []

        def read(self, index, image=True, masks=False):
            self.reads.append(index)
            return super().read(index + self.shift, image, masks)

    class Other(Counted):
        shift = 1

    def reads(kind, indices):
        source = kind()
        proposals.prepare(proposals.WithProposals(source, store), indices, 1, print)
        return source.reads

    store = proposals.ProposalStore(SEARCH, tmp_path)
    assert reads(Counted, [0, 1, 2]) == [0, 0, 1, 2]
    assert reads(Counted, [0, 1, 2]) == reads(Counted, [2, 0, 1]) == [0]
    assert reads(Counted, [0, 1]) == [0, 0, 1] and reads(Counted, []) == []
    assert reads(Other, [0, 1, 2]) == [0, 0, 1, 2]
    (next(tmp_path.rglob("*.npy"))).unlink()
    assert reads(Counted, [0, 1, 2]) == [0]  # the file is made by whoever reads its image


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    store = proposals.ProposalStore(SEARCH, tmp_path / "file")
    with pytest.raises(RunError, match=r"proposals cannot be kept there .*CNNVISION_PROPOSALS"):
        store.of(picture()[0])
    with pytest.raises(RunError, match="proposals cannot be kept there"):  # no fault of an image, which would be left out
        proposals.prepare(proposals.WithProposals(Pictures(), store), range(6), 2, lambda line: None)


def test_proposals_go_through_the_same_map_as_the_image():
    image, objects = picture()
    spec = InputSpec(sizes=((120, 90),), target="objects", objects="all", max_objects=4, proposals=ProposalSpec("random", 6))
    boxes = np.concatenate([objects, [[0, 0, 90, 60]]]).astype(np.float32)
    truth = Objects(objects, np.zeros(2, np.int32), np.zeros(2, bool), np.ones(2, np.float32))
    example = Example("a", (60, 90), image, None, truth, proposals=boxes)
    flipped = dataclasses.replace(resized((60, 90), (120, 90), spec), flip=True)
    batch, _ = make_batch([apply(flipped, example, 0), None], spec, (120, 90))
    validate(batch, 1)
    np.testing.assert_array_equal(batch.proposals.boxes[0, :2], batch.target.boxes[0, :2])
    np.testing.assert_allclose(batch.proposals.boxes[0, :3], [[60, 12, 82, 80], [10, 40, 45, 100], [0, 0, 90, 120]])
    assert batch.proposals.valid.tolist() == [[True] * 3 + [False] * 3, [False] * 6]
    assert batch.proposals.boxes.shape == (2, 6, 4) and not batch.proposals.boxes[1].any()
    batch.proposals.boxes[0, 1] = [0, 0, 200, 10]
    with pytest.raises(ValueError, match=r"proposals\.boxes"):
        validate(batch, 1)


def test_what_leaves_the_window_is_left_out():
    image, objects = picture()
    spec = InputSpec(sizes=((60, 90),), target="objects", objects="all", max_objects=4, proposals=ProposalSpec("random", 6))
    example = Example("a", (60, 90), image, None, None, proposals=objects)
    right_half = dataclasses.replace(resized((60, 90), (60, 90), spec), source=(45, 0, 90, 60))
    row = apply(right_half, example, 0)
    np.testing.assert_allclose(row.proposals, [[0, 20, 70, 50]])


def test_the_examples_of_some_steps():
    every = slice(0, 4)
    found = seen(10, 4, 0, 1, 3, every)
    expected = [int(i) for step in (1, 2) for i in batch_indices(10, 4, 0, step)[0]]
    assert found == list(dict.fromkeys(expected)) and len(seen(10, 4, 0, 0, 100, every)) == 10
    assert seen(10, 4, 0, 5, 5, every) == []
    halves = [seen(10, 4, 0, 0, 2, slice(first, first + 2)) for first in (0, 2)]
    assert {*halves[0]} | {*halves[1]} == {*seen(10, 4, 0, 0, 2, every)}
    assert halves[1] == [int(i) for step in (0, 1) for i in batch_indices(10, 4, 0, step)[0][2:]]


def test_shapes_come_with_proposals_that_find_most_of_them(tmp_path):
    source = open_source("shapes", "val")
    store = proposals.ProposalStore(dataclasses.replace(SEARCH, most=1000, least_side=256), tmp_path)
    best = []
    for index in range(4):
        example = proposals.WithProposals(source, store).read(index)
        best += [overlaps(box[None], example.proposals).max() for box in example.objects.boxes]
    assert np.mean(np.array(best) >= 0.5) > 0.9
