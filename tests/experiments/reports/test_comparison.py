"""Systems compared: a table with what each of them has, and orders of their speeds."""

import math
from types import SimpleNamespace

import numpy as np

from cnnvision.task import DataInfo
from experiments.reports.comparison import Comparison
from experiments.reports.contenders import Contender
from experiments.reports.costs import Cost, Program, median_interval, speed_orders
from experiments.reports.judged import Judged


def contender_of(name, metrics, cost=None, target="semantic", errors=()):
    """A contender with given results."""
    task, params = SimpleNamespace(inputs=SimpleNamespace(target=target)), {"kernel": np.zeros((2, 600))}
    trained = SimpleNamespace(task=task, params=params, info=DataInfo(("cat",), ("ground", "cat")))
    return Contender(name, trained, metrics, tuple(metrics), {}, cost, dict(errors))


def judged_of(metrics, seeds=1):
    """metric -> contender -> value: judged on three drawn sets of five images, on which values are .1 lower and higher."""
    values = {metric: {name: np.full(seeds, each) for name, each in of.items()} for metric, of in metrics.items()}
    sets = np.array([-0.1, 0.0, 0.1])
    drawn = {metric: {name: each[:, None] + sets for name, each in of.items()} for metric, of in values.items()}
    names = dict.fromkeys(name for of in metrics.values() for name in of)
    return Judged({name: range(seeds) for name in names}, range(seeds), values, drawn, 5)


def test_what_a_contender_does_not_have_is_a_dash():
    """A one-stage detector, one that tells no parts and knows no interval, and one with proposals."""
    cost = lambda seconds: Program(None, (), 2.0, memory=3.0, compile_seconds=0.5, seconds=[seconds])
    one = Cost("one", {"head": cost(0.001), "post-processing": cost(0.004)})
    plain = Cost("plain", {"post-processing": cost(0.5)})
    two = Cost("two", {"RoI": cost(0.02), "post-processing": cost(0.02)}, proposals=1.0)
    contenders = [
        contender_of("one", {"AP": 0.4}, one, target="objects", errors={"right": 0.25, "missed": 0.5}),
        contender_of("plain", {"AP": 0.1, "APs": math.nan}, plain, target="objects"),
        contender_of("two", {"AP": 0.4, "proposal_recall": 0.75}, two, target="objects"),
    ]
    both = Comparison(contenders, judged_of({"AP": {"one": 0.4, "two": 0.4}}))
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
        ["one", "1,200", "2", "3", "0.5", "1", "–", "–", "3", "4", "0.400", "0.122 … 0.678", "–", "–"],
        ["plain", "1,200", "2", "3", "0.5", "–", "–", "–", "–", "500", "0.100", "–", "–", "–"],
        ["two", "1,200", "2", "3", "0.5", "–", "1e+03", "20", "–", "1.02e+03", "0.400", "0.122 … 0.678", "–", "0.750"],
    ]
    assert both.judged.lines() == ["- AP: two and one: cannot tell (+0.000, 95 % +0.000 … +0.000; p 1.000)"]


def test_quality_is_the_mean_over_seeds_where_there_are_several():
    """And what the network alone knows, such as its ceiling, is that of the first one."""
    cost = Cost("one", {"whole": Program(None, (), 2.0, memory=3.0, compile_seconds=0.5, seconds=[1.0])})
    one = contender_of("one", {"AP": 0.4, "ceiling_AP": 0.9}, cost, target="objects")
    judged = judged_of({"AP": {"one": 0.5}}, seeds=2)
    row = Comparison([one], judged).figures(one)
    assert row["AP"] == 0.5 and row["ceiling_AP"] == 0.9 and row["AP_low"] < 0.5 < row["AP_high"]
    assert "ceiling_AP_low" not in row


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
