"""The judge of claims about two result tables."""

import numpy as np
import torch
from scipy import stats

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, task
from kdcourse.exercises.ex07_fair_comparison.p_values import coin_p
from kdcourse.experiments import cifar10

CLASS_IMAGES = 1000  # CIFAR-10's test set has so many images of each class


D2_EPOCHS = {"student with KD": 10, "student without": 5}


def _d2_sentences() -> dict[str, tuple[bool, str, str]]:
    """Letter → whether it follows from what D2 publishes, the fault of those who err, where to
    look.
    """
    table = cifar10.PUBLISHED.drop(index="overall")
    kd, plain = (
        np.rint(10 * table[arm]).astype(int) for arm in D2_EPOCHS
    )  # of 1,000 images a class
    up, down = int((kd > plain).sum()), int((kd < plain).sum())
    least = {name: _range(kd[name], plain[name])[0] for name in table.index}
    most = {name: _range(kd[name], plain[name])[1] for name in table.index}
    total = [
        round(100 * CLASS_IMAGES * cifar10.PUBLISHED.loc["overall", arm] / 1000)
        for arm in D2_EPOCHS
    ]
    overall = _range(*total, 10 * CLASS_IMAGES)
    return {
        "a": (
            overall[1] < 0.05,
            "overall",
            f"{total[0]} against {total[1]} right of 10,000. Ask your `p_range`: if all of the "
            f"difference falls to one side, p is {overall[0]:.3f}; if not, up to {overall[1]:.2f}. "
            "The table does not say which.",
        ),
        "b": (
            most["dog"] < 0.05,
            "hidden pairing",
            f"Dogs: {kd['dog']} against {plain['dog']} right of 1,000. Which p that is depends on "
            "how many images only one of the two gets right: see the larger end of your `p_range`.",
        ),
        "c": (
            stats.binomtest(up, up + down).pvalue < 0.05,
            "sign test",
            f"Like a coin that falls {up} times to one side of {up + down}: work out its p.",
        ),
        "d": (
            least["horse"] > 0.05,
            "too few images",
            f"Horses: {kd['horse']} against {plain['horse']} right of 1,000. What is the *least* p "
            "of two images?",
        ),
        "e": (
            len(set(D2_EPOCHS.values())) > 1,
            "two changes",
            f"Look at the epochs: {' and '.join(map(str, D2_EPOCHS.values()))}. Two things changed "
            "at once.",
        ),
        "f": (
            max(abs(kd - plain)) <= abs(total[0] - total[1]) / 10,
            "mean hides",
            "A mean hides what its parts do: look at the classes that moved most, up and down.",
        ),
    }


def _range(right_a: int, right_b: int, images: int = CLASS_IMAGES) -> tuple[float, float]:
    better, worse = max(right_a, right_b), min(right_a, right_b)
    both = min(images - better, worse)
    return coin_p(better - worse, 0), coin_p(better - worse + both, both)


@task(
    "ex07",
    title="Two accuracies, one claim",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=[
        "A class has 1,000 test images, so 0.1 % is one image. Your `p_range` takes numbers of "
        "images.",
        "If the *largest* p is below 0.05, the two networks differ, whatever the images. If the "
        "*least* is above, nothing can be shown. In between the table does not tell.",
        "Two of the six sentences hold.",
    ],
)
def claims(answer: Answer, rng: torch.Generator) -> None:
    """Judge which of six sentences follow from D2's table."""
    expect.statements(answer.value(), _d2_sentences())
