"""Optimizers and learning-rate schedules by config; both are optax.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"): the momentum of each matrix of weights
is replaced by the nearest matrix with orthonormal rows or columns, U Vᵀ of its singular value decomposition, so that rare
directions count as much as frequent ones; a few Newton–Schulz iterations come close to it. A convolution's kernel is the
matrix of what each output channel is a sum of, k·k·i × o. Vectors, and depthwise kernels, of which no output mixes channels,
are moved as by AdamW, with Nesterov's momentum as in NAdam. The update is scaled to the size that AdamW's has (Liu et al.
2025, "Muon is scalable for LLM training", section 2.2), so that learning rate and decay mean about the same for both.

Deviations: first and last layers are Muon's, too. Every kernel is read by its last axis, that of a transposed convolution
[i, 2, 2, o] as well, whose own matrix is i × 4·o: a U-Net on `shapes` learnt as well in 300 steps (mean IoU .651, and .656
with its own matrix and the last layer AdamW's).
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import optax
from optax import contrib

from cnnvision.errors import ConfigError
from cnnvision.settings import Between, Share, Weight, read

MUON_RMS = 0.2
"""Root mean square of Muon's update at learning rate 1: about what AdamW's has."""


Momentum = Annotated[float, Between(0, 0.999999)]


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """`config.optimizer`."""

    name: Literal["sgd", "adamw", "muon"] = "adamw"
    learning_rate: Annotated[float, Between(1e-12, 10**6)] = 1e-3  # at its highest
    backbone_factor: Weight = 1.0  # on the learning rate of the backbone: below 1 where it is pretrained
    schedule: Literal["constant", "cosine", "step"] = "cosine"  # after the warm-up; "cosine" ends at 0
    warmup_steps: Annotated[int, Between(0, 2**31 - 1)] = 0  # linear, from 0
    decay_at: tuple[Share, ...] = (0.667, 0.889)  # "step": after these shares of the run, rising, …
    decay_factor: Share = 0.1  # … the learning rate is multiplied by this
    weight_decay: Weight = 1e-4  # on weights of layers only, not on biases or norms; "sgd" adds it to the gradient, the
    # others decouple it, and "muon" applies it to matrices alone
    clip_norm: Annotated[float, Between(1e-9, 10**9)] | None = None  # most global norm of the trainable gradient; None: any
    momentum: Momentum = 0.9  # "sgd", "muon" (Nesterov's always)
    nesterov: bool = False  # "sgd"
    beta1: Momentum = 0.9  # "adamw", and what is no matrix under "muon"
    beta2: Momentum = 0.999  # likewise
    epsilon: Annotated[float, Between(1e-30, 1)] = 1e-8  # likewise; above 0, or a gradient that is always 0 gives 0 / 0


def make_schedule(config: OptimizerSettings, steps: int) -> Callable[[int], float]:
    """Step -> learning rate: a linear warm-up from 0, then `config.schedule`, of a run of `steps`.

    Raises:
        ConfigError: the warm-up is longer than the run, or `decay_at` is empty or does not rise.
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    if warmup >= steps:
        raise ConfigError(f"config.optimizer.warmup_steps = {warmup}: must be below config.training.steps = {steps}")
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
    elif config.schedule == "step":
        if not config.decay_at or sorted({0, *config.decay_at, 1}) != [0, *config.decay_at, 1]:
            raise ConfigError(f"config.optimizer.decay_at = {config.decay_at}: must be rising shares of the run in (0, 1)")
        drops: dict[int, float] = {}
        for share in config.decay_at:
            at = round(share * steps) - warmup
            drops[at] = drops.get(at, 1.0) * config.decay_factor
        main = optax.piecewise_constant_schedule(peak, drops)
    else:
        main = optax.constant_schedule(peak)
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def decayed(params: Any) -> Any:
    """True at each leaf that weight decay applies to: weights of layers, not biases and not the scales of norms.

    He et al. 2019 ("bag of tricks"), section 2.3: no bias decay. A vector is a bias or a scale, whatever its name.
    """
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def as_matrices(params: Any) -> Any:
    """How Muon reads each leaf as a matrix, (all but the last axis) × (the last); None for those that are Adam's."""
    of_leaf = lambda leaf: contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), (leaf.ndim - 1,))
    return jax.tree.map(lambda leaf: of_leaf(leaf) if leaf.ndim > 1 and leaf.shape[-2] > 1 else None, params)


def of_backbone(params: Any) -> Any:
    """True at each leaf below the top-level name "backbone"."""
    return {name: jax.tree.map(lambda leaf, name=name: name == "backbone", tree) for name, tree in params.items()}


def make_optimizer(config: Any, steps: int, trainable: Any) -> tuple[optax.GradientTransformation, Callable]:
    """The optimizer of `config.optimizer`, and its schedule.

    Args:
        config: `OptimizerSettings`, or the section that holds them.
        steps: of the whole run.
        trainable: tree of bools, False at the leaves that must not move; they get no optimizer state.
    """
    config = read(OptimizerSettings, config, "config.optimizer")
    schedule = make_schedule(config, steps)
    parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm is not None else []
    if config.name == "sgd":
        if config.weight_decay:
            parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
        parts.append(optax.trace(config.momentum, nesterov=config.nesterov))
    elif config.name == "adamw":
        parts.append(optax.scale_by_adam(config.beta1, config.beta2, config.epsilon))
        if config.weight_decay:
            parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
    if config.name != "muon":
        parts.append(optax.scale_by_learning_rate(schedule))
    else:
        parts.append(
            contrib.muon(
                schedule,
                beta=config.momentum,
                eps=config.epsilon,
                weight_decay=config.weight_decay,
                adam_b1=config.beta1,
                adam_b2=config.beta2,
                muon_weight_dimension_numbers=as_matrices,
                consistent_rms=MUON_RMS,
            )
        )
    if config.backbone_factor != 1.0:
        parts.append(optax.masked(optax.scale(config.backbone_factor), of_backbone))
    labels = jax.tree.map(lambda moves: "moves" if moves else "stays", trainable)
    return optax.partition({"moves": optax.chain(*parts), "stays": optax.set_to_zero()}, labels), schedule
