"""A trained network in ONNX, by jax2onnx: for programs that know no JAX. Checked by ONNX's own runtime before it is written.

What jax2onnx cannot say in ONNX is refused: the suppressions of detectors, above all.
"""

import contextlib
import io
import logging
import unittest.mock

import jax
import numpy as np

from cnnvision.errors import CnnvisionError, ConfigError
from cnnvision.runs.export import abstract, check_exportable, flat, predictor
from cnnvision.runs.open import Trained

CURE = "pip install 'cnnvision[onnx]'"
ALLOWED = 1e-4
"""Of the largest value of an output: by how much the two may differ."""


def onnx_of(trained: Trained) -> tuple[bytes, dict[str, float]]:
    """The prediction for one image: inputs `image` uint8 [1, h, w, 3] RGB and `size` int32 [1, 2], the (height, width) of
    the part that is image; outputs by the names of the task's prediction, in pixels of the input.

    Returns:
        The file's content; of each output, by how much ONNX's runtime and JAX differ on a drawn image, as a share of its
        largest value.

    Raises:
        ConfigError: a detector; or the libraries are not there. CnnvisionError: the two differ.
    """
    check_exportable(trained)
    task = trained.task
    parameters = jax.device_get(flat(trained.params, trained.model_state))
    outputs = jax.eval_shape(predictor(task), parameters, *abstract(task))
    if "valid" in outputs:
        raise ConfigError(
            f"config.model.name = {trained.config.model.name}: detectors are not written in ONNX; export without --onnx"
        )
    try:
        import onnxruntime

        logging.getLogger("jax2onnx").setLevel(logging.ERROR)  # it tells of its plug-ins for libraries that are not here
        from jax2onnx import to_onnx
    except ImportError as error:
        raise ConfigError(f"--onnx: {error}; {CURE}, in an environment of its own with this package") from error

    def predict(image, size):
        found = predictor(task)(parameters, image, size)
        return tuple(found[name] for name in outputs)

    # jax2onnx knows no choice between platforms; XLA's own operations are the ones that it knows.
    elsewhere = lambda *arguments, default, **platforms: default(*arguments)
    height, width = task.inputs.sizes[0]
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    sizes = [np.array([size], np.int32) for size in ((height, width), (height, -(-width * 2 // 3)))]
    expected = [jax.device_get(jax.jit(predict)(image, size)) for size in sizes]
    try:
        with contextlib.redirect_stdout(io.StringIO()), unittest.mock.patch.object(jax.lax, "platform_dependent", elsewhere):
            jax.clear_caches()  # of functions that were traced with the choice
            names = {"input_names": ["image", "size"], "output_names": list(outputs)}
            content = to_onnx(predict, list(abstract(task)), model_name=trained.config.model.name, **names)
        content = content.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found = [session.run(list(outputs), {"image": image, "size": size}) for size in sizes]
    except Exception as error:  # of whatever kind: both libraries raise many
        name, said = trained.config.model.name, str(error).splitlines()[0][:200]
        raise CnnvisionError(
            f"jax2onnx or ONNX's runtime cannot do what {name} does ({said}); export without --onnx"
        ) from error
    finally:
        jax.clear_caches()
    pairs = [list(zip(*each, strict=True)) for each in zip(found, expected, strict=True)]
    differences = {name: max(difference(*of_size[i]) for of_size in pairs) for i, name in enumerate(outputs)}
    if not max(differences.values()) <= ALLOWED:
        raise CnnvisionError(f"ONNX's runtime computes something else than JAX, by a share of {differences}: not written")
    return content, differences


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, of the largest value; of classes the share that differs; infinite where a number is none."""
    if expected.dtype == np.uint8:
        return float(np.mean(found != expected))
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
