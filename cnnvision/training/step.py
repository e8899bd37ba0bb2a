"""One training step: loss, gradient, update, guard. A pure function of (state, batch), compiled once a declared shape."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from cnnvision.task import Array, Mean, Task
from cnnvision.training.state import TrainState
from cnnvision.types import Batch


@struct.dataclass
class StepReport:
    """What the host may want to read of a step. Attributes:
    window: metrics summed since the last logged step, this one included.
    failed: bool, the state is frozen because this step or one before it was not finite.
    stop: bool, at least one process asked to stop when it called this step; the same on all processes.
    """

    window: dict[str, Mean]
    failed: Array
    stop: Array


def step_key(seed: Array | int, step: Array) -> Array:
    """The key of all random draws inside one step."""
    return jax.random.fold_in(jax.random.key(seed), step)


def loss_and_gradient(
    task: Task, params: Any, model_state: Any, batch: Batch, key: Array, accumulate: int = 1
) -> tuple[Any, Any, dict[str, Mean], Array]:
    """The gradient over a whole batch, computed in `accumulate` slices one after the other.

    Exact: each slice's sums are divided by the counts of the whole batch, so the result is that of one big batch, however
    the valid rows are spread over the slices. (BatchNorm normalises each slice by itself; that part is another network.)

    Returns:
        gradients, model_state, metrics of the whole batch, loss.
    """

    def objective(params, model_state, batch, key, counts):
        loss, aux = task.loss(params, model_state, batch, key, True)
        return loss.value(counts), (loss, aux)

    gradient = jax.value_and_grad(objective, has_aux=True)
    if accumulate == 1:
        (loss, (_, aux)), gradients = gradient(params, model_state, batch, key, None)
        return gradients, aux.model_state, aux.metrics, loss

    # Row i goes to slice i mod accumulate: each device cuts its own rows, and nothing moves between devices.
    cut = lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0)
    slices, keys = jax.tree.map(cut, batch), jax.random.split(key, accumulate)

    def count(slice_and_key):
        loss, _ = task.loss(params, model_state, *slice_and_key, True)
        return tuple(term.count for term in loss.terms)

    # Counts depend on targets, not on the network, which the compiler therefore leaves out of this pass.
    counts = jax.tree.map(jnp.sum, jax.lax.map(count, (slices, keys)))

    def accumulate_slice(carry, slice_and_key):
        gradients, model_state, total = carry
        batch, key = slice_and_key
        (loss, (_, aux)), more = gradient(params, model_state, batch, key, counts)
        return (jax.tree.map(jnp.add, gradients, more), aux.model_state, total + loss), aux.metrics

    start = (jax.tree.map(jnp.zeros_like, params), model_state, jnp.zeros((), jnp.float32))
    (gradients, model_state, loss), metrics = jax.lax.scan(accumulate_slice, start, (slices, keys))
    return gradients, model_state, jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics), loss


def make_train_step(
    task: Task,
    make_optimizer: Callable[[Any], optax.GradientTransformation],
    *,
    log_every: int,
    accumulate: int = 1,
    ema_decay: float = 0.0,
) -> Callable[..., tuple[TrainState, StepReport]]:
    """(state, batch, stop, seed of the run) -> (state after the step, report), to be jitted with the state donated.

    The seed is no part of the program: that of another seed need not be compiled again.

    A step whose loss, gradient or update is not finite leaves the state as it was (inside the program, because the old
    buffers are gone afterwards), marks it as failed, and so do all later steps: the run can still save the last good state.

    Args:
        make_optimizer: tree of bools (what may move) -> optimizer.
        log_every: the window of metrics is emptied after each step that is a multiple of it.
        accumulate: slices that the batch is cut into.
        ema_decay: d of the parameters' moving average, a ← d·a + (1 − d)·p; 0 for none. It warms up with
            min(d, (1 + step) / (10 + step)), so that a short run is not the average of its beginning.
    """

    def train_step(state: TrainState, batch: Batch, stop: Array, seed: Array | int = 0) -> tuple[TrainState, StepReport]:
        optimizer = make_optimizer(task.trainable(state.params))
        gradients, model_state, metrics, loss = loss_and_gradient(
            task, state.params, state.model_state, batch, step_key(seed, state.step), accumulate
        )
        moving = jax.tree.map(lambda g, moves: g if moves else jnp.zeros_like(g), gradients, task.trainable(state.params))
        norm = optax.tree.norm(moving)
        updates, opt_state = optimizer.update(moving, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        step = state.step + 1

        one = jnp.ones((), jnp.float32)
        metrics = {**metrics, "loss": Mean(loss, one), "gradient_norm": Mean(norm, one)}
        window = {name: state.window[name].merge(metric) for name, metric in metrics.items()}
        average = state.ema_params
        if ema_decay:
            made = state.step.astype(jnp.float32)
            decay = jnp.minimum(ema_decay, (1.0 + made) / (10.0 + made))
            average = jax.tree.map(lambda a, p: decay * a + (1.0 - decay) * p, average, params)

        finite = jnp.isfinite(loss) & jnp.isfinite(norm) & jnp.isfinite(optax.tree.norm(updates))
        failed = state.failed | ~finite
        emptied = jax.tree.map(lambda x: jnp.where(step % log_every == 0, 0.0, x), window)
        new = TrainState(step, params, model_state, opt_state, average, emptied, failed)
        kept = jax.tree.map(lambda old, new: jnp.where(failed, old, new), state, new)
        return kept.replace(failed=failed), StepReport(window, failed, jnp.any(stop))

    return train_step


class CompiledOnce:
    """A function compiled ahead of time, once for each shape of its arguments, with a record of every compilation.

    Attributes:
        compilations: one line for each: what was compiled, in how many seconds, and, after the first, which shape is new.
        programs: the compiled programs, by shapes; for memory and cost analysis.
    """

    def __init__(self, name: str, jitted: Any, clock: Callable[[], float]):
        self.name, self.jitted, self.clock = name, jitted, clock
        self.programs: dict[Any, Any] = {}
        self.compilations: list[str] = []

    def __call__(self, *arguments):
        leaves, structure = jax.tree.flatten(arguments)
        shapes = (structure, tuple((x.shape, str(x.dtype)) for x in leaves))
        if shapes not in self.programs:
            self.programs[shapes] = self._compile(shapes, arguments)
        return self.programs[shapes](*arguments)

    def _compile(self, shapes, arguments):
        begin = self.clock()
        program = self.jitted.lower(*arguments).compile()
        line = f"compiled {self.name} in {self.clock() - begin:.1f} s"
        if self.programs:
            before = next(reversed(self.programs))[1]
            new = [f"{a[0]} {a[1]} -> {b[0]} {b[1]}" for a, b in zip(before, shapes[1], strict=False) if a != b]
            line += f", again: argument shapes changed ({'; '.join(new[:4]) or 'another structure'})"
        self.compilations.append(line)
        return program
