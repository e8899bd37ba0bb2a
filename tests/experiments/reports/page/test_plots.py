"""Which curves a page draws."""

from etils import epath

from experiments.reports.page.plots import curves
from experiments.reports.page.subject import Run


def run_of(*evaluated):
    entries = [{"step": step, "split": "train", "loss": 1.0 / step} for step in (1, 2, 3)]
    entries += [{"step": step, "split": "val", "loss": 0.5, "AP": 0.1 * step, "AP/cat": 0.2} for step in evaluated]
    return Run("a", 0, epath.Path("a"), {}, entries, True)


def test_losses_and_the_compared_metrics_are_drawn():
    found = curves([run_of(1, 3)], ["a"], ["AP"])
    assert [plot.title for plot in found] == ["loss (train)", "loss (val)", "AP (val)"]
    assert found[2].alt == "AP on val by step. Last: a 0.3."


def test_what_is_evaluated_once_is_no_curve():
    assert [plot.title for plot in curves([run_of(3)], ["a"], ["AP"])] == ["loss (train)"]
