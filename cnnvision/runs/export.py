"""A trained network as files that outlive this package: its prediction as StableHLO (`jax.export`), its parameters as
safetensors, what must be known of both as JSON, and a script that predicts with them (exported_predict.py).

A program is read by the JAX that wrote it, and by those released within six months after that one, as JAX promises
(https://docs.jax.dev/en/latest/export/export.html), so it is no archive. The parameters are: their names are the modules' of
models/, and their file is read without JAX.
"""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from cnnvision.data.batching import empty_batch
from cnnvision.errors import ConfigError, RunError
from cnnvision.pretrained.safetensors_files import safetensors_of
from cnnvision.runs.network import names_of
from cnnvision.runs.open import Trained
from cnnvision.storage import path_of, write_whole
from cnnvision.task import Task
from cnnvision.types import Batch, DetectionPrediction, SegmentationPrediction

PLATFORMS = ("cpu", "cuda", "tpu")
READABLE = f"JAX {jax.__version__}, and every JAX that is released within six months after it"
FILES = ("predict.bin", "parameters.safetensors", "predict.py")
SCRIPT = pathlib.Path(__file__).with_name("exported_predict.py")


def flat(params: Any, model_state: Any) -> dict[str, jax.Array]:
    """Parameters and state by path: "params/backbone/stem/kernel", "batch_stats/…"."""
    return flatten_dict({"params": params, **model_state}, sep="/")


def predictor(task: Task) -> Callable[[dict[str, Any], Any, Any], dict[str, Any]]:
    """The prediction as a function of named arrays alone.

    Args:
        task: of a model without proposals that are made ahead of it.

    Returns:
        (parameters as `flat` names them, image uint8 [b, h, w, 3] RGB, size int32 [b, 2] (height, width) of the part that is
        image) -> the fields of the task's prediction by name, in pixels of the input.
    """

    def predict(parameters, image, size):
        model_state = unflatten_dict(parameters, sep="/")
        params, count = model_state.pop("params"), image.shape[0]
        prediction = task.predict(
            params,
            model_state,
            Batch(
                image=image,
                size=size,
                valid=jnp.ones(count, bool),
                index=jnp.zeros(count, jnp.int32),
                transform=jnp.broadcast_to(jnp.eye(2, 3, dtype=jnp.float32), (count, 2, 3)),
                core=jnp.concatenate([jnp.zeros_like(size), size[:, ::-1]], axis=1),
            ),
        )
        fields = [field.name for field in dataclasses.fields(prediction) if field.metadata.get("pytree_node", True)]
        return {name: getattr(prediction, name) for name in fields}

    return predict


def abstract(task: Task, batch: Any = 1) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Image and size that a `predictor` takes, as shapes; `batch` may be a symbol."""
    shape = lambda *sides, dtype: jax.ShapeDtypeStruct((batch, *sides), dtype)
    return shape(*task.inputs.sizes[0], 3, dtype=jnp.uint8), shape(2, dtype=jnp.int32)


def exported(trained: Trained, platforms: Sequence[str] = PLATFORMS) -> jax.export.Exported:
    """The prediction of a network for batches of any size.

    Raises:
        ConfigError: a model with proposals that are made ahead of it.
    """
    task = trained.task
    check_exportable(trained)
    parameters = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), flat(trained.params, trained.model_state))
    (batch,) = jax.export.symbolic_shape("b")
    return jax.export.export(jax.jit(predictor(task)), platforms=platforms)(parameters, *abstract(task, batch))


def check_exportable(trained: Trained) -> None:
    """Raises ConfigError where a prediction needs more than an image."""
    if (proposals := trained.task.inputs.proposals) is not None:
        raise ConfigError(
            f"config.model.name = {trained.config.model.name}: looks at proposals ({proposals.method}) that are made ahead "
            "of the network and are no part of it. Export a network that needs none, such as faster_rcnn."
        )


def about(trained: Trained) -> dict[str, Any]:
    """What must be known of a network to predict with it, as JSON values."""
    task, spec = trained.task, trained.task.inputs
    parameters = flat(trained.params, trained.model_state)
    prediction = jax.eval_shape(task.predict, trained.params, trained.model_state, empty_batch(spec, 1))
    outputs = jax.eval_shape(predictor(task), parameters, *abstract(task))
    kind = {SegmentationPrediction: "map", DetectionPrediction: "objects"}
    return {
        "format": 1,
        "model": trained.config.model.name,
        "step": trained.step,
        "kind": next((name for of, name in kind.items() if isinstance(prediction, of)), "class"),
        "classes": list(names_of(task, trained.info)),
        "size": list(spec.sizes[0]),
        "resize": spec.resize,
        "crop_fraction": spec.crop_fraction,
        "margin": spec.margin,
        "tile_step": spec.tile_step,
        "image": "uint8 RGB, not normalised; 0 right of and below its size",
        "alignment": getattr(prediction, "alignment", None),
        "score_threshold": trained.threshold,
        "outputs": {name: {"shape": ["b", *each.shape[1:]], "dtype": str(each.dtype)} for name, each in outputs.items()},
    }


def write(trained: Trained, folder: Any, command: str, platforms: Sequence[str] = PLATFORMS) -> dict[str, Any]:
    """Writes predict.bin, parameters.safetensors, export.json and predict.py into a folder; returns what export.json holds.

    Args:
        trained: the network.
        folder: made where it is not there.
        command: what exports it again.
        platforms: that it is exported for.

    Raises:
        ConfigError: as `exported`. RunError: the folder has files of these names that come from elsewhere.
    """
    folder = path_of(folder)
    if not (folder / "export.json").exists() and (there := [name for name in FILES if (folder / name).exists()]):
        raise RunError(f"--output={folder}: has a {there[0]} that `export` did not write; name another folder")
    program = exported(trained, platforms)
    content = about(trained) | {
        "platforms": list(platforms),
        "jax": jax.__version__,
        "exported": str(datetime.date.today()),
        "readable_by": READABLE,
        "export_again": command,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "predict.bin", bytes(program.serialize()))
    parameters = jax.device_get(flat(trained.params, trained.model_state))
    write_whole(folder / "parameters.safetensors", safetensors_of(parameters))
    write_whole(folder / "export.json", json.dumps(content, indent=1) + "\n")
    write_whole(folder / "predict.py", SCRIPT.read_text("utf-8"))
    return content
