"""Systems compared: orders that the intervals allow, and a table with what each of them has."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from cnnvision.errors import RunError
from cnnvision.evaluation.bootstrap import percentiles
from cnnvision.evaluation.segmentation import SegmentationEvaluator, SegmentedImage
from cnnvision.task import DataInfo
from experiments.reports.comparison import Comparison
from experiments.reports.contenders import Contender
from experiments.reports.costs import Cost, Program, median_interval, speed_orders


def contender_of(name, metrics, resampled, cost=None, ids=("a",), target="semantic", errors=()):
    """A contender with given results."""
    task, params = SimpleNamespace(inputs=SimpleNamespace(target=target)), {"kernel": np.zeros((2, 600))}
    trained = SimpleNamespace(task=task, params=params, info=DataInfo(("cat",), ("ground", "cat")))
    return Contender(name, trained, metrics, tuple(metrics), resampled, list(ids), {}, cost, dict(errors))


def compared(**accuracies):
    """Contenders whose images have so many right pixels of 100 of each of two classes."""
    found = []
    for name, rights in accuracies.items():
        images = [
            SegmentedImage(f"{i}", np.array([[right, 100 - right, 0], [100 - right, right, 0]]), boundary_f=right / 100)
            for i, right in enumerate(rights)
        ]
        mean = np.mean(rights) / 100  # IoU of each class: right / (200 − right)
        metrics = {"mean_iou": mean / (2 - mean), "boundary_f": mean}
        evaluator = SegmentationEvaluator(("ground", "cat"))
        evaluator.images = images
        found.append(contender_of(name, metrics, evaluator.contributions().redrawn(metrics=list(metrics))))
    return found


def test_an_order_is_claimed_only_where_the_interval_of_the_difference_excludes_zero():
    """The second net is better on every image, the third better on half of them and worse on the other half. The images
    differ more among each other than the nets do, so that two intervals side by side would tell nothing.
    """
    easy = np.array([20, 35, 50, 65, 80, 95, 30, 60])
    mixed = easy + np.array([3, -3] * 4)
    first, better, third = compared(first=easy, better=easy + 2, third=mixed)
    lines = Comparison([first, better, third]).orders()
    assert len(lines) == 6
    for metric in ("mean_iou", "boundary_f"):
        mine = [line for line in lines if line.startswith(f"- {metric}: ")]
        assert [line.split(": ", 1)[1].split(" (")[0] for line in mine] == [
            "better above first", "third and first: no order", "third and better: no order"
        ]  # fmt: skip
        low, high = percentiles(better.resampled[metric] - first.resampled[metric], 0.95)
        apart = better.metrics[metric] - first.metrics[metric]
        assert mine[0].endswith(f"({apart:+.3f}, 95 % {low:+.3f} … {high:+.3f})") and 0 < low <= apart <= high
    assert lines[3] == "- boundary_f: better above first (+0.020, 95 % +0.020 … +0.020)"  # two of 100 on every image


def test_the_order_names_the_better_one_first_whichever_comes_first():
    easy = np.array([20, 35, 50, 65, 80, 90])
    lines = Comparison(compared(good=easy + 4, bad=easy)).orders()
    assert lines[1] == "- boundary_f: good above bad (+0.040, 95 % +0.040 … +0.040)"
    assert lines[0].startswith("- mean_iou: good above bad (+0.0")


def test_an_interval_that_ends_at_zero_claims_nothing():
    """Equal on all images but one: resamples without that one differ by exactly 0."""
    easy = np.array([20, 35, 50, 65])
    for change in (30, -10):
        lines = Comparison(compared(first=easy, same=easy + np.array([0, 0, 0, change]))).orders()
        assert all(": same and first: no order (" in line and "0.000" in line for line in lines)


def test_what_a_contender_does_not_have_is_a_dash():
    """A one-stage detector, one that tells no parts and knows no interval, and one with proposals."""
    cost = lambda seconds: Program(None, (), 2.0, memory=3.0, compile_seconds=0.5, seconds=[seconds])
    draws = {"AP": np.linspace(0.3, 0.5, 101)}
    one = Cost("one", {"head": cost(0.001), "post-processing": cost(0.004)})
    plain = Cost("plain", {"post-processing": cost(0.5)})
    two = Cost("two", {"RoI": cost(0.02), "post-processing": cost(0.02)}, proposals=1.0)
    contenders = [
        contender_of("one", {"AP": 0.4}, draws, one, target="objects", errors={"right": 0.25, "missed": 0.5}),
        contender_of("plain", {"AP": 0.1, "APs": math.nan}, {}, plain, target="objects"),
        contender_of("two", {"AP": 0.4, "proposal_recall": 0.75}, draws, two, target="objects"),
    ]
    both = Comparison(contenders)
    rows = [both.figures(each) for each in contenders]
    assert list(rows[0]) == [
        "detector", "parameters", "gflop_an_image", "memory_mib", "compile_seconds", "ms_head", "ms_proposals", "ms_RoI",
        "ms_post_processing", "ms_an_image", "AP", "AP_low", "AP_high", "APs", "proposal_recall", "errors_right",
        "errors_missed",
    ]  # fmt: skip
    assert rows[0]["errors_missed"] == 0.5 and math.isnan(rows[1]["errors_right"])
    assert both.errors_table().splitlines()[-3:] == [
        "| detector | right | missed |", "|----------|-------|--------|", "| one      | 0.250 | 0.500  |"
    ]  # fmt: skip
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in both.table(rows).splitlines()]
    assert cells[0][5:] == [
        "head, ms", "proposals, ms", "RoI, ms", "post-processing, ms", "ms an image", "AP", "95 %", "APs", "proposal_recall"
    ]  # fmt: skip
    assert cells[2:] == [
        ["one", "1,200", "2", "3", "0.5", "1", "–", "–", "3", "4", "0.400", "0.305 … 0.495", "–", "–"],
        ["plain", "1,200", "2", "3", "0.5", "–", "–", "–", "–", "500", "0.100", "–", "–", "–"],
        ["two", "1,200", "2", "3", "0.5", "–", "1e+03", "20", "–", "1.02e+03", "0.400", "0.305 … 0.495", "–", "0.750"],
    ]
    assert both.orders() == ["- AP: two and one: no order (+0.000, 95 % +0.000 … +0.000)"]


def test_contenders_on_other_images_or_classes_are_not_compared():
    draws, metrics = {"AP": np.ones(3)}, {"AP": 1.0}
    first, other = contender_of("first", metrics, draws), contender_of("other", metrics, draws, ids=("a", "b"))
    with pytest.raises(RunError, match="other and first: only one of them was evaluated on 'b'"):
        Comparison([first, other])
    other = contender_of("other", metrics, draws)
    other.trained.info = DataInfo((), ("ground", "dog"))
    with pytest.raises(RunError, match="other and first: only one of them was evaluated on 'cat'"):
        Comparison([first, other])


def test_the_interval_of_a_median_is_what_a_fair_coin_allows():
    """Of six values, all lie on one side of the median with a chance of 2/64; of 25, eight or fewer lie under it with .054,
    seven or fewer with .022."""
    assert median_interval([6, 1, 5, 2, 4, 3]) == (1, 6)
    assert median_interval(range(25)) == (7, 17)
    assert all(map(math.isnan, median_interval([1, 2, 3, 4, 5])))
    rng = np.random.default_rng(0)
    found = [median_interval(rng.exponential(size=25)) for _ in range(2000)]
    assert 0.94 < np.mean([low <= math.log(2) <= high for low, high in found]) < 0.97


def test_one_is_faster_where_it_is_so_within_the_same_round():
    """The machine drifts by far more than the two differ; a third is above the first in half of the rounds."""
    drift = np.linspace(0.01, 0.05, 8)
    cost = lambda name, seconds, **more: Cost(name, {"whole": Program(None, (), 1.0, seconds=list(seconds))}, **more)
    first, slower = cost("first", drift), cost("slower", drift + np.linspace(1e-3, 2e-3, 8))
    third = cost("third", drift + np.tile([1e-3, -1e-3], 4))
    tiles = cost("tiles", drift / 2, times=2.0, proposals=0.005)
    assert speed_orders([slower, first]) == ["- ms an image: first faster than slower (1.5, 95 % 1 … 2)"]
    assert ": no order (" in speed_orders([first, third])[0]
    assert speed_orders([first, tiles]) == ["- ms an image: first faster than tiles (5, 95 % 5 … 5)"]
