"""Which weights are taken, which are left, and what is said of those that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnnvision.backbones import BACKBONES
from cnnvision.errors import WeightsError
from cnnvision.heads.box_head import BoxHead
from cnnvision.pretrained.loading import from_torchvision, to_torchvision
from cnnvision.pretrained.start import load_pretrained
from cnnvision.pretrained.torch_names import LEAVES, NAMINGS
from tests.pretrained.networks import shapes
from tests.pretrained.weight_writers import saved


def filled(tree):
    """A tree of random numbers, of the shapes of `tree`."""
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, np.float32), tree)


def state_of(name, classes=1000, **options):
    """A state dict of torchvision's names that fits the backbone; VGG's hidden layers are narrow."""
    return to_torchvision(*map(filled, shapes(name, classes, **options)), name)


@pytest.mark.parametrize("name", ["resnet34", "resnet101", "vgg16_bn"])
def test_every_key_occurs_once_and_all_numbers_come_back(name):
    params, model_state = map(filled, shapes(name, 10))
    state = to_torchvision(params, model_state, name)
    leaves = jax.tree.leaves((params, model_state))
    assert len([key for key in state if not key.endswith("num_batches_tracked")]) == len(leaves)
    loaded, loaded_state, report = from_torchvision(state, params, model_state, name)
    jax.tree.map(np.testing.assert_array_equal, (params, model_state), (loaded, loaded_state))
    assert "left at its initialisation" not in report


def test_axes_of_kernels():
    """A convolution's (o, i, h, w), and VGG's first dense layer, whose inputs torch flattens as (c, h, w)."""
    state = {key: np.zeros(array.shape, np.float32) for key, array in state_of("vgg16", 2).items()}
    state["features.0.weight"][5, 1, 0, 2] = 1
    state["classifier.0.weight"][2, 3 * 49 + 4 * 7 + 6] = 1
    params, _, _ = from_torchvision(state, *shapes("vgg16", 2), "vgg16")
    assert params["backbone"]["conv1"]["conv1_1"]["kernel"][0, 2, 1, 5] == 1
    assert params["head"]["hidden0"]["kernel"].reshape(7, 7, 512, 8)[4, 6, 3, 2] == 1


def test_statistics_and_scales_are_not_confused():
    state = state_of("resnet18")
    params, model_state, _ = from_torchvision(state, *shapes("resnet18"), "resnet18")
    norm, statistics = (
        trees["layer2"]["block1"]["shortcut_norm"] for trees in (params["backbone"], model_state["batch_stats"]["backbone"])
    )
    for ours, theirs in LEAVES.items():
        if ours != "kernel":
            np.testing.assert_array_equal((norm | statistics)[ours], state[f"layer2.0.downsample.1.{theirs}"])


def test_a_head_of_other_classes_stays_as_it_was():
    params, model_state = shapes("resnet18", 3)
    params = {**params, "head": filled(params["head"]), "neck": {"kernel": jnp.ones(2)}}
    loaded, _, report = from_torchvision(state_of("resnet18"), params, model_state, "resnet18")
    assert loaded["neck"] is params["neck"]
    jax.tree.map(np.testing.assert_array_equal, loaded["head"], params["head"])
    assert report.endswith(
        "head: class was left at its initialisation (the file's is 512 to 1000, this network's 512 to 3)."
    )


def test_hidden_layers_are_taken_where_the_last_is_not():
    params, model_state = map(filled, shapes("vgg16", 3))
    state = {key: array + 1 for key, array in to_torchvision(*map(filled, shapes("vgg16", 5)), "vgg16").items()}
    loaded, _, report = from_torchvision(state, params, model_state, "vgg16")
    np.testing.assert_array_equal(loaded["head"]["hidden1"]["bias"], state["classifier.3.bias"])
    np.testing.assert_array_equal(loaded["head"]["class"]["bias"], params["head"]["class"]["bias"])
    assert "hidden0 and hidden1 from the same file" in report and "class was left" in report


def test_a_network_without_a_head_and_a_file_without_one():
    state = state_of("resnet18")
    params, model_state = shapes("resnet18")
    loaded, _, report = from_torchvision(state, {"backbone": params["backbone"]}, model_state, "resnet18")
    assert loaded.keys() == {"backbone"} and report == "resnet18: 100 tensors from the state dict."
    bare = {key: array for key, array in state.items() if not key.startswith("fc.")}
    _, _, report = from_torchvision(bare, filled(params), model_state, "resnet18")
    assert "class was left at its initialisation (the file has none)" in report


def test_a_head_by_another_name():
    params, model_state = shapes("resnet18")
    params = {"backbone": params["backbone"], "class_head": params["head"]}
    loaded, _, report = from_torchvision(state_of("resnet18"), params, model_state, "resnet18", head="class_head")
    assert isinstance(loaded["class_head"]["class"]["kernel"], jax.Array) and "class_head: class from" in report


def test_a_backbone_with_fewer_layers_by_option():
    """EfficientNet-Lite0 without its last 1x1 convolution takes a file that has it; the other way round it is missing."""
    state = state_of("efficientnet_lite0", head_conv=True)
    from_torchvision(state, *shapes("efficientnet_lite0"), "efficientnet_lite0")
    state = state_of("efficientnet_lite0")
    with pytest.raises(WeightsError, match=r"missing from the file: _conv_head\.weight, .*and 2 more"):
        from_torchvision(state, *shapes("efficientnet_lite0", head_conv=True), "efficientnet_lite0")


def test_weights_of_data_parallel_training():
    state = {f"module.{key}": array for key, array in state_of("resnet18").items()}
    from_torchvision(state, *shapes("resnet18"), "resnet18")


@pytest.mark.parametrize(
    ("name", "other", "match"),
    [
        ("resnet18", "resnet50", "these are resnet50 weights; the config says resnet18. .*in the file but not in the "
         r"network: layer1.0.conv3.weight, .*of another shape: layer1.0.conv1.weight is \(64, 64, 1, 1\) and should be "
         r"\(64, 64, 3, 3\)"),
        ("resnet34", "resnet18", "these are resnet18 weights; .*missing from the file: layer1.2.conv1.weight, .* and "),
        ("vgg16", "vgg16_bn", "these are vgg16_bn weights; the config says vgg16"),
        ("efficientnet_lite0", "resnet18", "these are resnet18 weights; the config says efficientnet_lite0"),
    ],
)  # fmt: skip
def test_weights_of_another_network(name, other, match):
    with pytest.raises(WeightsError, match=f"(?s)the state dict: {match}"):
        from_torchvision(state_of(other), *shapes(name), name)


def test_weights_of_no_network_that_is_known():
    with pytest.raises(
        WeightsError, match=r"these do not fit resnet18\. missing from the file: .*not in the network: hello"
    ):
        from_torchvision({"hello": np.zeros(3)}, *shapes("resnet18"), "resnet18")


def test_values_that_are_not_finite():
    state = state_of("resnet18")
    state["layer3.0.bn2.bias"] = np.full(256, np.nan)
    with pytest.raises(WeightsError, match=r"layer3\.0\.bn2\.bias has values that are not finite"):
        from_torchvision(state, *shapes("resnet18"), "resnet18")


def test_a_norm_without_statistics():
    with pytest.raises(WeightsError, match='set the backbone\'s norm to "frozen" or "batch"'):
        from_torchvision(state_of("resnet18"), *shapes("resnet18", norm="group"), "resnet18")


def test_imagenet_weights_of_another_backbone():
    with pytest.raises(WeightsError, match="for efficientnet_lite0 alone; for resnet50, give the path"):
        load_pretrained("imagenet", "resnet50", *shapes("resnet50"))


def test_a_backbone_without_weights_from_elsewhere():
    with pytest.raises(WeightsError, match="no weights from elsewhere for the backbone 'small'"):
        load_pretrained("some.pth", "small", {}, {})
    assert set(BACKBONES) - set(NAMINGS) == {"small", "contracting_path", "darknet_v1"}


def test_a_file_and_its_name_in_report_and_error(tmp_path):
    params, model_state = map(filled, shapes("resnet18", 10))
    path = tmp_path / "resnet18.safetensors"
    path.write_bytes(saved("safetensors", to_torchvision(params, model_state, "resnet18")))
    loaded, loaded_state, report = load_pretrained(str(path), "resnet18", params, model_state)
    assert report.startswith(f"resnet18: 100 tensors from {path}. head: class from the same file.")
    jax.tree.map(np.testing.assert_array_equal, (params, model_state), (loaded, loaded_state))
    with pytest.raises(WeightsError, match=f"{path}: these are resnet18 weights; the config says resnet34"):
        load_pretrained(str(path), "resnet34", *shapes("resnet34"))
    assert len(flatten_dict(loaded["backbone"])) == 60


def test_a_region_s_head_takes_the_hidden_layers_of_a_classifier_and_never_its_last(tmp_path):
    """Fast R-CNN on VGG-16: fc6 and fc7. The last would fit: 5 outputs here are the background and 4 classes."""
    file = tmp_path / "vgg16.safetensors"
    state = to_torchvision(*map(filled, shapes("vgg16", 5)), "vgg16")
    file.write_bytes(saved("safetensors", state))
    params, model_state = shapes("vgg16", 5)
    head = BoxHead(4, (8, 6)).init(jax.random.key(0), jnp.zeros((1, 2, 7, 7, 512)), False)["params"]
    params = {"backbone": params["backbone"], "box_head": head}
    loaded, _, report = load_pretrained(str(file), "vgg16", params, model_state, classes=("a", "b", "c", "d"))
    kernel = state["classifier.0.weight"].reshape(8, 512, 7, 7).transpose(2, 3, 1, 0).reshape(-1, 8)
    np.testing.assert_array_equal(loaded["box_head"]["hidden0"]["kernel"], kernel)
    np.testing.assert_array_equal(loaded["box_head"]["hidden1"]["bias"], state["classifier.3.bias"])
    assert loaded["box_head"]["class"] is head["class"] and loaded["box_head"]["box"] is head["box"]
    assert report.endswith("box_head: hidden0 and hidden1 from the same file.")
    wide = {**params, "box_head": {**head, "hidden0": {"kernel": jnp.zeros((25088, 9)), "bias": jnp.zeros(9)}}}
    loaded, _, report = load_pretrained(str(file), "vgg16", wide, model_state, classes=("a", "b", "c", "d"))
    assert loaded["box_head"]["hidden0"]["bias"].shape == (9,) and "hidden0 was left at its initialisation" in report
