"""One device and eight take the same step.

What the layers compute forward is the same bit by bit, so that no activation changes the side of ReLU's kink: gradients then
differ by the rounding of their own sums alone.
"""

import jax
import numpy as np
import pytest

from cnnvision.ops.per_image import on_mesh
from cnnvision.training.sharding import everywhere, make_mesh, put_batch
from cnnvision.training.step import loss_and_gradient, step_key
from tests.models import tasks
from tests.models.segmenters import start, task_of
from tests.training.test_processes import distance


@pytest.mark.parametrize("name", ["localizer", "patchnet", "fullres", "encdec", "unet"])
def test_one_device_and_eight_take_the_same_step(name):
    task = task_of(name, (96, 96))
    params, model_state = jax.device_get(start(task))
    batch = tasks.make_batch(task, rows=16)
    batch = batch.replace(valid=np.arange(16) % 5 < 4)
    results = []
    for mesh in (make_mesh(jax.devices()[:1]), make_mesh()):
        step = lambda params, state, batch: loss_and_gradient(task, params, state, batch, step_key(0, np.int32(3)))
        run = jax.jit(on_mesh(step, mesh), out_shardings=everywhere(mesh))
        placed = jax.device_put((params, model_state), everywhere(mesh))
        results.append(jax.device_get(run(*placed, put_batch(jax.device_get(batch), mesh))))
    (gradients, state, _, loss), (on_eight, state_on_eight, _, loss_on_eight) = results
    jax.tree.map(np.testing.assert_array_equal, state_on_eight, state)
    assert loss_on_eight == pytest.approx(loss, rel=1e-6)
    assert distance(jax.tree.leaves(gradients), jax.tree.leaves(on_eight)) <= 3e-6
