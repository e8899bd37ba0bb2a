"""Checkpoints: Orbax, asynchronous and atomic, restored onto any mesh.

`checkpoints/STEP/` holds three items: `network` (parameters, model state, their average: all that evaluation needs),
`training` (the rest of the state) and `info` (JSON: the step, a fingerprint of the training ids). The last few are kept, and
the best one.
"""

import logging
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from cnnvision.errors import RunError
from cnnvision.storage import absolute, path_of
from cnnvision.training.sharding import state_layout
from cnnvision.training.state import TrainState
from cnnvision.training.stopping import another_is_gone

NETWORK = {"params": "params", "model_state": "model_state", "average": "ema_params"}
TRAINING = {name: name for name in ("step", "opt_state", "window", "failed")}
"""Name in a checkpoint -> field of `TrainState`."""


def _part(state: Any, fields: dict[str, str]) -> dict[str, Any]:
    return {name: getattr(state, field) for name, field in fields.items()}


def with_layout(abstract: Any, mesh: jax.sharding.Mesh, split_parameters: bool) -> Any:
    """Shapes and dtypes -> the same with the sharding that each leaf has on this mesh."""
    laid_out = lambda leaf, layout: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout)
    return jax.tree.map(laid_out, abstract, state_layout(abstract, mesh, split_parameters))


class Checkpoints:
    """The checkpoints of one run folder.

    Args:
        workdir: the run folder, local or remote.
        best: (metric, "max" or "min"): the checkpoint with the best one is kept; None for the last ones only.
        keep: how many of the last checkpoints are kept.
        read_only: nothing is ever written or deleted.
    """

    def __init__(
        self,
        workdir: epath.PathLike,
        best: tuple[str, Literal["max", "min"]] | None = None,
        keep: int = 2,
        read_only: bool = False,
    ):
        # Orbax warns of checkpoints without an evaluation and of folders that are only read; here both are as usual.
        expected = ("tracked_metric", "read only", "read_only")
        logging.getLogger("absl").addFilter(lambda record: not any(words in record.getMessage() for words in expected))
        self.best = best
        preserved = [policies.LatestN(keep)]
        if best:
            value = lambda metrics: metrics[best[0]]
            minimum = best[1] == "min"
            # By default Orbax would keep every checkpoint that was not evaluated.
            preserved.append(
                policies.BestN(get_metric_fn=value, reverse=minimum, n=1, keep_checkpoints_without_metrics=False)
            )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(preserved),
            best_fn=(lambda metrics: metrics[best[0]]) if best else None,
            best_mode=best[1] if best else "max",
            read_only=read_only,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
        )
        self.folder = absolute(path_of(workdir)) / "checkpoints"
        try:
            self.manager = ocp.CheckpointManager(self.folder, options=options)
        except (ValueError, KeyError, TypeError) as error:  # Orbax reads every step's metrics at once
            raise RunError(
                f"{self.folder}: a checkpoint is damaged ({str(error).splitlines()[0]}). Delete the folder of the step "
                "whose files are empty or cut off; the run goes on from the one before."
            ) from error

    @staticmethod
    def exist(workdir: epath.PathLike) -> bool:
        """Whether a run folder has the checkpoint of any step."""
        folder = path_of(workdir) / "checkpoints"
        return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, in order."""
        return sorted(self.manager.all_steps())

    def latest(self) -> int | None:
        """The last complete step, or None."""
        return self.manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the best metric; the last one where none was evaluated."""
        best = self.manager.best_step() if self.best else None
        return self.latest() if best is None else best

    def save(self, state: TrainState, info: dict[str, Any], metrics: dict[str, float] | None) -> None:
        """Begins to save; returns when the state may be donated again. A step that is there already is not saved twice.

        Args:
            info: JSON values.
            metrics: of an evaluation at this step, or None.
        """
        step = int(state.step)
        if step in self.manager.all_steps():
            return
        if jax.default_backend() == "cpu":
            # What the writer sees of a CPU array is the array's own memory, which the next step may overwrite.
            state = jax.tree.map(jnp.copy, state)
        value = (metrics or {}).get(self.best[0], math.nan) if self.best else math.nan
        chosen = {self.best[0]: value} if math.isfinite(value) else None
        self.manager.save(
            step,
            args=ocp.args.Composite(
                network=ocp.args.StandardSave(_part(state, NETWORK)),
                training=ocp.args.StandardSave(_part(state, TRAINING)),
                info=ocp.args.JsonSave({**info, "step": step}),
            ),
            metrics=chosen,
        )

    def info(self, step: int) -> dict[str, Any]:
        """The JSON that was saved with a step."""
        return self._restore(step, ocp.args.Composite(info=ocp.args.JsonRestore()))["info"]

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """The whole state of a step, placed as `abstract` (from `with_layout`) says."""
        items = ocp.args.Composite(
            network=ocp.args.StandardRestore(_part(abstract, NETWORK)),
            training=ocp.args.StandardRestore(_part(abstract, TRAINING)),
        )
        found = self._restore(step, items)
        fields = {**NETWORK, **TRAINING}
        return TrainState(
            **{fields[name]: tree for part in (found["network"], found["training"]) for name, tree in part.items()}
        )

    def restore_network(self, step: int, params: Any, model_state: Any, ema_params: Any) -> tuple[Any, Any]:
        """(parameters to predict with, model state) of a step; arguments are abstract, from `with_layout`."""
        wanted = {"params": params, "model_state": model_state, "average": ema_params}
        found = self._restore(step, ocp.args.Composite(network=ocp.args.StandardRestore(wanted)))["network"]
        return (found["params"] if ema_params is None else found["average"]), found["model_state"]

    def _restore(self, step: int, items: Any) -> Any:
        if step not in self.manager.all_steps():
            known = ", ".join(map(str, self.steps())) or "none"
            raise RunError(f"{self.folder}: there is no checkpoint of step {step}. Steps there: {known}.")
        try:
            found = self.manager.restore(step, args=items)
            found[next(iter(items.keys()))]  # an item that is not on the disk raises KeyError here
            return found
        except (ValueError, KeyError, TypeError, OSError) as error:
            older = [other for other in self.steps() if other < step]
            cure = f"delete that folder, and the run goes on from step {older[-1]}" if older else "delete that folder"
            raise RunError(
                f"{self.folder / str(step)}: the checkpoint is damaged, or does not fit the network that the run's config "
                f"describes ({(str(error) or type(error).__name__).splitlines()[0]}). If it is damaged, {cure}; if the code "
                "has changed since, train anew in another folder."
            ) from error

    def wait(self) -> None:
        """Waits for the writing to end."""
        self.manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the writing to end, and ends."""
        self.wait()
        self.manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is None or not another_is_gone(error):  # processes end their writing together: one that is gone never does
            self.close()
