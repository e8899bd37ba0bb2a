"""experiments/launching/request.py and tpus.py: what can be launched, and how the rest is refused."""

import pytest

from cnnvision.errors import ConfigError
from cnnvision.programs.chips import of_topology
from cnnvision.runs.plan import known_topologies
from experiments import launch
from experiments.launching.tpus import GENERATIONS, slice_of
from tests.conftest import ROOT
from tests.experiments.launching.commands import CONFIG, DATA, PLACE, files


def test_the_table_agrees_with_the_chips_that_plan_knows():
    for name, generation in GENERATIONS.items():
        if name == "tpu7x":
            continue  # libtpu's name for it, and its figures, are not in cnnvision/programs/chips.py
        assert of_topology(f"{name}:{generation.topologies[0]}").topologies == name
        known = {*known_topologies(name)} - {f"{name}:1x1x1"}
        assert known <= {f"{name}:{sides}" for sides in generation.topologies}
    chips = slice_of("tpu7x:2x2x2", "gce")
    assert (chips.chips, chips.hosts, chips.devices, chips.machine) == (8, 2, 16, "tpu7x-standard-4t")
    assert slice_of("v5e:1x1", "gke").machine == "ct5lp-hightpu-1t" and slice_of("v5e:4x4", "tpu-vm").type == "v5litepod-16"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"route": "gcp"}, r"--route: there is no 'gcp'\. Did you mean 'gce'\?"),
        ({"topology": "v6x:4x4"}, r"--topology=v6x:4x4: there is no 'v6x'\. Did you mean 'v6e'\?"),
        (
            {"topology": "v6e:3x5"},
            r"--topology=v6e:3x5: there is no such v6e\. Did you mean v6e:4x4\? Known by this route: 1x1, ",
        ),
        ({"topology": "v6e:8x4"}, r"Did you mean v6e:4x8\?"),
        ({"topology": "v6e"}, r"--topology=v6e: there is no such v6e\. Did you mean v6e:1x1\?"),
        (
            {"topology": "v5e:4x4"},
            r"--route=gce has no v5e; v5e is to be had with --route=gke or xpk or tpu-vm, and by this route",
        ),
        ({"workdir": "runs/mine"}, r"--workdir=runs/mine: this must be a folder in a bucket, gs://BUCKET/FOLDER$"),
        ({"workdir": "gs://bucket"}, r"--workdir=gs://bucket: this must be a folder in a bucket"),
        ({"project": "My Project"}, r"--project=My Project: this must be a project's ID"),
        (
            {"zone": "us-central1"},
            r"--zone=us-central1: this must be a zone, a region and a letter, for example us-central1-b",
        ),
        ({"name": "Run_1"}, r"--name=Run_1: this must be 1 to 40 letters"),
        ({"name": "a\nrm -rf /"}, r"--name=a\nrm"),
        ({"tfds": "gs://bucket/$(id)"}, r"--tfds=gs://bucket/\$\(id\): this must be a folder in a bucket, of letters"),
        ({"image": "tpu; id"}, r"--image=tpu; id: this must be REGISTRY/PATH:TAG"),
        ({"config": str(ROOT / "tests" / "conftest.py")}, r"has no function get_config"),
        (
            {"overrides": [*DATA, ("data.batch_size", "24")]},
            r"config\.data\.batch_size: 24 is no multiple of 16 devices; 32 would be",
        ),
        ({"overrides": [*DATA, ("optimizer.name", "foo")]}, r"config\.optimizer\.name: there is no 'foo'"),
        ({"overrides": [*DATA, ("data.size", "(63,63)")]}, r"config\.data\.size: \(63, 63\) must be multiples of 32"),
        ({"overrides": [*DATA, ("model.backbone.name", "foo")]}, r"there is no 'foo'"),
        ({"overrides": [*DATA, ("data.batchsize", "24")]}, r"has no key 'batchsize'\. Did you mean 'batch_size'\?"),
        (
            {"overrides": DATA[1:]},
            r"config\.data\.source is coco:data/coco, which the hosts do not have; .*=coco:gs://BUCKET/FOLDER",
        ),
        ({"overrides": DATA[:1]}, r"config\.model\.pretrained is resnet50-0676ba61\.pth, which the hosts do not have"),
        ({"config": "resnet50_imagenet", "overrides": []}, r"tfds:imagenet2012: say where .*--tfds=gs://BUCKET/FOLDER"),
    ],
)
def test_what_cannot_be_launched_is_one_line(given, message):
    asked = {"route": "gce", "topology": "v6e:4x4", "config": CONFIG, **PLACE, "overrides": DATA, **given}
    with pytest.raises(ConfigError, match=message) as raised:
        launch.run(**asked)
    assert "\n" not in str(raised.value).replace(given.get("name", ""), "")


def test_a_config_that_is_not_in_the_image_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text((ROOT / CONFIG).read_text())
    with pytest.raises(ConfigError, match=r"mine\.py: hosts have the files of .*configs in their image; put it there"):
        files("gce", "v6e:4x4", config=str(tmp_path / "mine.py"))
