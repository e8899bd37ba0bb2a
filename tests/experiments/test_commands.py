"""What a user may type wrong: each gets one clear message, exit code 2, and nothing is left behind."""

import os
import subprocess
import sys
import time

import pytest

from cnnvision.errors import CnnvisionError
from cnnvision.runs.configuration import load_config
from experiments import COMMANDS, benchmark, doctor, evaluate, predict, train
from tests.conftest import ROOT

DEMO = f"{ROOT}/configs/localizer_shapes.py"


@pytest.mark.parametrize(
    "overrides, message",
    [
        ([("model.alpha", "1.5")], "config.model.alpha = 1.5: must be a number in 0 … 1"),
        ([("model.name", "localiser")], "Did you mean 'localizer'?"),
        (
            [("model.backbone.name", "resnet51")],
            "config.model.backbone.name: there is no 'resnet51'. Did you mean 'resnet5",
        ),
        (
            [("model.backbone.norm", "bach")],
            "config.model.backbone.norm: SmallNet has no norm 'bach'. Did you mean 'batch'?",
        ),
        ([("model.backbone.dtype", "float17")], "config.model.backbone.dtype: there is no 'float17'"),
        ([("model.box_loss", "smoth_l1")], "Did you mean 'smooth_l1'?"),
        ([("model.dropout", "-1")], "config.model.dropout"),
        ([("model.label_smoothing", "2")], "config.model.label_smoothing"),
        ([("model.pretrained", "nowhere.pth")], "no weights from elsewhere for the backbone 'small'"),
        ([("optimizer.name", "adam")], "Did you mean 'adamw'?"),
        ([("optimizer.schedule", "cosin")], "Did you mean 'cosine'?"),
        ([("optimizer.learning_rate", "0")], "config.optimizer.learning_rate = 0.0: must be a number in 1e-12 …"),
        ([("optimizer.warmup_steps", "5000")], "config.optimizer.warmup_steps"),
        ([("optimizer.weight_decay", "-1")], "config.optimizer.weight_decay = -1.0: must be a number in 0 …"),
        ([("optimizer.learning_rate", "1e999")], "config.optimizer.learning_rate"),
        ([("optimizer.beta1", "1.0")], "config.optimizer.beta1"),
        ([("optimizer.schedule", "step"), ("optimizer.decay_at", "(0.5, 0.5)")], "config.optimizer.decay_at"),
        ([("optimizer.schedule", "step"), ("optimizer.decay_at", "(None,)")], "config.optimizer.decay_at"),
        (
            [("optimizer.schedule", "step"), ("optimizer.decay_at", "()")],
            "config.optimizer.decay_at = (): must be",
        ),
        ([("training.steps", "99999999999")], "config.training.steps"),
        ([("training.seed", "99999999999999999999999")], "config.training.seed"),
        ([("model.class_pooling", "atention")], "Did you mean 'attention'?"),
        ([("model.backbone.width", "0")], "config.model.backbone.width = 0: must be a whole number in 1 … "),
        ([("data.size", "(64.0, 64.0)")], "config.data.size"),
        ([("data.size", "((64, 64), (64, 64))")], "config.data.size"),
        ([("training.steps", "0")], "config.training.steps = 0: must be a whole number in 1 …"),
        ([("training.ema_decay", "1")], "config.training.ema_decay"),
        ([("training.accumulate", "3")], "config.data.batch_size: 8 is no multiple"),
        ([("training.matmul_precision", "best")], "config.training.matmul_precision"),
        ([("data.size", "(50, 50)")], "config.data.size"),
        ([("data.size", "(64,)")], "config.data.size"),
        ([("data.more_sizes", "(64, 96)")], "config.data.more_sizes"),
        ([("data.more_sizes", "((64, 64), (64, 100))")], "config.data.more_sizes: (64, 100) must be multiples of"),
        (
            [("data.more_sizes", "((64, 96),)"), ("model.box_pooling", "flatten")],
            'box_pooling = "flatten" needs',
        ),
        ([("data.resize", "stretched")], "Did you mean 'stretch'?"),
        ([("data.batch_size", "0")], "config.data.batch_size"),
        ([("data.eval_examples", "-1")], "config.data.eval_examples"),
        ([("data.augment.flip", "2")], "config.data.augment.flip"),
        ([("data.augment.crop_area", "(1.0, 0.5)")], "config.data.augment.crop_area"),
        ([("data.source", "shape")], "Did you mean 'shapes'?"),
        ([("data.source", "csv:/nowhere")], "/nowhere"),
        ([("data.train_split", "trian")], "trian"),
    ],
)
def test_values_that_no_run_can_use(overrides, message, tmp_path):
    config = load_config(f"{DEMO}:smoke", overrides)
    with pytest.raises(CnnvisionError) as error:
        train.run(config, tmp_path / "run", say=lambda line: None)
    assert message in str(error.value)
    assert "\n" not in str(error.value) or "csv" in str(error.value)
    assert not (tmp_path / "run").exists(), "something half-written was left"


def test_a_file_of_weights_that_is_not_there(tmp_path):
    config = load_config(DEMO, [("model.pretrained", "nowhere.pth")])
    with pytest.raises(CnnvisionError, match=r"nowhere\.pth: there is no such file of weights"):
        train.run(config, tmp_path / "run", say=lambda line: None)
    assert not (tmp_path / "run").exists(), "something half-written was left"


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ((train, ["--confg=x", "--workdir=y"]), 2, "unknown flag --confg. Did you mean --config?"),
        ((train, ["--config=x.py"]), 2, "required: --workdir"),
        ((train, ["--config=x.py", "--workdir=y", "--config.a.b"]), 2, "needs a value"),
        ((train, ["--config=x.py", "--workdir=y", "--processes=2"]), 2, "go together"),
        ((evaluate, ["--workdir=x", "--config.model.alpha=1"]), 2, "--config.model.alpha goes with --config; a run folder"),
        ((evaluate, ["--data=shapes"]), 2, "give one of them: --workdir=DIR, or --config=FILE with"),
        ((predict, ["--workdir=x", "--config=y", "--images=y", "--output=z"]), 2, "give one of them"),
        ((predict, ["--config=x", "--images=y", "--output=z", "--step=3"]), 2, "--step goes with --workdir"),
        ((predict, ["--workdir=x", "--image=y", "--output=z"]), 2, "Did you mean --images?"),
        ((doctor, ["--dat=shapes"]), 2, "Did you mean --data?"),
        ((train, ["--config=x.py", "--workdir="]), 2, "--workdir: it is empty: which folder?"),
        ((predict, ["--workdir=x", "--images=y", "--output="]), 2, "--output: it is empty: which folder?"),
        ((benchmark, ["--batch=0"]), 2, "--batch, --size and --rounds must be at least 1"),
    ],
)
def test_wrong_flags(arguments, code, message, capsys):
    module, flags = arguments
    with pytest.raises(SystemExit) as exit:
        module.command(flags)
    assert exit.value.code == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("module", [evaluate, predict])
def test_a_folder_that_is_no_run(module, tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    extra = [f"--images={tmp_path}", f"--output={tmp_path / 'out'}"] if module is predict else []
    with pytest.raises(CnnvisionError, match="is no run folder"):
        module.command([f"--workdir={tmp_path}", *extra])
    assert not (tmp_path / "out").exists()


def test_the_program_prints_one_line_and_no_traceback(tmp_path):
    flags = ["-m", "experiments.train", f"--config={DEMO}", f"--workdir={tmp_path / 'run'}", "--config.model.alpa=1"]
    done = subprocess.run([sys.executable, *flags], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("config error: ") and done.stderr.count("\n") == 1


def test_a_near_miss_of_a_command():
    done = subprocess.run([sys.executable, "-m", "experiments.trian"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("there is no command 'trian'. Did you mean 'train'?")
    done = subprocess.run([sys.executable, "-m", "experiments"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "Known: ablate, anchors, benchmark" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_neither_jax_nor_data(command):
    code = (
        "import sys, importlib; module = importlib.import_module(sys.argv[1])\n"
        "try:\n    module.command(['--help'])\nexcept SystemExit as done:\n    assert done.code == 0\n"
        "heavy = {'jax', 'tensorflow', 'torch', 'tensorflow_datasets', 'matplotlib', 'grain'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, f"experiments.{command}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m experiments." in done.stdout


def test_a_broken_pipe_is_no_traceback():
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.train", "--help"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.close()
    time.sleep(0.1)
    assert "Traceback" not in process.stderr.read()
