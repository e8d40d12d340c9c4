"""The judges of a reward that is fooled and of verdicts on curricula."""

import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong, task
from kdcourse.evaluation import mean_interval, paired_interval
from kdcourse.exercises.draws import whole_number


@task(
    "ex06",
    title="Fool the reward",
    minutes=8,
    difficulty="medium",
    points=2,
    hints=[
        "Add up the accuracy part over the epochs: 2(a₂ − a₁) + 2(a₃ − a₂) + … What is left of it?",
        "Only the first and the last accuracy count. The last must stay.",
        "So spoil the first epoch. But look at the condition a_{t−1} > 0: after an accuracy of "
        "exactly 0 nothing is paid.",
    ],
)
def fooled(answer: Answer, rng: torch.Generator) -> None:
    """Find accuracies that are nowhere better than a run's, and earn more of D3's reward."""
    for epochs in (5, 8):
        rises = 1 + 8 * torch.rand(epochs, generator=rng).double()
        honest = [round(a, 1) for a in (34 + rises.cumsum(0) * 45 / rises.sum()).tolist()]
        value = expect.shape(answer(list(honest)), (epochs,), of="the accuracies")
        value = expect.finite(value, of="the accuracies").tolist()
        if min(value) < 0 or max(value) > 100:
            raise Wrong(
                f"Accuracies are in %, from 0 to 100: got {min(value):g} to {max(value):g}.",
                "range",
            )
        higher = [
            epoch
            for epoch, (accuracy, reference) in enumerate(zip(value, honest, strict=True), 1)
            if accuracy > reference + 1e-6
        ]
        if higher:
            at = higher[0]
            raise Wrong(
                f"In epoch {at} your accuracy is {value[at - 1]:g}, above the run's "
                f"{honest[at - 1]:g}. That is no fooling, that is learning: stay at or below it.",
                "above",
            )
        if abs(value[-1] - honest[-1]) > 1e-3:
            raise Wrong(f"The last accuracy must stay {honest[-1]:g}: got {value[-1]:g}.", "last")
        earned, fair = (_reward(accuracies) for accuracies in (value, honest))
        if earned < fair + 10:
            raise _unpaid(value, earned, fair)


def _reward(accuracies: list[float]) -> float:
    """D3's, over a run whose training loss never rises."""
    steps = [
        2 * (now - before)
        for before, now in zip(accuracies, accuracies[1:], strict=False)
        if before > 0
    ]
    epochs = len(accuracies)
    early = sum(2 for epoch, a in enumerate(accuracies, 1) if a > 60 and epoch < 0.3 * epochs)
    return sum(steps) + early + sum(0.1 * max(a - 70, 0) for a in accuracies)


def _unpaid(value: list[float], earned: float, fair: float) -> Wrong:
    message = f"Yours earn {earned:.1f}, the run's {fair:.1f}: expected at least 10 more."
    if 0 in value[:-1]:
        why = (
            "After an accuracy of exactly 0 the step up is not paid: see the condition a_{t−1} > 0."
        )
        return Wrong(f"{why} {message}", "zero")
    if any(after < before for before, after in zip(value, value[1:], strict=False)):
        why = (
            "To fall and rise again earns nothing: what the rise pays, the fall has cost. Only the "
            "ends count."
        )
        return Wrong(f"{why} {message}", "ups_and_downs")
    return Wrong(f"{message} Which two accuracies remain when the steps are added up?", "not_paid")


VERDICTS = ("helps", "harms", "not shown", "not comparable")


@task(
    "ex06",
    title="Is it the order?",
    minutes=12,
    difficulty="medium",
    points=2,
    hints=[
        "First ask whether the two may be compared at all: did they see equally many samples? Only "
        "then look at accuracies.",
        "Pair by the seed, which is the key of the dictionary: the two need not be in the same "
        "order.",
        "paired_interval(a, b) gives the mean and half the interval. One seed has no interval: "
        "half is nan, and every comparison with nan is False.",
    ],
)
def verdict(answer: Answer, rng: torch.Generator) -> None:
    """Say what a curriculum's runs and its control's show about the order of the samples."""
    cases = [  # the last is also tried last: who does not pair at all fails before
        ("helps", dict(gain=2.0, spread=0.3)),
        ("harms", dict(gain=-2.0, spread=0.3)),
        ("not shown", dict(gain=1.0, spread=0.9)),  # ± 1.12 by t, less than 1 by 1.96 or by 90 %
        ("helps", dict(gain=1.5, spread=0.2, seeds=4, luck=6.0)),  # clear by pairs, drowned without
        ("not comparable", dict(gain=4.0, spread=0.3, more=1.4)),
        ("not comparable", dict(gain=-4.0, spread=0.3, more=0.6)),
        ("not shown", dict(gain=3.0, spread=0.0, seeds=1)),
        ("harms", dict(gain=-1.5, spread=0.2, seeds=4, luck=6.0, shuffled=True)),
    ]
    for place in [*torch.randperm(len(cases) - 1, generator=rng).tolist(), -1]:
        expected, how = cases[place]
        curriculum, control = _two_arms(rng, **how)
        came = expect.one_of(answer(curriculum, control), VERDICTS, of="the verdict")
        if came != expected:
            raise _misjudged(came, expected, curriculum, control)


def _two_arms(rng, gain, spread, seeds=5, luck=1.0, more=1.0, shuffled=False) -> tuple[dict, dict]:
    """Runs of a curriculum and its control: their paired gains have just this mean and standard
    deviation.
    """
    scores = torch.randn(seeds, generator=rng).double()
    scores = (scores - scores.mean()) / scores.std() if seeds > 1 else scores * 0
    common = torch.linspace(-1, 1, seeds).double()[
        torch.randperm(seeds, generator=rng)
    ]  # of a seed, to both arms
    base = 70 + luck * common
    names = torch.randperm(90, generator=rng)[:seeds].tolist()
    order = sorted(range(seeds), key=lambda i: base[i].item(), reverse=True)
    accuracy = (base + gain + spread * scores).tolist()
    curriculum = {names[i]: round(accuracy[i], 2) for i in (order if shuffled else range(seeds))}
    control = {
        names[i]: round(base[i].item(), 2) for i in (order[::-1] if shuffled else range(seeds))
    }
    samples = 100 * whole_number(rng, 50, 200)
    return (
        {"samples": round(samples * more), "accuracy": curriculum},
        {"samples": samples, "accuracy": control},
    )


def _misjudged(came: str, expected: str, curriculum: dict, control: dict) -> Wrong:
    by_curriculum, by_control = curriculum["accuracy"], control["accuracy"]
    gain, half = paired_interval(
        [by_curriculum[seed] for seed in by_curriculum],
        [by_control[seed] for seed in by_curriculum],
    )
    message = f'Expected "{expected}", got "{came}".'
    if expected == "not comparable":
        counts = f"{curriculum['samples']} samples seen against {control['samples']}"
        return Wrong(
            f"{message} {counts}: a difference may come from their number and not from the order.",
            "samples",
        )
    if came == "not comparable":
        return Wrong(
            f"{message} Both saw {control['samples']} samples, and have the same seeds: compare "
            "them.",
            "refused",
        )
    if len(by_curriculum) == 1:
        return Wrong(
            f"{message} One seed has no spread, so no interval: it shows nothing, however large.",
            "one_seed",
        )
    interval = f"Paired by seed the gain is {gain:+.2f} ± {half:.2f} points"
    if {came, expected} == {"helps", "harms"}:
        return Wrong(
            f"{message} {interval}, curriculum less control: mind the direction.", "direction"
        )
    if expected == "not shown":
        why = "the 95 % interval, by t, includes zero. The mean alone shows nothing"
        return Wrong(f"{message} {interval}: {why}.", "mean")
    by_place = paired_interval(list(by_curriculum.values()), list(by_control.values()))
    if list(by_curriculum) != list(by_control) and abs(by_place[0]) <= by_place[1]:
        why = "The seeds of the two stand in different orders: pair by the key, not by the place."
        return Wrong(f"{message} {why} {interval}.", "pairing")
    apart = sum(mean_interval(list(arm.values()))[1] for arm in (by_curriculum, by_control))
    if abs(gain) <= apart:
        why = "Compare seed by seed: what a seed does to both arms alike cancels out"
        return Wrong(f"{message} {why}. {interval}.", "unpaired")
    return Wrong(f"{message} {interval}.", "missed")
