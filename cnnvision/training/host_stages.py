"""The stages after the training steps: parameters fitted to the network's outputs (`cnnvision.task.HostStage`).

The outputs are written to `outputs/` in the run folder, one file a batch and process, in a folder named by a digest of the
weights; the fit reads them as often as it needs, and they are removed when its result is saved. So a stage that was killed
continues with the batch that it had reached, and memory holds no more than the fit itself keeps.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from cnnvision.ops.images import on_mesh
from cnnvision.storage import path_of, write_whole
from cnnvision.task import HostStage
from cnnvision.training.sharding import from_first, gather, local_rows, put_batch
from cnnvision.training.state import TrainState
from cnnvision.training.stopping import StopRequest

SPOKEN = 20
"""Batches between two lines about progress."""


class Outputs:
    """The network's outputs on the batches of a split, in files.

    Args:
        folder: of the run.
        stage: what computes them.
        state: the weights.
        mesh: the devices.
        batches: first batch -> the pipeline's batches from there on, this process's rows.
        data: fingerprint of the split.
    """

    def __init__(
        self,
        folder: epath.PathLike,
        stage: HostStage,
        state: TrainState,
        mesh: jax.sharding.Mesh,
        batches: Callable[[int], Any],
        data: str,
    ):
        self.stage, self.state, self.mesh, self.batches = stage, state, mesh, batches
        digest = hashlib.sha256(f"{stage.name} {stage.examples} {data} {mesh.size} {jax.process_count()}".encode())
        for leaf in jax.tree.leaves(gather((state.best_params(), state.model_state))):
            digest.update(np.ascontiguousarray(leaf).tobytes())
        self.folder = path_of(folder) / "outputs" / f"{stage.name}_{digest.hexdigest()[:16]}"

    def collect(self, stop: StopRequest, say: Callable[[str], None]) -> bool:
        """Computes what is not there yet; False where a process was asked to stop before the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        program = jax.jit(on_mesh(self.stage.outputs, self.mesh))
        params, model_state = self.state.best_params(), self.state.model_state
        done = 0
        while self._file(done).exists():
            done += 1
        if _asked(stop):
            return False
        for loaded in self.batches(int(_of_all(done).min())):
            for problem in loaded.failures:
                say(f"not used: {problem}")
            outputs = jax.tree.map(local_rows, program(params, model_state, put_batch(loaded.batch, self.mesh)))
            buffer = io.BytesIO()
            np.savez(buffer, **{name: rows[loaded.batch.valid] for name, rows in outputs.items()})
            write_whole(self._file(loaded.step), buffer.getvalue())
            if loaded.step % SPOKEN == SPOKEN - 1:
                say(f"{self.stage.name}: outputs of {loaded.step + 1} batches")
            if _asked(stop):
                return False
        _of_all(True)  # nobody reads before all have written
        return True

    def read(self) -> Iterator[dict[str, np.ndarray]]:
        """The outputs, batch by batch, in the order of the split."""
        step = 0
        while self._file(step, 0).exists():
            for process in range(jax.process_count()):
                with np.load(io.BytesIO(self._file(step, process).read_bytes()), allow_pickle=False) as found:
                    yield dict(found)
            step += 1

    def _file(self, step: int, process: int | None = None) -> epath.Path:
        return self.folder / f"{step:06}_{jax.process_index() if process is None else process}.npz"


def remove_outputs(folder: epath.PathLike) -> None:
    """Deletes the outputs in a run folder, those of a stage begun with other weights, too. All processes call it."""
    outputs = path_of(folder) / "outputs"
    _of_all(True)  # all have read
    if jax.process_index() == 0 and outputs.exists():
        outputs.rmtree()
    _of_all(True)  # nobody begins the next stage's folder before


def fit(state: TrainState, outputs: Outputs) -> TrainState:
    """The state one step on, with the parameters that the stage fits to its outputs: on the first process, sent to all."""
    params = state.best_params()
    host = gather(params)
    result = outputs.stage.fit(host, outputs.read) if jax.process_index() == 0 else host
    same = jax.tree.map(lambda new, old: np.asarray(new, old.dtype), result, host)
    placed = from_first(same, params)
    average = None if state.ema_params is None else jax.tree.map(lambda x: x.copy(), placed)
    return state.replace(step=state.step + 1, params=placed, ema_params=average)


def _asked(stop: StopRequest) -> bool:
    """Whether any process was asked to stop."""
    return bool(_of_all(bool(stop.name)).any())


def _of_all(value: int | bool) -> np.ndarray:
    """The value that each process has."""
    return np.asarray(multihost_utils.process_allgather(np.asarray(value)))
