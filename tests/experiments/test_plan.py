"""experiments.plan: what a run needs on devices that need not be here."""

import jax
import pytest

from cnnvision.errors import ConfigError, RunError
from cnnvision.programs.chips import of_device, of_topology, product_type
from cnnvision.programs.compiling import Needs
from cnnvision.programs.traffic import Collective
from cnnvision.runs.configuration import load_config
from cnnvision.runs.plan import Plan, changed, known_topologies, least_seconds, smaller
from experiments import plan
from experiments.reports import plans

SMOKE = "configs/classifier_shapes.py:smoke"
SUMS = (Collective("all-reduce", 8_000_000, False, "loss"), Collective("all-reduce", 2_000_000, False, "loss"))


@pytest.fixture(autouse=True)
def promotion_of_optax():
    with jax.numpy_dtype_promotion("standard"):
        yield


def needs(flops=1e12, traffic=1e9, crossing=SUMS, temporaries=2**30):
    return Needs(60.0, 2**30, temporaries, 2**20, flops, traffic, crossing)


def test_chips_are_found_by_topology_and_by_what_devices_call_themselves():
    assert of_topology("v5e:4x4").name == "TPU v5e" and of_topology("v4:2x2x1").name == "TPU v4"
    assert of_device("TPU v5 lite").name == "TPU v5e" and of_device("TPU v5p").name == "TPU v5p"
    assert of_device("TPU v6 lite").name == "TPU v6e" and of_device("NVIDIA H100 80GB HBM3").name == "NVIDIA H100"
    assert of_device("cpu") is None
    with pytest.raises(ConfigError, match=r"--topology=v5x:4x4: 'v5x' is no chip that is known. Did you mean 'v5[ep]'\?"):
        of_topology("v5x:4x4")


def test_the_least_time_is_that_of_arithmetic_memory_and_network():
    """v5e: 197 TFLOP/s, 819 GB/s, 400 GB/s in and out. A sum of 10 MB over four chips: each sends 1.5 times as much, and
    receives as much."""
    least = least_seconds(needs(), of_topology("v5e:2x2"), 4, "bf16")
    assert least == pytest.approx({"compute": 1 / 197, "memory": 1 / 819, "network": 2 * 1.5 * 10e6 / 400e9})
    assert least_seconds(needs(), of_topology("v5e:1x1"), 1, "bf16")["network"] == 0.0
    assert least_seconds(needs(), of_topology("v5e:1x1"), 1, "f32")["compute"] == pytest.approx(6 / 197)


def test_products_are_of_bfloat16_unless_asked_for_in_full():
    config = load_config(SMOKE)
    assert product_type(config, "TPU v5e") == "bf16" and product_type(config, "NVIDIA H100") == "f32"
    config.training.matmul_precision = "highest"
    assert product_type(config, "TPU v5 lite") == "f32"


def test_the_plan_s_memory_is_that_of_the_larger_program():
    of = lambda step, prediction: Plan(4, 1, ((32, 32), (64, 48)), 2**29, 2**28, 2**20, step, prediction).memory
    assert of(needs(), needs(temporaries=0)) == 2**30 + 2**30 + 2**20
    assert of(needs(temporaries=0), needs()) == 2**29 - 2**28 + 2**30 + 2**30 + 2**20


def test_changes_that_need_less_memory_keep_the_batch_divided():
    config = load_config(SMOKE)
    config.data.batch_size, config.data.eval_batch_size = 32, 64
    of = lambda step, prediction, devices: Plan(devices, 1, ((32, 32),), 2**29, 2**28, 2**20, step, prediction)
    assert smaller(config, of(needs(), needs(temporaries=0), 8)) == [
        ("training.accumulate", 2), ("training.accumulate", 4), ("training.split_parameters", True),
        ("data.batch_size", 16), ("data.batch_size", 8),
    ]  # fmt: skip
    config.training.accumulate = 4
    found = [("training.accumulate", 8), ("training.split_parameters", True), ("data.batch_size", 16)]
    assert smaller(config, of(needs(), needs(temporaries=0), 4)) == found
    of_prediction = smaller(config, of(needs(temporaries=0), needs(), 8))
    assert of_prediction == [("data.eval_batch_size", size) for size in (32, 16, 8)]
    other = changed(config, {"training.split_parameters": True, "data.batch_size": 8})
    assert other.training.split_parameters and other.data.batch_size == 8 and config.data.batch_size == 32


def test_where_it_does_not_fit_what_would_is_named(monkeypatch):
    """Each change is compiled until one fits; here the memory is as the batch says."""
    made = lambda config, info, mesh: Plan(
        4, 1, ((32, 32),), 1, 1, 1, needs(temporaries=2**28 * config.data.batch_size), needs(temporaries=0)
    )
    monkeypatch.setattr("cnnvision.runs.plan.plan", made)
    monkeypatch.setattr("cnnvision.runs.plan.topology_mesh", lambda topology: None)
    monkeypatch.setattr(plan, "pipeline_rate", lambda config: None)
    config, said = load_config(SMOKE), []
    config.data.batch_size = 80
    figures = plan.run(config, "v5e:2x2", 6, None, said.append)
    assert not figures["fits"] and figures["cure"] == "--config.data.batch_size=40"
    assert "- With --config.training.accumulate=2: 21.00 GiB a chip" in said
    assert "- With --config.data.batch_size=40: 11.00 GiB a chip: it fits" in said


def test_what_a_plan_says():
    said, config = [], load_config(SMOKE)
    config.data.batch_size, config.training.steps = 64, 3600
    made = Plan(4, 1, ((32, 32), (64, 48)), 2**29, 2**28, 2**20, needs(), needs(flops=1e10, traffic=1e8, crossing=()))
    figures = plans.table(config, made, of_topology("v5e:2x2"), 1.2, said.append)
    text = said[0]
    assert "4 × TPU v5e, 1" in text and "2.25 GiB of 16.00 GiB" in text and "TOO MUCH" not in text
    assert "64×48, the largest of 2 sizes" in text
    assert "2 all-reduce of 10.0 MB" in text and "5.1 ms, bound by compute (products in bf16)" in text
    assert figures["fits"] and figures["step_seconds"] == pytest.approx(1 / 197)
    assert figures["images_per_second"] == pytest.approx(64 * 197)
    assert figures["dollars"] == pytest.approx(3600 / 197 / 3600 * 4 * 1.2)
    large = Plan(4, 1, ((32, 32), (64, 48)), 2**29, 2**28, 2**20, needs(temporaries=2**34), needs())
    assert not plans.table(config, large, of_topology("v5e:2x2"), None, said.append)["fits"]
    assert "17.00 GiB of 16.00 GiB: TOO MUCH" in said[-1]


def test_here_some_steps_are_run(few_shapes):
    said = []
    figures = plan.run(load_config(SMOKE), say=said.append)
    assert figures["fits"] and figures["step_seconds"] > 0 and figures["memory"] > 2**26
    assert any("measured: the median of some steps" in line for line in said)
    assert "this machine's" in said[-1] and "a core" in said[-1]


def test_data_that_are_elsewhere_need_the_number_of_their_classes():
    config = load_config(SMOKE)
    config.data.source = "coco:/nowhere/coco"
    with pytest.raises(ConfigError, match=r"there is no folder .* give it with --classes=N"):
        plan.info_of(config, None)
    assert len(plan.info_of(config, 80).classes) == 80


def test_without_libtpu_the_cure_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match="pip install libtpu"):
        plan.run(load_config(SMOKE), "v5e:2x2", 6)


def test_a_topology_that_is_compiled_for():
    pytest.importorskip("libtpu")
    said = []
    config = load_config(SMOKE)
    figures = plan.run(config, "v5e:2x2", 6, 1.2, said.append)
    assert figures["fits"] and figures["dollars"] > 0 and "all-reduce" in said[0]
    with pytest.raises(ConfigError, match=r"libtpu knows no such topology .* For example v5e:2x2"):
        plan.run(config, "v5e:3x5", 6, None, said.append)
    assert "v5e:4x4" in known_topologies("v5e")
