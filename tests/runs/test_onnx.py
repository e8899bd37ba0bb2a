"""Networks in ONNX; where jax2onnx is (`make test-onnx`), each is run by ONNX's own runtime."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from cnnvision.errors import ConfigError
from cnnvision.runs import onnx
from tests.conftest import ROOT
from tests.runs.test_export import drawn

HERE = importlib.util.find_spec("jax2onnx") is not None
KINDS = ("classifier_shapes", "localizer_shapes", "unet_shapes", "encdec_shapes", "fullres_shapes", "patchnet_shapes")

IN_A_PROCESS = """
import sys
import numpy, onnxruntime
from cnnvision.runs.export import abstract, flat, predictor
from cnnvision.runs.onnx import onnx_of
from tests.runs.test_export import drawn
for config in sys.argv[1:]:
    trained = drawn(f"{config}:smoke", {})
    content, differences = onnx_of(trained)
    assert max(differences.values()) < 1e-5, (config, differences)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    image, size = (numpy.full(each.shape, 50, each.dtype) for each in abstract(trained.task))
    expected = predictor(trained.task)(flat(trained.params, trained.model_state), image, size)
    for name, value in expected.items():
        (found,) = session.run([name], {"image": image, "size": size})
        numpy.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-4, err_msg=f"{config} {name}")
"""
"""jax2onnx puts functions of its own into Flax, which the types that tests check everywhere else do not allow."""


@pytest.mark.skipif(not HERE, reason="needs jax2onnx, in an environment of its own: make test-onnx")
def test_its_own_runtime_predicts_what_jax_does():
    command = [sys.executable, "-c", IN_A_PROCESS, *KINDS]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]


def test_detectors_are_refused():
    with pytest.raises(ConfigError, match=r"config\.model\.name = yolo: detectors are not written in ONNX"):
        onnx.onnx_of(drawn("yolo_shapes:smoke", {}))


@pytest.mark.skipif(HERE, reason="jax2onnx is there")
def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"--onnx: No module named .*; pip install 'cnnvision\[onnx\]'"):
        onnx.onnx_of(drawn("classifier_shapes:smoke", {}))


def test_how_far_outputs_are_apart():
    assert onnx.difference(np.array([1.0, 3.0]), np.array([1.0, 4.0])) == 0.25
    assert onnx.difference(np.array([np.nan, 3.0]), np.array([1.0, 4.0])) == np.inf
    assert onnx.difference(np.array([1, 2, 3, 4], np.uint8), np.array([1, 2, 3, 0], np.uint8)) == 0.25
