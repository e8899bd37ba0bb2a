"""Everything that a run is at one step; what a checkpoint holds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from cnnvision.task import Array, Mean, Task
from cnnvision.types import Batch


@struct.dataclass
class TrainState:
    """Attributes:
    step: int32, number of updates made.
    params, model_state: the network.
    opt_state: of optax.
    ema_params: exponential moving average of the parameters, or None where the config asks for none.
    window: the metrics summed since the last logged step; kept here so that a resumed run logs the same numbers.
    failed: bool, True once a loss or a gradient was not finite: from then on the state stays as it was before it.
    """

    step: Array
    params: Any
    model_state: Any
    opt_state: Any
    ema_params: Any
    window: dict[str, Mean]
    failed: Array

    def best_params(self) -> Any:
        """The parameters to predict with: the average where there is one."""
        return self.params if self.ema_params is None else self.ema_params


def metric_names(task: Task, params: Any, model_state: Any, batch: Batch) -> list[str]:
    """The metrics of a training step, without running one: those of the task, then `loss` and `gradient_norm`."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    _, aux = jax.eval_shape(lambda p, s, b, k: task.loss(p, s, b, k, True), params, model_state, batch, key)
    return [*aux.metrics, "loss", "gradient_norm"]


def begin(task: Task, make_optimizer: Callable, params: Any, model_state: Any, batch: Batch, keep_ema: bool) -> TrainState:
    """The state before the first step, from parameters that are already there.

    Args:
        make_optimizer: tree of bools (what may move) -> optimizer.
        batch: for shapes only.
        keep_ema: whether the run keeps a moving average of its parameters.
    """
    zero = lambda: Mean(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=make_optimizer(task.trainable(params)).init(params),
        ema_params=jax.tree.map(jnp.copy, params) if keep_ema else None,
        window={name: zero() for name in metric_names(task, params, model_state, batch)},
        failed=jnp.zeros((), bool),
    )
