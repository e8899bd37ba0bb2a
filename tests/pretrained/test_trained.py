"""From one of our networks to another: what is taken, row by row where it is of classes, and what is said of the rest."""

import jax
import numpy as np
import pytest

from cnnvision.pretrained.trained import FITTED, OF_CLASSES, backbone_fault, from_trained
from tests.models.cases import CASES
from tests.models.tasks import CLASSES, make_batch, task_of


def layer(inputs, outputs, start):
    """A dense layer whose numbers are all different."""
    kernel = start + np.arange(inputs * outputs, dtype=np.float32).reshape(inputs, outputs)
    return {"kernel": kernel, "bias": start - 1 - np.arange(outputs, dtype=np.float32)}


def detector(classes, start, width=3):
    boxes = {"hidden0": layer(5, width, start)}
    boxes |= {"class": layer(width, 1 + classes, start), "box": layer(width, 4 + 4 * classes, start)}
    return {"backbone": {"stem": layer(2, 2, start)}, "box_head": boxes}, {}


@pytest.mark.parametrize("name", CASES)
def test_the_layers_of_classes_are_those_whose_shape_goes_with_their_number(name):
    def shapes(classes):
        task = task_of(name, classes=classes)
        params, _ = jax.eval_shape(task.init, jax.random.key(0), make_batch(task, rows=1))
        paths = jax.tree_util.tree_flatten_with_path(params)[0]
        return {tuple(key.key for key in path): leaf.shape for path, leaf in paths}

    few, more = shapes(CLASSES), shapes((*CLASSES, "another"))
    assert few.keys() == more.keys()
    changed = {path[:-1] for path in few if few[path] != more[path] and path[0] not in FITTED}
    expected = {path[:-1] for path in few if path[:2] in OF_CLASSES and any(p[:2] == (path[0], "class") for p in few)}
    assert changed == expected and changed
    for path in few:
        if path[:-1] in changed:
            boxes = few[(path[0], "box", *path[2:])][-1] // 4 if path[0] == "ssd_head" else 1
            width = OF_CLASSES[path[:2]] * boxes
            assert more[path][-1] - few[path][-1] == width
            assert few[path][-1] in (width * len(CLASSES), width * (1 + len(CLASSES)))
            assert boxes == 1 or few[path][-1] == width * (1 + len(CLASSES))


def test_rows_go_by_the_names_of_classes():
    ours, theirs = detector(3, 0.0), detector(2, 1000.0)
    params, model_state, report = from_trained(ours, ("cat", "car", "dog"), theirs, ("dog", "cat"), "runs/a, step 7")
    head, old, drawn = params["box_head"], theirs[0]["box_head"], ours[0]["box_head"]
    for name, width in (("class", 1), ("box", 4)):
        for leaf in ("kernel", "bias"):
            rows, of, at = (
                np.asarray(tree[name][leaf]).reshape(*np.shape(tree[name][leaf])[:-1], -1, width)
                for tree in (head, old, drawn)
            )
            np.testing.assert_array_equal(rows[..., [0, 1, 3], :], of[..., [0, 2, 1], :])
            np.testing.assert_array_equal(rows[..., 2, :], at[..., 2, :])
    np.testing.assert_array_equal(params["backbone"]["stem"]["kernel"], theirs[0]["backbone"]["stem"]["kernel"])
    assert model_state == {} and report == (
        "runs/a, step 7: backbone and box_head/hidden0 taken. box_head/class and box_head/box: the rows of 2 of 3 classes "
        "taken, by name; there is no car."
    )


def ssd_head(classes, boxes, start):
    """Two maps with so many default boxes at a position."""
    convs = lambda numbers: {f"map{i}": layer(3, boxes[i] * numbers, start + 100 * i) for i in range(2)}
    return {"ssd_head": {"class": convs(1 + classes), "box": convs(4)}}, {}


def test_rows_of_each_default_box_go_by_the_names_of_classes():
    ours, theirs = ssd_head(3, (4, 6), 0.0), ssd_head(2, (4, 6), 5000.0)
    params, _, report = from_trained(ours, ("cat", "car", "dog"), theirs, ("dog", "cat"), "there")
    for i, boxes in enumerate((4, 6)):
        for leaf in ("kernel", "bias"):
            new, of, drawn = (
                np.asarray(tree["ssd_head"]["class"][f"map{i}"][leaf]) for tree in (params, theirs[0], ours[0])
            )
            for box in range(boxes):
                for row, source in enumerate((0, 2, None, 1)):
                    expected = drawn[..., 4 * box + row] if source is None else of[..., 3 * box + source]
                    np.testing.assert_array_equal(new[..., 4 * box + row], expected)
    jax.tree.map(np.testing.assert_array_equal, params["ssd_head"]["box"], theirs[0]["ssd_head"]["box"])
    assert "ssd_head/class/map0 and ssd_head/class/map1: the rows of 2 of 3 classes taken, by name" in report
    _, _, report = from_trained(ours, ("cat", "car", "dog"), ssd_head(3, (4, 4), 9.0), ("cat", "car", "dog"), "there")
    assert "(of another shape there): ssd_head/class/map1 and ssd_head/box/map1." in report


def test_without_a_common_class_the_layers_stay_with_their_background():
    ours = detector(1, 0.0)
    params, _, report = from_trained(ours, ("cat",), detector(1, 9.0), ("dog",), "there")
    jax.tree.map(np.testing.assert_array_equal, params["box_head"]["class"], ours[0]["box_head"]["class"])
    jax.tree.map(np.testing.assert_array_equal, params["box_head"]["box"], ours[0]["box_head"]["box"])
    assert "box_head/class and box_head/box: left at the initialisation, as no class there" in report


def test_layers_of_other_widths_stay_as_a_whole():
    """A bias that would fit does not leave its kernel."""
    ours = detector(2, 0.0, width=4)
    ours[0]["box_head"]["hidden0"]["bias"] = np.zeros(3, np.float32)
    params, _, report = from_trained(ours, ("cat", "dog"), detector(2, 9.0), ("cat", "dog"), "there")
    jax.tree.map(np.testing.assert_array_equal, params["box_head"], ours[0]["box_head"])
    assert report == "there: backbone taken. Left at the initialisation (of another shape there): box_head."


def test_a_class_without_and_with_a_background():
    """A localizer's head into a random-crop detector's: the row of the background is nobody's. Its box is of no class."""
    theirs = {"class_head": {"class": layer(3, 2, 50.0)}, "box_head": {"box": layer(3, 4, 70.0)}}
    ours = {"class_head": {"class": layer(3, 3, 0.0)}, "box_head": {"box": layer(3, 4, 0.0)}}
    params, _, _ = from_trained((ours, {}), ("a", "b"), (theirs, {}), ("b", "a"), "there")
    kernel = params["class_head"]["class"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 1:], theirs["class_head"]["class"]["kernel"][:, ::-1])
    np.testing.assert_array_equal(kernel[:, 0], ours["class_head"]["class"]["kernel"][:, 0])
    jax.tree.map(np.testing.assert_array_equal, params["box_head"], theirs["box_head"])


def test_statistics_come_with_their_layer_and_the_rest_is_named():
    theirs = (
        {"backbone": {"norm": {"scale": np.ones(2)}}, "neck": layer(2, 2, 5.0)},
        {"batch_stats": {"backbone": {"norm": {"mean": np.full(2, 3.0)}}}},
    )
    ours = (
        {"backbone": {"norm": {"scale": np.zeros(2)}}, "head": {"class": layer(2, 1, 0.0)}},
        {"batch_stats": {"backbone": {"norm": {"mean": np.zeros(2)}}}},
    )
    params, model_state, report = from_trained(ours, ("a",), theirs, ("a",), "there")
    assert params["backbone"]["norm"]["scale"].all() and model_state["batch_stats"]["backbone"]["norm"]["mean"][0] == 3
    assert report == (
        "there: backbone taken. Left at the initialisation (not there): head. This network has no place for neck."
    )
    assert not backbone_fault(ours, theirs)
    without = theirs[0], {}
    assert backbone_fault(ours, without) == "backbone/norm: scale (2,) there, mean (2,), scale (2,) here"
