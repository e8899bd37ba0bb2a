"""`config.training`: how long, how often what is written, and how a step is computed."""

import dataclasses
from typing import Annotated, Literal

from cnnvision.errors import ConfigError
from cnnvision.settings import Between

MOST_STEPS = 2**31 - 1
Steps = Annotated[int, Between(1, MOST_STEPS)]


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """`config.training`."""

    steps: Steps = 1000  # of the optimizer
    seed: Annotated[int, Between(0, MOST_STEPS)] = 0
    log_every: Steps = 50  # steps; metrics are averages since the last logged step
    eval_every: Annotated[int, Between(0, MOST_STEPS)] = 500  # steps; 0 for the end alone. Each evaluation is saved, too
    save_every: Annotated[int, Between(0, MOST_STEPS)] = 500  # steps; 0 for the end alone
    keep: Steps = 2  # latest checkpoints kept, beside the best
    accumulate: Steps = 1  # slices of a batch that are computed one after the other; gradients are summed
    ema_decay: Annotated[float, Between(0, 0.999999)] = 0.0  # of the parameters' exponential moving average, with which
    # the run evaluates and predicts; 0 for none
    split_parameters: bool = False  # over the devices (FSDP), instead of a copy on each
    profile_steps: tuple[Steps, ...] = ()  # (first, last) steps that are traced into profile/ of the run folder; () for none
    matmul_precision: Literal["default", "high", "highest"] = "default"  # of float32 products on accelerators

    def __post_init__(self):
        traced = self.profile_steps
        if traced and (len(traced) != 2 or not traced[0] <= traced[1] <= self.steps):
            raise ConfigError(f"profile_steps = {traced}: must be (first, last), two of the {self.steps} steps, or ()")
