"""How good a network is, and how sure one can be of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import UsageError
from kdcourse.data.batches import Batches
from kdcourse.data.splits import Split
from kdcourse.models.cost import device_of, evaluating

ECE_BINS = 15


def predict(
    model: nn.Module, split: Split, batch_size: int = 256, device=None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's answers to a split, in the split's order, never augmented.

    Returns logits (N, C) float32 and labels (N,) int64, both on the CPU. In eval mode without
    gradients; afterwards every module is in the mode in which it was. device: where the network is,
    by default found from its parameters.

    Raises UsageError for an empty split.
    """
    batches = Batches(split, batch_size, device=device or device_of(model))
    with evaluating(model):
        logits = torch.cat([model(batch.images).float().cpu() for batch in batches.epoch()])
    # a tensor made in inference mode takes no gradients: hand out a copy that does
    return logits.clone(), torch.tensor(split.labels)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of a network on a split. Printed: accuracy with its 95 % interval and the number
    of samples.
    """

    accuracy: float  # %
    interval: tuple[float, float]  # %, Wilson 95 %, over test samples and not over seeds
    nll: float  # nats: mean −log p(label)
    ece: float  # %: mean gap between confidence and accuracy
    per_class: pd.DataFrame  # precision, recall, f1 in % and support, one row per class
    confusion: np.ndarray  # (C, C) counts, row: true class, column: answer
    report: str  # scikit-learn's classification report
    n: int

    def summary(self) -> str:
        low, high = self.interval
        return f"{self.accuracy:.1f} % ({low:.1f}–{high:.1f}, n = {self.n})"

    __repr__ = summary

    def row(self) -> dict[str, float]:
        """A row of a table of results."""
        low, high = self.interval
        return dict(
            accuracy=self.accuracy, low=low, high=high, nll=self.nll, ece=self.ece, n=self.n
        )


def evaluate(
    model: nn.Module, split: Split, classes: Sequence[str], *, batch_size: int = 256, device=None
) -> Evaluation:
    """Judge a network on a split: `score` of what `predict` returns."""
    return score(*predict(model, split, batch_size, device), classes)


def score(logits: torch.Tensor, labels: torch.Tensor, classes: Sequence[str]) -> Evaluation:
    """Judge logits (N, C) against labels (N,); `classes` names the C classes.

    A class that is never answered has no precision, one without samples no recall: nan in the
    table. ECE: expected calibration error over 15 equal bins of confidence (Guo et al. 2017, eq.
    3), by torchmetrics.

    Raises UsageError if there are no samples, classes and logits disagree, or a logit is not
    finite.
    """
    # imported here, as both take a second to import and most commands never judge a network
    from sklearn.metrics import (
        classification_report,
        confusion_matrix,
        precision_recall_fscore_support,
    )
    from torchmetrics.functional.classification import multiclass_calibration_error

    n, count = len(labels), len(classes)
    if n == 0:
        raise UsageError("no samples to judge: the split is empty")
    if logits.shape != (n, count):
        raise UsageError(
            f"logits of shape {tuple(logits.shape)} for {n} labels and {count} classes: expected "
            f"({n}, {count}). Was the network built with classes=len(data.classes)?"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise UsageError(f"labels from {labels.min()} to {labels.max()}: expected 0 to {count - 1}")
    if not torch.isfinite(logits).all():
        bad = int((~torch.isfinite(logits)).any(1).sum())
        raise UsageError(
            f"logits of {bad} of {n} samples are not finite: the network has diverged, or its "
            "input has NaNs"
        )
    truth, answers, names = labels.numpy(), logits.argmax(1).numpy(), list(map(str, classes))
    every = dict(labels=range(count), zero_division=np.nan)
    precision, recall, f1, support = precision_recall_fscore_support(truth, answers, **every)
    columns = dict(precision=100 * precision, recall=100 * recall, f1=100 * f1, support=support)
    correct = int((truth == answers).sum())
    ece = multiclass_calibration_error(
        logits.softmax(1), labels, num_classes=count, n_bins=ECE_BINS, norm="l1"
    )
    return Evaluation(
        accuracy=100 * correct / n,
        interval=wilson_interval(correct, n),
        nll=F.cross_entropy(logits.double(), labels).item(),
        ece=100 * ece.item(),
        per_class=pd.DataFrame(columns, index=pd.Index(names, name="class")),
        confusion=confusion_matrix(truth, answers, labels=range(count)),
        report=classification_report(truth, answers, target_names=names, digits=3, **every),
        n=n,
    )


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of an accuracy, in %, by scipy (Wilson 1927; Brown, Cai & DasGupta
    2001, eq. 4).

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), with p = correct / n and z the normal
    quantile. Unlike p ± z √(p(1 − p)/n) it stays within 0–100 % and is right for few samples.
    """
    from scipy import stats

    if n < 1 or not 0 <= correct <= n:
        raise UsageError(f"correct={correct} of n={n}: expected 0 ≤ correct ≤ n and n ≥ 1")
    low, high = stats.binomtest(correct, n).proportion_ci(
        checked_confidence(confidence), method="wilson"
    )
    return 100 * float(low), 100 * float(high)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean over seeds and half the width of its interval: t(n − 1) · s / √n (Student 1908).

    One value has no spread: its half width is nan. It assumes values that are roughly normal.
    """
    from scipy import stats

    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise UsageError(f"values={values.tolist()}: expected one finite number a seed")
    n = len(values)
    if n == 1:
        return float(values[0]), float("nan")
    half = (
        stats.t.ppf(0.5 + checked_confidence(confidence) / 2, n - 1)
        * values.std(ddof=1)
        / np.sqrt(n)
    )
    return float(values.mean()), float(half)


def paired_interval(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95
) -> tuple[float, float]:
    """Mean of a − b, seed by seed, and half the width of its interval (paired t).

    a[i] and b[i] must share their seed: what a seed does to both alike then cancels out. If they
    are not positively correlated over the seeds, pairing gains nothing. The interval is over seeds,
    with one teacher and one test set.
    """
    if len(a) != len(b):
        raise UsageError(
            f"{len(a)} values against {len(b)}: pairs need the same seeds in the same order"
        )
    return mean_interval(np.subtract(a, b), confidence)


def checked_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UsageError(
            f"confidence={confidence}: expected a number between 0 and 1, for example 0.95"
        )
    return confidence
