"""The judges of early stopping and of what comparisons show."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.evaluation import paired_interval
from kdcourse.training import History


@task(
    "ex03",
    title="When to stop",
    minutes=6,
    difficulty="easy",
    points=1,
    hints=(
        "The right panel: where is the solid line, the validation loss, lowest?",
        "history.frame() is a table with one row per epoch: val_loss.idxmin() finds the row, "
        "val_accuracy what it had.",
    ),
)
def stopping(answer: Answer, rng: torch.Generator) -> None:
    """{"epoch": of the lowest validation loss, "lost": points of validation accuracy from there to
    the last epoch}.
    """
    given_answer = answer.value()
    if not isinstance(given_answer, dict) or set(given_answer) != {"epoch", "lost"}:
        raise Wrong(
            f"Expected a dict with the keys 'epoch' and 'lost', got {given_answer!r}.", "type"
        )
    table = noisy_run().frame().set_index("epoch")
    epoch = expect.whole(expect.typed(given_answer["epoch"], '"epoch"'), of='"epoch"')
    if epoch not in table.index:
        raise Wrong(
            f"There is no epoch {epoch}: they are counted from 1 to {len(table)}.", "no such epoch"
        )
    best = int(table.val_loss.idxmin())
    if table.val_loss[epoch] > 1.02 * table.val_loss[best]:
        at = (
            f"At epoch {epoch} the validation loss is {table.val_loss[epoch]:.2f} nats; it has "
            "been lower"
        )
        if epoch == len(table):
            raise Wrong(
                f"{at}. The training loss falls to the end, whatever the network learns: do not "
                "stop by it.",
                "last epoch",
            )
        if table.val_accuracy[epoch] >= table.val_accuracy.max() - 0.5:
            raise Wrong(
                f"{at}. You may have looked at the accuracy; the question is about the loss.",
                "best accuracy",
            )
        raise Wrong(
            f"{at} {'before' if epoch > best else 'after that' if epoch < best else ''}.".replace(
                " .", "."
            ),
            "too late" if epoch > best else "too early",
        )
    at_best, at_end = table.loc[best], table.iloc[-1]
    if abs(expect.scalar(expect.typed(given_answer["lost"], '"lost"'), of='"lost"')) <= 1:
        raise Wrong(
            f"In points of accuracy, please: {given_answer['lost']} looks like a fraction, or a "
            "difference of losses.",
            "unit",
        )
    expect.read_off(
        given_answer["lost"],
        at_best.val_accuracy - at_end.val_accuracy,
        within=1.5,
        of='"lost", in points',
        mistakes=_lost_mistakes(at_best, at_end),
    )


def _lost_mistakes(at_best, at_end) -> dict:
    """Values of the likely mistakes for the points lost, each with a sentence."""
    return {
        "sign": (
            at_end.val_accuracy - at_best.val_accuracy,
            "It is a loss: count the points that are lost.",
        ),
        "overfitting gap": (
            at_end.train_accuracy - at_end.val_accuracy,
            "That is the gap between train and validation at the end. Compare validation with "
            "validation: at your epoch, and at the last.",
        ),
        "accuracy": (
            at_end.val_accuracy,
            "That is the accuracy that is left. How much was lost?",
        ),
    }


@lru_cache(maxsize=1)
def noisy_run() -> History:
    """A small network trained too long: 200 of scikit-learn's digits, of which a fifth bear a label
    drawn at random.

    300 full-batch steps, each counted as an epoch; validation: 500 other digits, with their own
    labels.
    """
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images) / 16, torch.tensor(labels).long()
    drawn = torch.Generator().manual_seed(0)
    order = torch.randperm(len(labels), generator=drawn)
    train, val = order[:200], order[-500:]
    given = labels[train].clone()
    given[:40] = torch.randint(0, 10, (40,), generator=drawn)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)
        ).double()  # float64: as good as exact
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    history = History()
    for epoch in range(1, 301):
        optimizer.zero_grad()
        F.cross_entropy(network(images[train]), given).backward()
        optimizer.step()
        with torch.no_grad():
            train_logits, val_logits = network(images[train]), network(images[val])
        history.records.append(
            dict(
                epoch=epoch,
                loss=F.cross_entropy(train_logits, given).item(),
                train_accuracy=100 * (train_logits.argmax(1) == given).double().mean().item(),
                val_accuracy=100 * (val_logits.argmax(1) == labels[val]).double().mean().item(),
                val_loss=F.cross_entropy(val_logits, labels[val]).item(),
            )
        )
    return history


# --- what has been shown? -------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """A distilled student beside a student without a teacher; accuracies of runs in %, in the order
    of their seeds.
    """

    source: str
    distilled: tuple[float, ...]
    plain: tuple[float, ...]
    epochs: (
        tuple[int, int] | None
    )  # of the distilled and of the plain student; None: both trained alike
    augmented: tuple[bool, bool] = (True, True)
    reported: str = ""  # which epoch, if it was told

    @property
    def verdict(self) -> str:
        if (
            self.epochs
            and self.epochs[0] != self.epochs[1]
            or self.augmented[0] != self.augmented[1]
        ):
            return "two causes"
        if self.reported.endswith("test"):
            return "chosen on test"
        if len(self.plain) == 1:
            return "neither"
        mean, half = paired_interval(self.distilled, self.plain)
        return "neither" if abs(mean) <= half else "gain" if mean > 0 else "loss"

    def __str__(self) -> str:
        def student(i, accuracies):
            runs = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
            if not self.epochs:
                return f"{runs} %"
            return (
                f"{runs} % ({self.epochs[i]} epochs, "
                f"{'' if self.augmented[i] else 'not '}augmented)"
            )

        seeds = "one run each" if len(self.plain) == 1 else f"seeds 0 to {len(self.plain) - 1}"
        return (
            f"{self.source}; {seeds}{self.reported and ', ' + self.reported}.\n   distilled "
            f"{student(0, self.distilled)}\n   plain     {student(1, self.plain)}"
        )


MADE_UP = "Made up"


COMPARISONS = {
    "A": Comparison("D1, published", (96.65,), (89.57,), (10, 10), (True, False)),
    "B": Comparison(
        MADE_UP,
        (78.4, 84.1, 80.9, 75.2, 82.6),
        (77.0, 82.9, 79.5, 74.3, 81.2),
        (60, 60),
        reported="last epoch",
    ),
    "C": Comparison("D2, published", (94.2,), (94.1,), (10, 5)),
    "D": Comparison(
        MADE_UP, (83.9, 80.2, 84.6), (80.1, 81.0, 81.6), (60, 60), reported="last epoch"
    ),
    "E": Comparison(
        "D4, published, response-based on MNIST, both trained alike", (98.0,), (97.9,), None
    ),
    "F": Comparison(
        MADE_UP,
        (71.8, 72.4, 71.1, 72.9),
        (70.2, 70.9, 69.9, 71.2),
        (40, 40),
        reported="best epoch on test",
    ),
    "G": Comparison(
        MADE_UP,
        (88.1, 86.9, 87.4, 88.0, 87.2),
        (88.9, 87.8, 88.0, 88.9, 88.1),
        (80, 80),
        reported="best epoch on validation",
    ),
}


WHY = {
    "two causes": "Is the teacher all that differs between the two students?",
    "chosen on test": "Which images chose the epoch that is reported?",
    "neither": "What does the paired interval say, if there can be one?",
    "gain": "Seeds lift and lower both students alike. Pair the runs, then look at the "
    "differences and their interval.",
    "loss": "Pair the runs, then look at the sign of the differences and at their interval.",
}


@task(
    "ex03",
    title="What has been shown",
    minutes=10,
    difficulty="medium",
    points=2,
    hints=(
        "First the design: does anything differ besides the teacher? Which images chose what is "
        "reported?",
        "Only then the numbers: paired_gain of task 2. Zero inside the interval: neither a gain "
        "nor a loss is shown.",
        "A single run each has no interval over seeds.",
    ),
)
def verdicts(answer: Answer, rng: torch.Generator) -> None:
    """What each of seven comparisons of a distilled with a plain student shows, by letter."""
    expect.sorted_into(
        answer.value(), {letter: each.verdict for letter, each in COMPARISONS.items()}, WHY
    )
