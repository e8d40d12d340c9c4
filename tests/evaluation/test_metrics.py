"""Metrics against worked examples, scipy and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.evaluation import (
    evaluate,
    mean_interval,
    paired_interval,
    predict,
    score,
    wilson_interval,
)
from kdcourse.models import thin_resnet


def test_wilson_as_newcombe_1998_table_1():
    for correct, n, low, high in [
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
    ]:
        assert wilson_interval(correct, n) == pytest.approx((low, high), abs=0.006)


def test_wilson_by_its_formula():
    for correct, n, confidence in [(7, 7, 0.5), (1, 1, 0.95), (471, 540, 0.95), (8, 162, 0.99)]:
        z, p = stats.norm.ppf(0.5 + confidence / 2), correct / n
        middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        bounds = [100 * (middle + side * half) / (1 + z**2 / n) for side in (-1, 1)]
        assert wilson_interval(correct, n, confidence) == pytest.approx(bounds, abs=1e-9)


def test_wilson_of_nonsense():
    for correct, n, confidence in [(3, 2, 0.95), (-1, 2, 0.95), (0, 0, 0.95), (1, 2, 95)]:
        with pytest.raises(UsageError, match="expected"):
            wilson_interval(correct, n, confidence)


def test_mean_interval_by_hand_and_as_scipy():
    # 1 … 5: s = √2.5, t(4) = 2.776 → 2.776 · 1.5811 / √5 = 1.963
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3, 1.963), abs=5e-4)
    values = [84.2, 86.1, 85.0]
    mean, half = mean_interval(values, 0.9)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (mean - half, mean + half) == pytest.approx(tuple(interval))


def test_one_seed_has_no_spread():
    mean, half = mean_interval([87.0])
    assert mean == 87 and math.isnan(half)


def test_mean_interval_of_nonsense():
    for values in [[], [1.0, float("nan")], [[1.0, 2.0]]]:
        with pytest.raises(UsageError, match="one finite number a seed"):
            mean_interval(values)


def test_paired_interval_as_scipy_and_narrower():
    a, b = np.array([90.0, 85.0, 88.0]), np.array([89.1, 84.0, 86.9])
    mean, half = paired_interval(a, b)
    interval = stats.ttest_rel(a, b).confidence_interval()
    assert (mean - half, mean + half) == pytest.approx(tuple(interval))
    assert half < mean_interval(a)[1] / 10
    with pytest.raises(UsageError, match="same seeds"):
        paired_interval([1, 2], [1])


def test_pairing_gains_only_where_the_pairs_move_together():
    together, against = np.array([84.0, 86.0, 88.0]), np.array([88.0, 86.0, 84.0])
    other = np.array([80.0, 82.0, 85.0])
    separate = (mean_interval(together)[1] ** 2 + mean_interval(other)[1] ** 2) ** 0.5
    assert paired_interval(together, other)[1] < separate < paired_interval(against, other)[1]


def answers(confidence, right, wrong):
    """Log-probabilities of two classes with this confidence, always for class 0, and labels that
    make some wrong.
    """
    logits = torch.tensor([confidence, 1 - confidence]).log().repeat(right + wrong, 1)
    return logits, torch.tensor([0] * right + [1] * wrong)


def test_scores_by_hand():
    (a, la), (b, lb) = answers(0.78, right=4, wrong=0), answers(0.63, right=3, wrong=3)
    result = score(torch.cat([a, b]), torch.cat([la, lb]), ["x", "y"])
    assert result.accuracy == pytest.approx(70)
    # 4 of 10 too timid by 1 − 0.78, 6 of 10 too bold by 0.63 − 0.5; in fewer bins the two would
    # cancel out
    assert result.ece == pytest.approx(100 * (0.4 * 0.22 + 0.6 * 0.13), abs=1e-4)
    nll = -(4 * math.log(0.78) + 3 * math.log(0.63) + 3 * math.log(0.37)) / 10
    assert result.nll == pytest.approx(nll, abs=1e-6)
    assert result.confusion.tolist() == [[7, 0], [3, 0]]
    assert result.per_class.recall.tolist() == [100, 0]
    assert result.per_class.precision["x"] == 70 and math.isnan(
        result.per_class.precision["y"]
    )  # never answered
    assert result.per_class.support.tolist() == [7, 3]
    assert "x" in result.report and "macro avg" in result.report
    low, high = wilson_interval(7, 10)
    assert result.row() == dict(
        accuracy=70, low=low, high=high, nll=result.nll, ece=result.ece, n=10
    )


def test_one_line():
    logits, labels = answers(0.9, right=471, wrong=69)
    result = score(logits, labels, ["x", "y"])
    low, high = wilson_interval(471, 540)
    assert repr(result) == result.summary() == f"87.2 % ({low:.1f}–{high:.1f}, n = 540)"


@pytest.mark.filterwarnings("error")
def test_a_class_without_samples_is_kept_in_the_tables():
    result = score(torch.eye(3)[[0, 1]], torch.tensor([0, 1]), ["x", "y", "z"])
    assert result.accuracy == 100 and result.confusion.shape == (3, 3)
    assert math.isnan(result.per_class.recall["z"])


def test_bad_input():
    logits, labels = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
    with pytest.raises(UsageError, match="4 labels and 2 classes"):
        score(logits, labels, ["x", "y"])
    with pytest.raises(UsageError, match="no samples"):
        score(logits[:0], labels[:0], ["x", "y", "z"])
    with pytest.raises(UsageError, match="expected 0 to 2"):
        score(logits, labels + 1, ["x", "y", "z"])
    logits[1, 2], logits[3, 0] = float("nan"), float("inf")
    with pytest.raises(UsageError, match="logits of 2 of 4 samples are not finite"):
        score(logits, labels, ["x", "y", "z"])


def test_predict_in_order_and_whole(make_data):
    data, model = make_data(), thin_resnet(8, 4, 3, 3)
    logits, labels = predict(model, data.test)
    assert logits.shape == (len(data.test), 3) and logits.dtype == torch.float32
    assert np.array_equal(labels, data.test.labels)
    images = (data.test.take(range(len(data.test))) - data.mean[:, None, None]) / data.std[
        :, None, None
    ]
    torch.testing.assert_close(
        logits, model.eval()(torch.from_numpy(images.astype(np.float32))).detach()
    )
    torch.testing.assert_close(predict(model, data.test, batch_size=7)[0], logits)
    logits.requires_grad_()  # not a tensor of inference mode


def test_predict_leaves_every_module_in_its_mode_and_state(make_data):
    data, model = make_data(), thin_resnet(8, 4, 3, 3).train()
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predict(model, data.test)
    assert model.training and model.layer1[0].bn1.training and not model.bn1.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_predict_restores_the_mode_after_an_error(make_data):
    model = thin_resnet(8, 4, 13, 3).train()
    with pytest.raises(RuntimeError, match="channels"):
        predict(model, make_data().test)
    assert model.training


def test_logits_are_float32_also_under_autocast(make_data):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, _ = predict(thin_resnet(8, 4, 3, 3), make_data().test)
    assert logits.dtype == torch.float32


def test_evaluate(make_data):
    class Oracle(nn.Module):
        """Tells the class from the mean: the toy data set is made so."""

        def forward(self, images):
            levels = images.mean((1, 2, 3), keepdim=False)
            return -((levels[:, None] - torch.tensor([-1.1, 0.0, 1.1])) ** 2)

    data = make_data()
    result = evaluate(Oracle(), data.test, data.classes)
    assert result.accuracy == 100 and result.n == len(data.test) and result.interval[1] == 100
    assert list(result.per_class.index) == list(data.classes)
    with pytest.raises(UsageError, match="empty"):
        evaluate(Oracle(), data.test.subset(np.arange(0)), data.classes)
    with pytest.raises(UsageError, match="classes=len"):
        evaluate(Oracle(), data.test, data.classes[:2])
