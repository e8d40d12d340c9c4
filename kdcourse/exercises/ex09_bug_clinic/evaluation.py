"""Cases 9 and 10, evaluation: to find, to prove and to mend, and two judgements."""

import numpy as np
import torch

from kdcourse.checking import answer_parts, expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.exercises import bug_cases
from kdcourse.exercises.ex09_bug_clinic.finding import find_faults
from kdcourse.exercises.ex09_bug_clinic.proving import SEEDED, prove_case
from kdcourse.exercises.ex09_bug_clinic.trainers import run_trainer


@task(
    "ex09",
    title="Find: two evaluations",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "A test set answers one question, once, about one network, and looks as it will look in "
        "use.",
        "What decides in case 9? What is random in case 10?",
    ],
)
def found_evaluation(answer: Answer, rng: torch.Generator) -> None:
    """Name the fault of cases 9 and 10."""
    find_faults(answer, "evaluation")


@task(
    "ex09",
    title="Prove case 9",
    minutes=5,
    difficulty="medium",
    points=2,
    hints=[
        "A rule may report the best epoch on validation, or the last. Two things must hold of "
        "either: the figure is the test figure of the epoch that it names, and the test figures do "
        "not decide which epoch that is.",
        "Make a history in which the best epoch on test is neither the best on validation nor the "
        "last.",
        "Or call it twice, with the same validation figures and other test figures: the epoch must "
        "be the same, and the figure that of the epoch.",
    ],
)
def prove_9(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if test figures decide what is reported, and passes for any honest
    rule.
    """
    prove_case(
        answer,
        rng,
        9,
        "In your history, is the best epoch on test another than the best on validation and the "
        "last?",
    )


@task(
    "ex09",
    title="Mend case 9",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "Two lines: which epoch, by validation; then look at test once.",
        "max(range(len(val_accuracy)), key=lambda epoch: val_accuracy[epoch]) is the first epoch "
        "that is best.",
    ],
)
def mend_9(answer: Answer, rng: torch.Generator) -> None:
    """Mend case 9: the first epoch that is best on validation, and its test accuracy."""
    for epochs in (12, 1, 5):
        val = (100 * torch.rand(epochs, generator=rng, dtype=torch.float64)).tolist()
        test = (100 * torch.rand(epochs, generator=rng, dtype=torch.float64)).tolist()
        if epochs > 4:
            val[epochs - 2] = val[1] = 100.0  # a tie
            test[0] = 101.0
        best, last = val.index(max(val)), len(val) - 1
        tied = epochs - 2 if epochs > 4 else best
        value = answer(val, test)
        if not isinstance(value, list | tuple | torch.Tensor | np.ndarray) or len(value) != 2:
            raise Wrong("Expected two things back, (epoch, test accuracy).", "form")
        if not isinstance(value, list | tuple):
            value = value.tolist()
        epoch, figure = (
            expect.whole(value[0], "the epoch"),
            expect.scalar(value[1], "the test accuracy"),
        )
        for fault, (instead, number), sentence in (
            ("best on test", (test.index(max(test)), max(test)), "The test set still decides."),
            (
                "counted from 1",
                (best + 1, test[best]),
                "Epochs are counted from 0, as the lists are.",
            ),
            (
                "validation figure",
                (best, val[best]),
                "This is the validation accuracy: test's is wanted.",
            ),
            (
                "best figure",
                (best, max(test)),
                "The epoch is chosen on validation, but the figure is test's best.",
            ),
            (
                "last of a tie",
                (tied, test[tied]),
                "Two epochs are equally good on validation: the first is wanted.",
            ),
            (
                "last epoch",
                (last, test[last]),
                "This is the last epoch. That is honest too, but the best one on validation is "
                "asked for.",
            ),
        ):
            right = epoch == best and abs(figure - test[best]) < 1e-3  # float32 will do
            if not right and epoch == instead and abs(figure - number) < 1e-3:
                raise Wrong(f"{sentence} Expected epoch {best}, got {epoch}.", fault)
        if epoch != best:
            raise Wrong(
                f"Expected epoch {best}, the first that is best on validation, got {epoch}.",
                "epoch",
            )
        expect.close(figure, test[best], of="the test accuracy of that epoch")


@task(
    "ex09",
    title="Prove case 10",
    minutes=4,
    difficulty="medium",
    points=2,
    hints=[
        "Of the test images you know what must come out: (test_images − mean) / std, and nothing "
        "random.",
        "Some images, not one, and none that looks the same in a mirror; compare with allclose. Or "
        "call it twice and ask for the same test images.",
    ],
    seconds=20,
)
def prove_10(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if test images are augmented."""
    prove_case(
        answer,
        rng,
        10,
        "Would your test images look the same in a mirror? Are there enough of them?",
        tries=10,
    )


@task(
    "ex09",
    title="Mend case 10",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "Two things happen in `transform`. Which of them does a test image need as well?",
        "Flip the training images alone; normalise both, with the same mean and std.",
    ],
)
def mend_10(answer: Answer, rng: torch.Generator) -> None:
    """Mend case 10: training images flipped at random and normalised, test images normalised
    alone.
    """
    train, test = (
        20 * torch.randn(24, 3, 4, 4, generator=rng) + 100,
        20 * torch.randn(9, 3, 4, 4, generator=rng) + 90,
    )
    mean, std = (torch.rand(1, 3, 1, 1, generator=rng) for _ in range(2))
    mean, std = 100 + 20 * mean, 10 + 20 * std
    value = run_trainer(answer, train, test, mean, std).value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise Wrong("Expected two things back, (training images, test images).", "form")
    came, tested = (
        expect.shape(v, w.shape, "the images") for v, w in zip(value, (train, test), strict=True)
    )
    mean, std = mean.double(), std.double()
    right = (test.double() - mean) / std
    axes = (0, 2, 3)
    own = (test - test.mean(axes, keepdim=True)) / test.std(axes, keepdim=True)
    if _mirrored(tested, right):
        raise Wrong("Some test images are still mirrored at random.", "still flipped")
    expect.close(
        tested,
        right,
        {
            "not normalised": (
                test,
                "The test images are not normalised any more: only the flip had to go.",
            ),
            "own mean and std": (
                own,
                "The test images are normalised by their own mean and std: training's belong.",
            ),
            "always flipped": (right.flip(3), "All test images are mirrored now."),
        },
        of="the test images",
        rtol=1e-3,
        atol=1e-3,
    )
    _check_training(train, mean, std, came)
    if torch.equal(
        expect.tensor(run_trainer(answer, train, test, mean.float(), std.float()).value[0]), came
    ):
        raise Wrong(f"Two calls mirrored the same training images: {SEEDED}", "not random")


def _check_training(train, mean, std, came) -> None:
    """Raise Wrong unless each training image is normalised, and some of them are mirrored."""
    plain = (train.double() - mean) / std
    if torch.allclose(came, train.double(), atol=1e-3):
        raise Wrong("The training images are not normalised any more.", "training not normalised")
    if torch.allclose(came, plain, atol=1e-3):
        raise Wrong(
            "Training images are not flipped any more: there it was right.", "training not flipped"
        )
    if torch.allclose(came, plain.flip(3), atol=1e-3):
        raise Wrong(
            "All training images are mirrored: each one should be, or not, at random.",
            "training all flipped",
        )
    rows = [
        torch.isclose(came, views, atol=1e-3).flatten(1).all(1) for views in (plain, plain.flip(3))
    ]
    if not (rows[0] | rows[1]).all():
        raise Wrong(
            "Some training image is neither (image − mean) / std nor its mirror image. Flips go "
            "left to right, the last dimension.",
            "training",
        )


def _mirrored(images: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether each image is right or mirrored, and both occur."""
    rows = [
        torch.isclose(images, views, rtol=1e-3, atol=1e-3).flatten(1).all(1)
        for views in (right, right.flip(3))
    ]
    return bool((rows[0] | rows[1]).all() and rows[0].any() and (~rows[0]).any())


# --- what the best test epoch is worth ------------------------------------------------------------


def _reported(method: str, rule) -> np.ndarray:
    """The test accuracies in % (runs,) that `rule` reports of `answer_parts.histories`."""
    history = answer_parts.histories()[method]
    return np.array([rule(*run)[1] for run in zip(history["val"], history["test"], strict=True)])


@task(
    "ex09",
    title="How flattering is the best test epoch?",
    minutes=5,
    difficulty="easy",
    points=2,
    hints=[
        "For each run two figures: case 9's, and that of your mended function. Take the "
        "difference, then the mean.",
        "A loop over zip(runs['val'], runs['test']) with both functions; they return (epoch, "
        "accuracy).",
    ],
)
def flattery(answer: Answer, rng: torch.Generator) -> None:
    """Read off how many points the best test epoch adds to the plain student's figure, mean over
    the runs.
    """
    best, honest = (
        _reported("plain", rule)
        for rule in (bug_cases.evaluation.best_on_test, bug_cases.evaluation.best_on_validation)
    )
    runs = answer_parts.histories()["plain"]
    other = (
        _reported("distilled", rule)
        for rule in (bug_cases.evaluation.best_on_test, bug_cases.evaluation.best_on_validation)
    )
    expect.read_off(
        answer.value(),
        (best - honest).mean(),
        0.05,
        {
            "sign": (
                (honest - best).mean(),
                "The other way round: best test epoch minus the honest figure.",
            ),
            "distilled": (
                np.subtract(*other).mean(),
                "That is the distilled student: the plain one is asked for.",
            ),
            "last epoch": (
                (best - runs["test"][:, -1]).mean(),
                "That is against the last epoch: against the epoch that is best on validation is "
                "asked for.",
            ),
            "validation": (
                (best - runs["val"].max(1)).mean(),
                "That is against the best validation figure: against the *test* figure of that "
                "epoch is asked for.",
            ),
            "largest": (
                (best - honest).max(),
                "That is the largest of the runs: the mean is asked for.",
            ),
            "sum": ((best - honest).sum(), "That is the sum over the runs: the mean is asked for."),
            "mean curve": (
                runs["test"].mean(0).max() - runs["test"].mean(0)[runs["val"].mean(0).argmax()],
                "Each run chooses its own epoch: first the difference of each run, then the mean.",
            ),
        },
        of="what the best test epoch adds, in points",
    )


@task(
    "ex09",
    title="Does it cancel in a comparison?",
    minutes=3,
    difficulty="medium",
    points=2,
    hints=[
        "Compute the gain, distilled minus plain, both ways. Are the two gains the same?",
        "The largest of many figures that scatter lies further above their mean than that of few. "
        "Who draws more often?",
    ],
)
def cancels(answer: Answer, rng: torch.Generator) -> None:
    """Judge what becomes of the gain if both methods report their best test epoch."""
    gains = [
        (_reported("distilled", rule) - _reported("plain", rule)).mean()
        for rule in (bug_cases.evaluation.best_on_test, bug_cases.evaluation.best_on_validation)
    ]
    change = gains[0] - gains[1]
    right = "a" if abs(change) < 0.2 else "b" if change > 0 else "c"
    both = (
        f"With the best test epoch the gain is {gains[0]:+.1f} points, chosen on validation "
        f"{gains[1]:+.1f}."
    )
    why = {
        "a": ("cancels", f"Both figures are too high, but not by the same amount. {both}"),
        "b": ("favours the longer", f"Who draws more often does not gain by it here. {both}"),
        "c": ("hides", f"Compute the gain both ways: which is larger? {both}"),
        "d": (
            "cannot tell",
            "A single pair of runs could not tell; "
            f"{len(answer_parts.histories()['plain']['test'])} can. {both}",
        ),
    }
    expect.choice(answer.value(), right, {letter: why[letter] for letter in why if letter != right})
