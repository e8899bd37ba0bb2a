"""The training loop. There is one; what differs between systems is in the `Task`.

A run is a function of its config and its data: the batch of a step depends on (seed, step) alone and the random draws inside
a step on (seed, step), so a run that was killed at any moment and started again ends in the same parameters, bit by bit, on
a like machine. At a step that is logged, evaluated and saved, this is the order: log, evaluate, save. So whatever a
checkpoint's step has logged is in the log, and `MetricLog` drops the rest. Each of `Task.host_stages`, which run after the
training steps, counts as one step more.

Where the first state comes from, in this order:
    1. the latest complete checkpoint of the run folder, if there is one;
    2. else the task's own initialisation, then `Task.warm_start` (pretrained weights that the config names).
"""

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cnnvision.errors import RunError
from cnnvision.ops.images import on_mesh
from cnnvision.pictures import sheets
from cnnvision.training.checkpoint import Checkpoints, with_layout
from cnnvision.training.evaluate import CONTRIBUTIONS, remarks
from cnnvision.training.failure import fail
from cnnvision.training.first_batch import draw_inputs
from cnnvision.training.host_stages import Outputs, fit, remove_outputs
from cnnvision.training.metric_log import MetricLog
from cnnvision.training.optimizer import make_optimizer
from cnnvision.training.profile import Profile, utilisation
from cnnvision.training.progress import InputFaults, Stopwatch, memory_line, progress_line, timed
from cnnvision.training.run import Run
from cnnvision.training.sharding import everywhere, put_batch, state_layout
from cnnvision.training.state import TrainState, begin
from cnnvision.training.step import CompiledOnce, StepReport, make_train_step
from cnnvision.training.stopping import StopRequest, stop_flags


def _make(run: Run) -> Callable[[Any, Any], TrainState]:
    """(params, model_state) -> the state of step 0."""
    average = run.config.training.ema_decay > 0
    return lambda params, model_state: begin(run.task, run.make_optimizer, params, model_state, run.example_batch, average)


def new_state(run: Run) -> TrainState:
    """The state of a new run. Writes nothing: weights from elsewhere that do not fit leave no folder behind."""
    training, task, make = run.config.training, run.task, _make(run)
    params, model_state = jax.jit(task.init)(jax.random.key(training.seed), run.example_batch)
    params, model_state, report = task.warm_start(params, model_state)
    moves = zip(jax.tree.leaves(params), jax.tree.leaves(task.trainable(params)), strict=True)
    frozen = sum(leaf.size for leaf, moved in moves if not moved)
    if not report and frozen and not task.host_stages:  # whose own parameters the optimizer does not move either
        report = f"{frozen:,} parameters are frozen as they were drawn: take weights (pretrained), or frozen_stages = 0"
    if report:
        run.say(report)
    # Host copies: what a warm start returns lives on no mesh yet, and all processes have the same.
    params, model_state = jax.device_get((params, model_state))
    layout = state_layout(jax.eval_shape(make, params, model_state), run.mesh, training.split_parameters)
    return jax.jit(make, out_shardings=layout)(params, model_state)


def first_state(run: Run, checkpoints: Checkpoints) -> TrainState:
    """The state to go on from; see the head of this file.

    Raises:
        RunError: the checkpoint was made on other training data, or by another network.
    """
    latest = checkpoints.latest()
    if latest is None:
        return new_state(run)
    if checkpoints.info(latest).get("fingerprint") != run.fingerprint:
        raise RunError(
            f"{run.workdir}: the training data are not those that this run began with (the ids, the classes, the labels "
            "or the masks differ), so it cannot go on as the same run. Restore the data, or train in another folder."
        )
    run.say(f"Going on from step {latest} in {run.workdir}")
    return checkpoints.restore(latest, abstract_state(run))


def abstract_state(run: Run) -> TrainState:
    """Shapes, dtypes and layout of a run's state, without values."""
    state = jax.eval_shape(lambda batch: _make(run)(*run.task.init(jax.random.key(0), batch)), run.example_batch)
    return with_layout(state, run.mesh, run.config.training.split_parameters)


def compile_step(run: Run, state: TrainState) -> CompiledOnce:
    """The jitted training step, which keeps the state where it is and reuses its memory."""
    training = run.config.training
    step = make_train_step(
        run.task,
        run.make_optimizer,
        log_every=training.log_every,
        accumulate=training.accumulate,
        ema_decay=training.ema_decay,
    )
    layout = jax.tree.map(lambda leaf: leaf.sharding, state)
    jitted = jax.jit(on_mesh(step, run.mesh), donate_argnums=0, out_shardings=(layout, everywhere(run.mesh)))
    return CompiledOnce("the training step", jitted, time.perf_counter)


def train(run: Run) -> dict[str, float]:
    """Trains to the last step and through the stages after it; returns the metrics of the last evaluation.

    Returns early, with an empty dict, where SIGTERM or SIGINT asked to stop: the state is saved, and the same call goes on
    from it. All processes stop at the same step.

    Raises:
        RunError: a loss or a gradient was not finite. The state before that step is saved, the batch too, and the message
            has the command that replays the step.
    """
    state = None if Checkpoints.exist(run.workdir) else new_state(run)
    run.write_config()
    with contextlib.ExitStack() as opened:
        checkpoints = opened.enter_context(Checkpoints(run.workdir, run.task.best, run.config.training.keep))
        state = state or first_state(run, checkpoints)
        log = opened.enter_context(MetricLog(run.workdir, int(state.step), write=run.leads))
        say = run.say if run.leads else _silent
        if int(state.step) == run.last_step:
            say(f"{run.workdir} has all of its {int(state.step)} steps")
            remove_outputs(run.workdir)  # of a run that was killed just before it did
            told = hasattr(run.task.evaluator(), "contributions")
            if log.last("val") and ((run.workdir / CONTRIBUTIONS).exists() or not told):
                return log.last("val")
            return evaluate(run, state, log, int(state.step), say)
        stop = opened.enter_context(StopRequest())  # one for all, or a signal between two of them would be lost
        metrics = {}
        if int(state.step) < run.config.training.steps:
            state, metrics = steps(run, state, checkpoints, log, stop)
        if int(state.step) >= run.config.training.steps and run.task.host_stages:
            metrics = host_stages(run, state, checkpoints, log, stop)
        return metrics


def evaluates_at(run: Run, step: int) -> bool:
    """Whether a step is evaluated: the last of all always, and unless `eval_every` is 0 its multiples and stages' ends."""
    training = run.config.training
    if step == run.last_step:
        return True
    return training.eval_every > 0 and (step >= training.steps or step % training.eval_every == 0)


def steps(
    run: Run, state: TrainState, checkpoints: Checkpoints, log: MetricLog, stop: StopRequest
) -> tuple[TrainState, dict[str, float]]:
    """From `state` to the last training step, or to where it was asked to stop; see `train`."""
    training, say = run.config.training, run.say if run.leads else _silent
    began_at, info = int(state.step), {"fingerprint": run.fingerprint}
    step_function, schedule = compile_step(run, state), make_optimizer(run.config.optimizer, training.steps, {})[1]
    watch, faults, metrics, pending = Stopwatch(), InputFaults(), {}, None
    profile = Profile(run.workdir / "profile", training.profile_steps)
    seed = np.int32(training.seed)
    due = lambda every, step: step == training.steps or (every > 0 and step % every == 0)

    for loaded in timed(run.train_batches(began_at, training.steps), watch):
        if loaded.step == 0:
            pictures, classes = run.workdir / "pictures", run.classes if run.leads else None
            draw_inputs(pictures, run.task, run.mesh, state, loaded.batch, classes)
            for line in run.opening():
                say(line)
        faults.add(loaded, say)
        profile.before(loaded.step + 1, state)
        state, report = step_function(state, put_batch(loaded.batch, run.mesh), stop_flags(stop, run.mesh), seed)
        done = loaded.step + 1
        watch.steps += 1
        if traced := profile.after(done, state):
            say(traced)
        if done == began_at + 1 or len(step_function.compilations) > 1:
            say(f"{step_function.compilations[-1]}; {memory_line(step_function)}")
            del step_function.compilations[1:]
        if done == began_at + 1:
            jax.block_until_ready(state)
            watch.reset()

        # The report of the step before is ready by now: to read it does not hold up the device.
        stops, fails = jax.device_get((pending.stop, pending.failed)) if pending else (False, False)
        pending = report
        logs, evaluates, saves = due(training.log_every, done), evaluates_at(run, done), due(training.save_every, done)
        if fails or ((logs or evaluates or saves) and bool(report.failed)):
            fail(run, state, checkpoints, info)
        if logs:
            log_step(run, log, done, report, float(schedule(done - 1)), watch, faults, step_function, say)
        evaluated, began = {}, time.perf_counter()
        if evaluates:
            evaluated = metrics = evaluate(run, state, log, done, say)
        if evaluates or stops or saves:
            checkpoints.save(state, info, evaluated)
        watch.paused += time.perf_counter() - began
        if stops and done < training.steps:
            say(f"Asked to stop ({stop.name or 'by another process'}): saved step {done}; the same command goes on.")
            return state, {}
    return state, metrics


def log_step(
    run: Run,
    log: MetricLog,
    step: int,
    report: StepReport,
    learning_rate: float,
    watch: Stopwatch,
    faults: InputFaults,
    step_function: CompiledOnce,
    say: Callable[[str], None],
) -> None:
    """Logs and prints the window of metrics that ends with a step, and begins the watch's next window."""
    values = {name: float(mean.value()) for name, mean in jax.device_get(report.window).items()}
    values["learning_rate"] = learning_rate
    figures = watch.figures(run.batch_size)
    figures |= utilisation(step_function, figures["time/step"], run.config)
    log.add(step, "train", {**values, **figures, **faults.figures()})
    say(progress_line(step, run.config.training.steps, values, figures))
    watch.reset()


def host_stages(
    run: Run, state: TrainState, checkpoints: Checkpoints, log: MetricLog, stop: StopRequest
) -> dict[str, float]:
    """The stages after the last training step, each one step more; see `train` and cnnvision/training/host_stages.py."""
    say, metrics, stages = run.say if run.leads else _silent, {}, run.task.host_stages
    for number in range(int(state.step) - run.config.training.steps, len(stages)):
        say(f"stage {number + 1} of {len(stages)} after the training steps: {stages[number].name}")
        batches = functools.partial(run.fit_batches, stages[number].examples)
        outputs = Outputs(run.workdir, stages[number], state, run.mesh, batches, run.fingerprint)
        if not outputs.collect(stop, say):
            say(f"Asked to stop ({stop.name or 'by another process'}) in this stage; the same command goes on.")
            return {}
        state = fit(state, outputs)
        done = int(state.step)
        metrics = evaluate(run, state, log, done, say) if evaluates_at(run, done) else {}
        checkpoints.save(state, {"fingerprint": run.fingerprint}, metrics)
        checkpoints.wait()
        remove_outputs(run.workdir)
    return metrics


def evaluate(run: Run, state: TrainState, log: MetricLog, step: int, say: Callable[[str], None]) -> dict[str, float]:
    """Evaluates, logs, prints and draws."""
    metrics, shown = run.evaluation.run(state.best_params(), state.model_state, keep=sheets.MOST)
    for line in remarks(run.evaluation, metrics):
        say(line)
    log.add(step, "val", metrics)
    say(f"step {step} val  " + "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if "/" not in name))
    if run.leads:
        run.evaluation.write_contributions(run.workdir / CONTRIBUTIONS, step, run.last_step)
        pictures = run.workdir / "pictures"
        sheets.write_sheet(pictures / f"step_{step:07}_val.png", shown, run.classes, metrics.get("score_threshold", 0.5))
        sheets.curves(log.all(), pictures / "curves.png")
    return metrics


def _silent(line: str) -> None:
    """Says nothing: for all processes but the first."""
