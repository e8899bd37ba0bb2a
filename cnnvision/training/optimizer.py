"""Optimizers and learning-rate schedules by config; both are optax."""

import math
from collections.abc import Callable
from typing import Any

import jax
import optax

from cnnvision.errors import ConfigError, check_name, check_range

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "cosine", "step")


def make_schedule(config: Any, steps: int) -> Callable[[int], float]:
    """Step -> learning rate: a linear warm-up from 0, then `config.schedule`.

    Args:
        config: learning_rate; warmup_steps; schedule: "constant", "cosine" (to 0 at `steps`) or "step" (multiplied by
            `decay_factor` at each fraction of `steps` in `decay_at`).
        steps: of the whole run.
    """
    check_name("config.optimizer.schedule", config.schedule, SCHEDULES)
    peak, warmup = config.learning_rate, config.warmup_steps
    if not 0 < peak < math.inf:
        raise ConfigError(f"config.optimizer.learning_rate: {peak} must be positive, and a number")
    if not 0 <= warmup < max(steps, 1):
        raise ConfigError(f"config.optimizer.warmup_steps: {warmup} must lie in [0, config.training.steps = {steps})")
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
    elif config.schedule == "step":
        shares = tuple(config.decay_at)
        rising = all(isinstance(share, int | float) for share in shares) and sorted({0, *shares, 1}) == [0, *shares, 1]
        if not rising:
            raise ConfigError(f"config.optimizer.decay_at: {shares} must be rising fractions of the run in (0, 1)")
        check_range("config.optimizer.decay_factor", config.decay_factor, 0, 1)
        drops = {round(share * steps) - warmup: config.decay_factor for share in config.decay_at}
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


def of_backbone(params: Any) -> Any:
    """True at each leaf below the top-level name "backbone"."""
    return {name: jax.tree.map(lambda leaf, name=name: name == "backbone", tree) for name, tree in params.items()}


def make_optimizer(config: Any, steps: int, trainable: Any) -> tuple[optax.GradientTransformation, Callable]:
    """The optimizer of `config`, and its schedule.

    Args:
        config: name: "sgd" (with `momentum`, `nesterov`; decay added to the gradient, as in the R-CNN papers) or "adamw"
            (`beta1`, `beta2`, `epsilon`; decay apart from the gradient); weight_decay; clip_norm: most global norm of the
            trainable gradient, 0 for none; backbone_factor: on the learning rate of what is called "backbone" at the top of
            the parameters; the keys of `make_schedule`.
        steps: of the whole run.
        trainable: tree of bools, False at the leaves that must not move; they get no optimizer state.
    """
    check_name("config.optimizer.name", config.name, OPTIMIZERS)
    for key in ("weight_decay", "clip_norm", "backbone_factor"):
        if not 0 <= config[key] < math.inf:
            raise ConfigError(f"config.optimizer.{key}: {config[key]} must not be negative, nor infinite")
    for key in ("momentum", "beta1", "beta2"):
        check_range(f"config.optimizer.{key}", config[key], 0, 0.999999)
    check_range("config.optimizer.epsilon", config.epsilon, 0, 1)
    schedule = make_schedule(config, steps)
    parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.name == "sgd":
        if config.weight_decay:
            parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
        parts.append(optax.trace(config.momentum, nesterov=config.nesterov))
    else:
        parts.append(optax.scale_by_adam(config.beta1, config.beta2, config.epsilon))
        if config.weight_decay:
            parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
    parts.append(optax.scale_by_learning_rate(schedule))
    if config.backbone_factor != 1.0:
        parts.append(optax.masked(optax.scale(config.backbone_factor), of_backbone))
    labels = jax.tree.map(lambda moves: "moves" if moves else "stays", trainable)
    return optax.partition({"moves": optax.chain(*parts), "stays": optax.set_to_zero()}, labels), schedule
