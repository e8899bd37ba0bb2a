"""Traces of steps, and the share of a chip's arithmetic that a step uses."""

import jax
import jax.numpy as jnp
import pytest

from cnnvision.errors import ConfigError
from cnnvision.runs.configuration import load_config
from cnnvision.settings import read
from cnnvision.training import loop, profile
from cnnvision.training.settings import TrainingSettings
from cnnvision.training.step import CompiledOnce
from tests.training import toy
from tests.training.test_loop import make_run

pytestmark = pytest.mark.usefixtures("no_curves")


def test_steps_are_traced_where_it_is_asked_for(tmp_path):
    config = toy.make_config()
    with config.unlocked():
        config.training.profile_steps = (3, 4)
    said = []
    loop.train(make_run(tmp_path, config, said=said))
    assert len(list((tmp_path / "profile").rglob("*.xplane.pb"))) == 1
    assert any(line.startswith("steps 3 to 4 are traced in") for line in said)


def test_a_run_that_goes_on_from_between_the_traced_steps_has_no_trace(tmp_path):
    written = profile.Profile(profile.epath.Path(tmp_path), (3, 5))
    written.before(4, jnp.zeros(3))
    assert written.after(4, jnp.zeros(3)) == written.after(5, jnp.zeros(3)) == ""
    assert not list(tmp_path.iterdir())


def test_steps_of_a_run_in_a_bucket_are_traced(bucket, tmp_path):
    written = profile.Profile(profile.epath.Path(f"{bucket}/profile"), (1, 1))
    written.before(1, jnp.zeros(3))
    assert f"tensorboard --logdir={bucket}/profile" in written.after(1, jnp.zeros(3) + 1.0)
    assert [path.name for path in profile.epath.Path(f"{bucket}/profile/plugins").iterdir()] == ["profile"]


@pytest.mark.parametrize("steps", [(3,), (4, 3), (1, 2, 3), (12, 13)])
def test_what_is_no_range_of_steps_is_refused(steps):
    config = toy.make_config(profile_steps=steps)
    with pytest.raises(ConfigError, match=r"profile_steps = .*: must be \(first, last\)"):
        read(TrainingSettings, config.training, "config.training")


def test_the_share_of_a_chip_s_arithmetic_is_known_where_its_peak_is(monkeypatch):
    function = CompiledOnce("a step", jax.jit(lambda a, b: a @ b), lambda: 0.0)
    function(jnp.ones((100, 50)), jnp.ones((50, 20)))
    config = load_config("configs/classifier_shapes.py:smoke")
    assert profile.utilisation(function, 1.0, config) == {}
    monkeypatch.setattr(profile, "of_device", lambda kind: profile_chip)
    share = profile.utilisation(function, 1e-3, config)["time/flop_utilisation"]
    assert share == pytest.approx(2 * 100 * 50 * 20 / 1e-3 / 197e12)


profile_chip = profile.of_device("TPU v5 lite")
