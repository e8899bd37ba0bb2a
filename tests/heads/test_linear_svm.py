"""SVMs and box regression: against hand-worked cases, the whole problem solved at once, and NumPy's least squares."""

import numpy as np
import pytest
import sklearn.svm

from cnnvision.heads.linear_svm import NORM, NOTHING, fit_svms, scale_of
from cnnvision.heads.ridge_boxes import fit_boxes


def reading(*batches):
    return lambda: iter(batches)


def batch_of(features, positive, negative, valid=None):
    features = np.asarray(features, np.float32)
    valid = np.ones(features.shape[:2], bool) if valid is None else valid
    return {"features": features, "valid": valid, "positive": np.asarray(positive), "negative": np.asarray(negative)}


def drawn(seed=0, batches=6, images=4, regions=60, d=5, classes=3, apart=1.5):
    """Regions of three classes and of none, 5 % of them objects; the classes' clouds overlap."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes + 1, d)) * apart
    for _ in range(batches):
        label = rng.integers(0, classes + 1, (images, regions))
        own = (rng.random((images, regions)) < 0.05)[..., None] & (label[..., None] == np.arange(classes))
        features = centres[label] + rng.normal(size=(images, regions, d))
        negative = (label[..., None] != np.arange(classes)) | (rng.random((images, regions, classes)) < 0.05) & ~own
        yield batch_of(features, own, negative & ~own, rng.random((images, regions)) < 0.9)


def objective(w, b, positive, negative, C, weight, bias_feature):
    """What liblinear minimises, with the bias regularised as the weight of a feature of `bias_feature`."""
    hinge = lambda margins: np.maximum(0, 1 - margins).sum()
    loss = weight * hinge(positive @ w + b) + hinge(-(negative @ w + b))
    return 0.5 * (w @ w + (b / bias_feature) ** 2) + C * loss


def test_two_points_have_the_widest_margin_between_them():
    kernel, bias = fit_svms(reading(batch_of([[[3.0], [-3.0]]], [[[True], [False]]], [[[False], [True]]])), 1, C=100.0)
    np.testing.assert_allclose(np.array([[3.0], [-3.0]]) @ kernel + bias, [[1.0], [-1.0]], atol=1e-3)


@pytest.mark.parametrize("retrain", [50, 10**6])
def test_mining_until_nothing_is_new_solves_the_whole_problem(retrain):
    batches = list(drawn())
    settings = {"C": 0.01, "positive_weight": 2.0, "bias_feature": 10.0}
    kernel, bias = fit_svms(reading(*batches), 3, retrain=retrain, passes=20, **settings)
    scale = scale_of(reading(*batches))
    for k in range(3):
        of = lambda which, k=k: np.concatenate([b["features"][b["valid"] & b[which][..., k]] for b in batches]) * scale
        positive, negative = of("positive"), of("negative")
        assert len(positive) > 3 and len(negative) > 200
        whole = sklearn.svm.LinearSVC(C=0.01, loss="hinge", intercept_scaling=10.0, class_weight={1: 2.0}, tol=1e-6,
                                      max_iter=10**6)  # fmt: skip
        whole.fit(np.concatenate([positive, negative]), np.arange(len(positive) + len(negative)) < len(positive))
        best = objective(whole.coef_[0], whole.intercept_[0], positive, negative, *settings.values())
        ours = objective(kernel[:, k] / scale, bias[k], positive, negative, *settings.values())
        assert ours <= best * 1.01


def test_one_pass_leaves_little_and_holds_few(monkeypatch):
    from cnnvision.heads import linear_svm

    batches, sizes, fit = list(drawn(batches=20, apart=4.0)), [], linear_svm._fit
    monkeypatch.setattr(
        linear_svm, "_fit", lambda positive, negative, *a: sizes.append(len(negative)) or fit(positive, negative, *a)
    )
    kernel, bias = fit_svms(reading(*batches), 3, C=0.01, retrain=100)
    wrong = [((b["features"] @ kernel + bias > 0) & b["negative"])[b["valid"]].mean() for b in batches]
    assert np.mean(wrong) < 0.01
    assert max(sizes) < 1500 < sum((b["valid"][..., None] & b["negative"])[..., 0].sum() for b in batches)


def test_a_class_without_objects_is_never_found():
    batches = list(drawn(classes=2))
    for batch in batches:
        batch["positive"][..., 1] = False
    kernel, bias = fit_svms(reading(*batches), 2)
    assert (kernel[:, 1] == 0).all() and bias[1] == NOTHING and (kernel[:, 0] != 0).any()


def test_what_is_not_valid_counts_for_nothing():
    batches = list(drawn())
    noisy = [{**b, "features": np.where(b["valid"][..., None], b["features"], 1e6).astype(np.float32)} for b in batches]
    for one, other in zip(fit_svms(reading(*batches), 3), fit_svms(reading(*noisy), 3), strict=True):
        np.testing.assert_array_equal(one, other)


def regression_batches(n, d, rng, classes=2):
    for _ in range(2):
        features = rng.normal(size=(1, n, d)).astype(np.float32)
        yield {"features": features, "valid": rng.random((1, n)) < 0.8, "labels": rng.integers(0, classes, (1, n)),
               "deltas": rng.normal(size=(1, n, 4)).astype(np.float32)}  # fmt: skip


@pytest.mark.parametrize(("n", "d"), [(60, 7), (10, 40)])
def test_boxes_are_regressed_as_least_squares_with_a_row_more_for_each_weight(n, d):
    batches, strength = list(regression_batches(n, d, np.random.default_rng(1))), 30.0
    kernel, bias = fit_boxes(reading(*batches), 2, strength)
    scale = scale_of(reading(*batches))
    np.testing.assert_allclose(
        np.mean([np.linalg.norm(row) for b in batches for row in b["features"][b["valid"]] * scale]), NORM, rtol=1e-6
    )
    for k in range(2):
        of = lambda name, k=k: np.concatenate([b[name][b["valid"] & (b["labels"] == k)] for b in batches])
        features, deltas = np.float64(of("features")) * scale, np.float64(of("deltas"))
        mean = deltas.mean(0)
        rows = np.concatenate([np.c_[features, np.ones(len(features))], np.sqrt(strength) * np.eye(d + 1)])
        solution, *_ = np.linalg.lstsq(rows, np.concatenate([deltas - mean, np.zeros((d + 1, 4))]), rcond=None)
        np.testing.assert_allclose(kernel[k], solution[:-1] * scale, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(bias[k], solution[-1] + mean, rtol=1e-4, atol=1e-6)


def test_boxes_of_a_class_without_regions_stay():
    batches = list(regression_batches(10, 3, np.random.default_rng(0), classes=1))
    kernel, bias = fit_boxes(reading(*batches), 2, 1.0)
    assert (kernel[1] == 0).all() and (bias[1] == 0).all() and (bias[0] != 0).any()
