"""Checks of exercise 09: the bug clinic. The implementations that a check is tried on are in
`bug_cases`.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np
import torch
from torch.nn import functional as F

from kdcourse.checking import answer_parts, expect, safe_call
from kdcourse.checking.task import Answer, AnswerPart, CallOutcome, Wrong, task
from kdcourse.distillation import soft_target_loss
from kdcourse.exercises import bug_cases

# For each group, its faults as the notebook lists them: (name, what one would see if it were that
# one).
FAULTS = {
    "losses": {
        "a": ("no T²", "without T² anywhere, no `temperature**2` would stand in the code"),
        "b": (
            "divided by C",
            "look at what the mean is taken over: the batch, or batch and classes",
        ),
        "c": ("softmax for log", "then `F.kl_div` would get a `softmax` as its first argument"),
        "d": (
            "T² in one branch",
            "that takes two ways through the function, with T² in one of them",
        ),
        "e": (
            "log of underflow",
            "that takes a `log` of a probability that `softmax` has already rounded to 0",
        ),
        "f": (
            "swapped",
            "then the student's probabilities would stand in front, where the teacher's belong",
        ),
    },
    "trainers": {
        "a": (
            "teacher with gradients",
            "a teacher that gives no teaching, or runs under `no_grad`, has no gradients",
        ),
        "b": (
            "student in eval",
            "follow `student.training` through two epochs: which line changes it, and when?",
        ),
        "c": ("teacher trained", "look at which parameters the optimiser was given"),
        "d": (
            "adapter left out",
            "that takes a layer beside the student that has to learn as well",
        ),
        "e": (
            "teacher in train mode",
            "follow `teacher.training`: which line changes it last before it answers?",
        ),
        "f": ("gradients add up", "look for `zero_grad()`: it stands in every step"),
    },
    "data": {
        "a": (
            "answers out of order",
            "that takes answers that are kept, and a second pass that shuffles anew",
        ),
        "b": ("another mean and std", "nothing is normalised here"),
        "c": ("different crops", "that takes an augmentation that is drawn twice"),
        "d": (
            "answers to plain images",
            "look at what the teacher is given, the images or an augmented view",
        ),
        "e": ("images left out", "count the images of an epoch: does one fall away?"),
    },
    "evaluation": {
        "a": ("best test epoch", "look at what decides which epoch is reported"),
        "b": ("test augmented", "that takes something random on the way of the test images"),
        "c": (
            "own mean and std",
            "look where mean and std come from: they are the same for both sets",
        ),
        "d": ("last epoch", "then `test_accuracy[-1]` would be returned, whatever the figures are"),
        "e": ("train mode", "no network runs in this function"),
    },
}
FOUND = {
    "losses": {1: "b", 2: "d", 3: "e"},
    "trainers": {4: "b", 5: "e", 6: "d"},
    "data": {7: "a", 8: "c"},
    "evaluation": {9: "a", 10: "b"},
}


SEEDED = "chance has gone, or a seed is set inside, and then every epoch shows the same."


def _seed(rng: torch.Generator) -> int:
    return int(torch.randint(2**31, (), generator=rng))


# --- to find --------------------------------------------------------------------------------------


def _find(answer: Answer, group: str) -> None:
    """A dictionary {case: letter}; the letters in the order of the cases, as a list or a word, do
    as well.
    """
    faults, right = FAULTS[group], FOUND[group]
    form = f"expected {dict.fromkeys(right, '…')} with a letter for each case"
    came = answer.value()
    if isinstance(came, list | tuple | str):
        came = dict(zip(right, came, strict=False)) if len(came) == len(right) else None
    if not isinstance(came, Mapping):
        raise Wrong(f"Your answer is not a letter for each case: {form}.", "form")
    came = {
        str(case).lower().removeprefix("case").strip(" _"): letter for case, letter in came.items()
    }
    if set(came) != set(map(str, right)):
        raise Wrong(f"Your answer has the cases {', '.join(came) or 'none'}: {form}.", "form")
    letters = {case: expect.one_of(came[str(case)], list(faults), f"case {case}") for case in right}
    wrong = [case for case in right if letters[case] != right[case]]
    if wrong:
        case = wrong[0]
        name, sentence = faults[letters[case]]
        count = f"{len(right) - len(wrong)} of {len(right)} are right. "
        stop = "" if sentence.endswith("?") else "."
        raise Wrong(
            f"{count}Case {case} is not ({letters[case]}): {sentence}{stop}", f"case {case}: {name}"
        )


@task(
    "ex09",
    title="Find: three losses",
    minutes=3,
    difficulty="easy",
    points=1,
    hints=[
        "Ask of each loss: what is summed, and over what is the mean? Is T² there, in every way "
        "through? Is a log "
        "taken of something that may be 0?",
        "Try them: two rows of logits with few classes, then with many; a large T and a small one; "
        "logits of 1,000.",
    ],
)
def found_losses(answer: Answer, rng: torch.Generator) -> None:
    """Name the fault of cases 1 to 3."""
    _find(answer, "losses")


# --- to prove -------------------------------------------------------------------------------------


def _prove(answer: Answer, rng: torch.Generator, case: int, look: str, tries: int = 2) -> None:
    """A learner's check must raise AssertionError on every broken implementation and on no right
    one, each time.

    look: where to look if the code that is shown goes through.
    """
    torch.manual_seed(_seed(rng))  # a check may draw for itself
    _must_pass(answer, case, 0, tries)
    _must_fail(answer, case, 0, tries, look)
    for number in range(1, len(bug_cases.RIGHT[case])):
        _must_pass(answer, case, number, tries)
    for number in range(1, len(bug_cases.BROKEN[case])):
        _must_fail(answer, case, number, tries, "")


def _must_pass(answer: Answer, case: int, number: int, tries: int) -> None:
    for _ in range(tries):
        outcome = _tried(answer, case, True, number)
        if outcome.error:
            what, said = bug_cases.RIGHT[case][number].__doc__, outcome.error[1].strip()
            said = f" It says: {said[:300]}." if said else ""
            raise Wrong(
                f"Your check says no to an implementation that is right: {what}.{said} Does it ask "
                "for more than the "
                "case promises: equality to the last digit, one way of writing it, a certain state "
                "afterwards? Or is "
                "what it expects itself wrong?",
                "fails right",
            )


def _must_fail(answer: Answer, case: int, number: int, tries: int, look: str) -> None:
    outcomes = [_tried(answer, case, False, number) for _ in range(tries)]
    silent = [outcome for outcome in outcomes if not outcome.error]
    what = bug_cases.BROKEN[case][number].__doc__
    if (
        len(silent) <= tries // 10
    ):  # one of ten is bad luck: ten images are all unflipped once in a thousand times
        return
    if len(silent) < tries:
        raise Wrong(
            f"Your check said no to {what} in {tries - len(silent)} of {tries} calls: it depends "
            "on chance. Use more "
            "images, or compare with what must come out.",
            "by chance",
        )
    if isinstance(silent[0].value, bool | np.bool_ | str | torch.Tensor):
        raise Wrong(
            f"Your check returned {expect.type_name(silent[0].value)} for {what}. Nobody reads "
            "what a check returns: "
            "it must raise. Write `assert …` where you wrote `return …`.",
            "returns",
        )
    if number == 0:
        raise Wrong(
            f"Your check lets {what} through as it stands: no AssertionError comes out of it. "
            f"{look}",
            "misses",
        )
    raise Wrong(
        f"Your check says no to the code of case {case}, but it lets the same fault in another "
        f"form through: {what}.",
        "misses variant",
    )


def _tried(answer: Answer, case: int, right: bool, number: int) -> CallOutcome:
    outcome = answer.outcome(AnswerPart("implementation", (case, right, number)))
    if outcome.error and outcome.error[0] != "AssertionError":
        kind, message = outcome.error
        place = f" in {outcome.line}" if outcome.line else ""
        what = (bug_cases.RIGHT if right else bug_cases.BROKEN)[case][number].__doc__
        raise Wrong(
            f"On {what}, your check stopped with {kind}{place}: {message[:300]}. A check says no "
            "with AssertionError, "
            "and says nothing otherwise.",
            "raised",
        )
    return outcome


PROOF = "It takes an implementation and must raise AssertionError if it is broken, and do nothing if it is right"


@task(
    "ex09",
    title="Prove case 1",
    minutes=4,
    difficulty="easy",
    points=2,
    hints=[
        "What must come out? You have a right loss at hand: write it in one line of log_softmax, "
        "or import "
        "soft_target_loss from kdcourse.distillation.",
        "loss(z_s, z_t) and the right one on random logits; assert torch.allclose(came, expected, "
        "rtol=1e-3).",
    ],
)
def prove_1(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails for case 1 and its relatives, and passes for right losses."""
    _prove(
        answer,
        rng,
        1,
        "Do the logits have more than one class, and does the value decide, not its sign or shape?",
    )


@task(
    "ex09",
    title="Mend case 1",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "The sum over classes belongs to the KL divergence; only the batch is averaged over.",
        'One word: reduction="batchmean".',
    ],
)
def mend_1(answer: Answer, rng: torch.Generator) -> None:
    """Mend the loss of case 1."""
    for rows, classes, temperature in ((8, 10, 4.0), (1, 5, 2.0), (6, 40, 1.0)):
        z_s, z_t = (3 * torch.randn(rows, classes, generator=rng) for _ in range(2))
        right = soft_target_loss(z_s, z_t, temperature)
        _soft(answer(z_s, z_t, temperature), right, z_s, z_t, temperature)
    z_s, z_t = (torch.randn(4, 7, generator=rng, dtype=torch.float64) for _ in range(2))
    _soft(answer(z_s, z_t), soft_target_loss(z_s, z_t, 4.0), z_s, z_t, 4.0)
    _gradient(answer, z_s, z_t)


def _gradient(answer: Answer, z_s: torch.Tensor, *args, **kwargs) -> torch.Tensor | None:
    """The gradient of a loss for the student's logits; None from a loss that takes no tensor with
    gradients (numpy).
    """
    outcome = answer.outcome(z_s.clone().requires_grad_(), *args, **kwargs)
    gradient = outcome.after.get(0, {}).get("gradient")
    if gradient is None and not outcome.error:
        raise Wrong(
            "The value is right, but no gradient reaches the student's logits any more, and "
            "without one nothing can be "
            "trained with this loss. Is there an item(), a detach() or a new torch.tensor(…) on "
            "the way?",
            "no gradient",
        )
    return gradient


def _soft(
    came, right: torch.Tensor, z_s: torch.Tensor, z_t: torch.Tensor, temperature: float
) -> None:
    rows, classes = z_s.shape
    p_s, p_t = ((z / temperature).softmax(1) for z in (z_s, z_t))
    crossed = -(temperature**2) * (p_t * p_s.log()).sum(1).mean()
    factor = temperature**2
    none = F.kl_div(p_s, p_t, reduction="batchmean") * factor
    expect.close(
        came,
        right,
        {
            "divided by C": (
                right / classes,
                f"{classes} times too small for {classes} classes: the mean is still taken over "
                "the classes too.",
            ),
            "sum": (
                right * rows,
                "The loss is summed over the batch: it grows with the batch size.",
            ),
            "no T²": (right / factor, f"T² was lost on the way: {factor:g} times too small."),
            "T": (right / temperature, "T stands where T² belongs."),
            "swapped": (
                soft_target_loss(z_t, z_s, temperature),
                "Student and teacher are swapped: F.kl_div takes the student's log-probabilities "
                "first.",
            ),
            "cross-entropy": (
                crossed,
                "This is the cross-entropy: the teacher's entropy is not taken off.",
            ),
            "softmax for log": (
                none,
                "F.kl_div takes log-probabilities first, and got probabilities.",
            ),
        },
        rtol=2e-3,
        of="the loss",
    )


@task(
    "ex09",
    title="Prove case 2",
    minutes=5,
    difficulty="medium",
    points=2,
    hints=[
        "The two branches must agree on the soft term. What must loss(z_s, z_t, labels) − "
        "loss(z_s, z_t) be?",
        "(1 − soft_weight) · cross-entropy: the soft term drops out of the difference. But at T = "
        "1, T² is 1.",
        "Or compare each branch with the formula, at a T other than 1.",
    ],
)
def prove_2(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if T² is missing in either branch."""
    _prove(
        answer,
        rng,
        2,
        "Does it call the loss with labels and without, at a temperature other than 1?",
    )


@task(
    "ex09",
    title="Mend case 2",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "What both branches need is best computed before they part.",
        "Multiply `soft` by temperature**2 in the line in which it is made, and take the factor "
        "out of the branch.",
    ],
)
def mend_2(answer: Answer, rng: torch.Generator) -> None:
    """Mend the loss of case 2."""
    for rows, classes, temperature, weight in (
        (8, 10, 4.0, 0.9),
        (1, 5, 2.0, 0.5),
        (6, 4, 1.0, 0.25),
    ):
        z_s, z_t = (3 * torch.randn(rows, classes, generator=rng) for _ in range(2))
        labels = torch.randint(classes, (rows,), generator=rng)
        t2, soft, hard = (
            temperature**2,
            soft_target_loss(z_s, z_t, temperature),
            F.cross_entropy(z_s, labels),
        )
        without = answer(z_s, z_t, temperature=temperature, soft_weight=weight)
        expect.close(
            without,
            weight * soft,
            {
                "no T²": (weight * soft / t2, "Without labels, T² was lost."),
                "T twice": (
                    weight * soft * t2,
                    "Without labels, T² is in it twice: the branch still has its own.",
                ),
                "no weight": (
                    soft,
                    "Without labels, soft_weight was lost: case 2 has it in both branches.",
                ),
                "T": (weight * soft / temperature, "T stands where T² belongs."),
            },
            rtol=2e-3,
            of="the loss without labels",
        )
        came = answer(z_s, z_t, labels=labels, temperature=temperature, soft_weight=weight)
        expect.close(
            came,
            weight * soft + (1 - weight) * hard,
            {
                "no T²": (
                    weight * soft / t2 + (1 - weight) * hard,
                    "With labels, T² is still missing.",
                ),
                "T": (
                    weight * soft / temperature + (1 - weight) * hard,
                    "With labels, T stands where T² belongs.",
                ),
                "T twice": (
                    weight * soft * t2 + (1 - weight) * hard,
                    "With labels, T² is in it twice.",
                ),
                "T² on the labels": (
                    t2 * (weight * soft / t2 + (1 - weight) * hard),
                    "T² multiplies the label term too: it belongs to the soft term alone.",
                ),
                "T² on both": (
                    t2 * (1 - weight) * hard + weight * soft,
                    "T² multiplies the label term too.",
                ),
                "weights swapped": (
                    (1 - weight) * soft + weight * hard,
                    "The weights of the two terms are swapped.",
                ),
                "no label term": (weight * soft, "With labels, the label term is missing."),
                "label term unweighted": (
                    weight * soft + hard,
                    "The label term has lost its weight, 1 − soft_weight.",
                ),
                "T in the label term": (
                    weight * soft + (1 - weight) * F.cross_entropy(z_s / temperature, labels),
                    "The label term takes the logits as they are: the temperature belongs to the "
                    "soft term.",
                ),
            },
            rtol=2e-3,
            of="the loss with labels",
        )
    for given in (None, labels):
        _gradient(answer, z_s, z_t, given)


@task(
    "ex09",
    title="Prove case 3",
    minutes=4,
    difficulty="medium",
    points=2,
    hints=[
        "softmax of (0, 200) at T = 1 is (0, 1) in float32: e^-200 has no place in it. The log of "
        "that 0 is −∞.",
        "Both may underflow, the student's probabilities and the teacher's. 0 · −∞ is NaN, 1 · −∞ "
        "is −∞: ask for "
        "isfinite, not for isnan.",
        "Try three pairs at T = 1: an extreme student with an ordinary teacher, the other way "
        "round, and both.",
    ],
)
def prove_3(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the loss is NaN or infinite for logits that are far apart."""
    _prove(
        answer,
        rng,
        3,
        "Are the logits far enough apart? float32 underflows below e^-103, and T divides them "
        "first.",
    )


@task(
    "ex09",
    title="Mend case 3",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "Where a probability underflows, its logarithm is an ordinary number: do not go through "
        "the probability.",
        "F.log_softmax(z / temperature, dim=1) for both; the teacher's probabilities are .exp() of "
        "the teacher's.",
    ],
)
def mend_3(answer: Answer, rng: torch.Generator) -> None:
    """Mend the loss of case 3 for logits of any size, without an ε that changes its value."""
    z_s, z_t = (3 * torch.randn(8, 10, generator=rng) for _ in range(2))
    _soft(answer(z_s, z_t, 4.0), soft_target_loss(z_s, z_t, 4.0), z_s, z_t, 4.0)
    because = "These logits are up to 1,300 apart. A log is still taken of a probability that was rounded to 0."
    for rows, temperature in ((5, 1.0), (1, 2.0)):
        far = 800 + 500 * torch.rand(rows, 1, generator=rng)  # e^-800 is 0 in float64 too
        z_s = torch.cat([far, torch.zeros(rows, 2)], 1)
        z_t = torch.cat([torch.zeros(rows, 2), far / 2], 1)
        for student, teacher in (
            (z_s, z_t),
            (z_s, torch.zeros_like(z_s)),
            (torch.zeros_like(z_s), z_t),
        ):
            right = soft_target_loss(student.double(), teacher.double(), temperature)
            came = expect.scalar(
                expect.finite(answer(student, teacher, temperature), "the loss", because),
                "the loss",
            )
            if came < 0.9 * right:
                raise Wrong(
                    f"Finite, but not right: expected {right:.5g} for logits that are "
                    f"{far.max():.0f} apart, got "
                    f"{came:.5g}. An ε in the log, a clamp or nan_to_num hides the NaN and caps "
                    "the loss, and "
                    "there the student learns nothing any more.",
                    "epsilon",
                )
            expect.close(came, right, rtol=2e-3, of="the loss")
            gradient = _gradient(answer, student, teacher, temperature)
            if gradient is not None:
                p_s, p_t = ((z / temperature).softmax(1) for z in (student, teacher))
                expect.finite(gradient, "the gradient", "The value is right, its gradient is not: a `where` or "
                              "nan_to_num after the log leaves the infinity in the backward pass.")  # fmt: skip
                expect.close(gradient, temperature * (p_s - p_t) / rows, of="the gradient")


# --- trainers -------------------------------------------------------------------------------------


@task(
    "ex09",
    title="Find: three trainers",
    minutes=3,
    difficulty="easy",
    points=1,
    hints=[
        "Three questions to every trainer: in which mode is each network when it runs? Which "
        "gradients are made? Which "
        "parameters has the optimiser?",
        "`.train()` on a module that holds others sets them all. `.eval()` lasts until the next "
        "`.train()`.",
    ],
)
def found_trainers(answer: Answer, rng: torch.Generator) -> None:
    """Name the fault of cases 4 to 6."""
    _find(answer, "trainers")


@task(
    "ex09",
    title="Prove case 4",
    minutes=5,
    difficulty="hard",
    points=2,
    hints=[
        "In eval mode batch norm takes in nothing. It counts the batches that it took in: "
        "network.norm.num_batches_tracked.",
        "The first epoch is right: it takes two. And with validation in every epoch, how many "
        "batches must have been "
        "counted?",
        "assert network.norm.num_batches_tracked == epochs · len(train_batches).",
    ],
    seconds=20,
)
def prove_4(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the student trains in eval mode after the first validation."""
    _prove(
        answer,
        rng,
        4,
        "Do you train for two epochs? What you look at must stand still in eval mode: the weights "
        "do not.",
        tries=1,
    )


def _batches(rng: torch.Generator, sizes, shift: float = 0.0, classes: int = 3) -> list:
    return [
        (
            2 * torch.randn(n, 1, 6, 6, generator=rng) + shift,
            torch.randint(classes, (n,), generator=rng),
        )
        for n in sizes
    ]


def _run(answer: Answer, *args) -> CallOutcome:
    """A call of the learner's function that did not raise."""
    outcome = answer.outcome(*args)
    if outcome.error:
        kind, message = outcome.error
        place = f" in {outcome.line}" if outcome.line else ""
        raise Wrong(f"Your code raised {kind}{place}: {message}", "raised")
    return outcome


def _states(came: CallOutcome, function, args, which) -> bool:
    """Whether the learner's networks ended up as those that `function` trained."""
    wanted = safe_call.call(function, args).after
    pairs = [
        (came.after[i]["state"][name], value)
        for i in which
        for name, value in wanted[i]["state"].items()
    ]
    return all(torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-4) for a, b in pairs)


def _unmoved(
    outcome: CallOutcome, position: int, network: torch.nn.Module, names=None
) -> list[str]:
    """Which of the tensors of a network are still as they were."""
    state = outcome.after[position]["state"]
    return [name for name, value in network.state_dict().items() if torch.equal(state[name], value)]


@task(
    "ex09",
    title="Mend case 4",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "A mode lasts until somebody changes it. Who needs train mode sets it, where it is needed.",
        "`student.train()` belongs into the loop over epochs, before the batches.",
    ],
)
def mend_4(answer: Answer, rng: torch.Generator) -> None:
    """Mend the trainer of case 4."""
    for _ in range(50):  # until each epoch's accuracy is another
        network = AnswerPart("tiny_network", (_seed(rng), 1, 3))
        args = (network, _batches(rng, (8, 8, 5)), _batches(rng, (40,), shift=1.0), 3, 0.3)
        right = safe_call.call(bug_cases.train_each_epoch, args).value
        if len(set(right)) == len(right):
            break
    outcome = _run(answer, *args)
    for fault, mistake, sentence in (
        (
            "still in eval",
            bug_cases.left_in_eval,
            "The student still trains in eval mode after the first validation: its running mean "
            "stands still.",
        ),
        (
            "validation in train mode",
            bug_cases.validates_in_train_mode,
            "Now the validation runs in train mode: batch norm takes in the validation images, and "
            "the answers depend "
            "on who else is in the batch. eval() is right there; the way back is missing.",
        ),
    ):
        if _states(outcome, mistake, args, [0]):
            raise Wrong(sentence, fault)
    if not _states(outcome, bug_cases.train_each_epoch, args, [0]):
        batches = outcome.after[0]["state"]["norm.num_batches_tracked"]
        counted = (
            "" if batches == 3 * 3 else f"Batch norm took in {batches} batches, expected {3 * 3}. "
        )
        raise Wrong(
            "The trained student is another than plain SGD with this lr, in train mode, would "
            "give. "
            f"{counted}Change the fault alone: optimiser, loss and order stay.",
            "another student",
        )
    expect.close(
        outcome.value,
        right,
        {
            "fraction": ([value / 100 for value in right], "Accuracies are wanted in %."),
            "last alone": (right[-1], "One accuracy for each epoch is wanted, in a list."),
            "last repeated": (
                3 * right[-1:],
                "These are the accuracies of the trained student, not of each epoch's.",
            ),
        },
        of="the list of validation accuracies",
    )


@task(
    "ex09",
    title="Prove case 5",
    minutes=5,
    difficulty="hard",
    points=2,
    hints=[
        "A teacher in train mode keeps its weights and still changes: batch norm's running mean "
        "and variance are "
        "buffers, not parameters. state_dict() has both.",
        "state_dict() hands out the living tensors. Keep a copy: "
        "copy.deepcopy(teacher.state_dict()).",
        "Give the trainer a teacher in eval mode and some batches, for two epochs; then compare, "
        "tensor by tensor, "
        "with torch.equal.",
    ],
    seconds=20,
)
def prove_5(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the teacher changes while it teaches."""
    _prove(
        answer,
        rng,
        5,
        "Does your teacher have batch norm? Do you look at buffers, not only at parameters? And is "
        "what you compare "
        "with a copy (state_dict() hands out the living tensors)?",
        tries=1,
    )


@task(
    "ex09",
    title="Mend case 5",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "`pair.train()` sets both. Which of the two should be set?",
        "`student.train()` in place of `pair.train()`, or `teacher.eval()` right after it.",
    ],
)
def mend_5(answer: Answer, rng: torch.Generator) -> None:
    """Mend the trainer of case 5: the student in train mode, the teacher in eval mode and without
    gradients.
    """
    seeds = _seed(rng), _seed(rng)
    images = [batch[0] for batch in _batches(rng, (8, 8, 5), shift=1.0)]
    args = (
        AnswerPart("tiny_network", (seeds[0], 1, 3)),
        AnswerPart("tiny_network", (seeds[1], 1, 3)),
        images,
        3,
        0.1,
        2.0,
    )
    outcome = _run(answer, *args)
    moved = set(outcome.after[1]["state"]) - set(
        _unmoved(outcome, 1, answer_parts.tiny_network(seeds[1], 1, 3))
    )
    if any("running" in name or "tracked" in name for name in moved):
        raise Wrong(
            f"The teacher still drifts: {', '.join(sorted(moved))} changed. Its batch norm is in "
            "train mode while it "
            "answers.",
            "drifts",
        )
    if moved:
        raise Wrong(
            f"The teacher's weights were trained: {', '.join(sorted(moved))} changed.",
            "teacher trained",
        )
    if outcome.after[1]["gradients"]:
        raise Wrong(
            "The teacher's parameters have gradients now: it ran without no_grad. That costs time "
            "and memory, and "
            "an optimiser could use them.",
            "gradients",
        )
    if _states(outcome, bug_cases.both_in_eval, args, [0]):
        raise Wrong(
            "Now the student is in eval mode too: its batch norm takes in nothing.",
            "student in eval",
        )
    if _states(outcome, bug_cases.teacher_trains, args, [0]):
        raise Wrong(
            "The teacher is unchanged afterwards, but while it taught it was in train mode and "
            "answered by the "
            "statistics of each batch. It must be in eval mode when it is asked.",
            "batch statistics",
        )
    if not _states(outcome, bug_cases.teacher_eval_each_epoch, args, [0]):
        raise Wrong(
            "The trained student is another than plain SGD with this lr on T² · KL would give. "
            "Change the fault "
            "alone: optimiser, loss and order stay.",
            "another student",
        )
    expect.close(
        outcome.value,
        safe_call.call(bug_cases.teacher_eval_each_epoch, args).value,
        rtol=1e-3,
        of="the last loss",
    )


@task(
    "ex09",
    title="Prove case 6",
    minutes=4,
    difficulty="medium",
    points=2,
    hints=[
        "The adapter has a gradient in the broken trainer too, and the loss falls, since the "
        "student bends to it. What "
        "does not happen?",
        "Its weights do not move. Keep a copy (.detach().clone()), train, compare.",
    ],
    seconds=20,
)
def prove_6(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the adapter is not trained."""
    _prove(
        answer,
        rng,
        6,
        "The loss falls all the same, and backward() gives the adapter a gradient all the same. "
        "Only a step moves it.",
        tries=1,
    )


@task(
    "ex09",
    title="Mend case 6",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "An optimiser moves what it was given, and nothing else.",
        "torch.optim.SGD([*student.parameters(), *adapter.parameters()], lr=lr)",
    ],
)
def mend_6(answer: Answer, rng: torch.Generator) -> None:
    """Mend the trainer of case 6: student and adapter learn together."""
    seeds = _seed(rng), _seed(rng)
    batches = [
        (torch.randn(n, 2, 5, 5, generator=rng), torch.randn(n, 4, 5, 5, generator=rng)) for n in (6, 6, 3)
    ]  # fmt: skip
    args = (
        AnswerPart("pointwise", (seeds[0], 2, 3)),
        AnswerPart("pointwise", (seeds[1], 3, 4)),
        batches,
        3,
        0.5,
    )
    outcome = _run(answer, *args)
    if _unmoved(outcome, 1, answer_parts.pointwise(seeds[1], 3, 4)) == ["weight", "bias"]:
        raise Wrong(
            "The adapter still has the weights that it came with: no optimiser moves it.",
            "adapter fixed",
        )
    if _unmoved(outcome, 0, answer_parts.pointwise(seeds[0], 2, 3)) == ["weight", "bias"]:
        raise Wrong(
            "Now the student has the weights that it came with: the optimiser has the adapter "
            "alone.",
            "student fixed",
        )
    if not _states(outcome, bug_cases.adapter_chained, args, [0, 1]):
        raise Wrong(
            "Both moved, but not as one step of plain SGD with this lr a batch would move them. "
            "Change the fault "
            "alone; if you made a second optimiser, does it get zero_grad() and step() in every "
            "step?",
            "other steps",
        )
    expect.close(
        outcome.value,
        safe_call.call(bug_cases.adapter_chained, args).value,
        rtol=1e-3,
        of="the last loss",
    )


# --- data -----------------------------------------------------------------------------------------


@task(
    "ex09",
    title="Find: two pipelines",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "For each batch ask: is the answer in row i the teacher's to the image in row i, as the "
        "student sees it?",
        "Going through a loader that shuffles gives another order each time. Calling a random "
        "function gives another "
        "result each time.",
    ],
)
def found_data(answer: Answer, rng: torch.Generator) -> None:
    """Name the fault of cases 7 and 8."""
    _find(answer, "data")


@task(
    "ex09",
    title="Prove case 7",
    minutes=4,
    difficulty="medium",
    points=2,
    hints=[
        "What must hold for every batch (x, logits) of every epoch, whatever its order?",
        "teacher(x) must be logits, up to rounding: a teacher asked in other batches rounds "
        "otherwise, so allclose "
        "with an atol of 1e-4, not torch.equal.",
        "A teacher for the check: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) and a dozen random "
        "images (1, 4, 4).",
    ],
)
def prove_7(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if an image comes with the answer to another image."""
    _prove(
        answer,
        rng,
        7,
        "Do the images differ from one another, and are there more than one? Are the answers "
        "compared?",
    )


@task(
    "ex09",
    title="Mend case 7",
    minutes=5,
    difficulty="medium",
    points=2,
    hints=[
        "Keep the answers by index, in the order of the images, and let the indices be shuffled.",
        "One way: answers = teacher(images); then a loader over TensorDataset(images, answers). "
        "Image and answer are "
        "shuffled together.",
    ],
)
def mend_7(answer: Answer, rng: torch.Generator) -> None:
    """Mend the pipeline of case 7: shuffled anew in every epoch, each image with its own answer."""
    count, size, epochs = 13, 4, 3
    images, seed = torch.randn(count, 1, 4, 4, generator=rng), _seed(rng)
    args = (AnswerPart("pixel_network", (seed, 16)), images, size, epochs)
    outcome = _run(answer, *args, _seed(rng) % 1000)
    form = (
        "expected a list of pairs (images, logits), the batches of all epochs one after the other"
    )
    value = outcome.value
    if not isinstance(value, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in value
    ):
        raise Wrong(f"Not the form of case 7: {form}.", "form")
    shown = [expect.tensor(pair[0], "the images of a batch") for pair in value]
    logits = [expect.tensor(pair[1], "the logits of a batch") for pair in value]
    total = sum(map(len, shown))
    if total != epochs * count:
        raise Wrong(
            f"Expected {epochs} epochs of {count} images, {epochs * count} in all, got {total}: "
            f"{form}.",
            "count",
        )
    if any(len(x) > size for x in shown):
        raise Wrong(
            f"A batch has {max(map(len, shown))} images, expected {size} or fewer.", "batch size"
        )
    x = expect.shape(torch.cat(shown), (total, 1, 4, 4), "all images")
    came = expect.shape(torch.cat(logits), (total, 4), "all logits")
    index = (
        (x[:, None] - images.double()[None])
        .abs()
        .flatten(2)
        .sum(2)
        .argmin(1)
        .reshape(epochs, count)
    )
    if any(sorted(row.tolist()) != list(range(count)) for row in index):
        raise Wrong(
            "An epoch must show every image once; one is missing and another comes twice.",
            "incomplete",
        )
    if all(row.tolist() == list(range(count)) for row in index):
        raise Wrong(
            "The order fits now because nothing is shuffled any more. The answers must find their "
            "image in any order.",
            "unshuffled",
        )
    if torch.equal(index[0], index[1]) and torch.equal(index[0], index[2]):
        raise Wrong("Every epoch has the same order: it must be shuffled anew.", "same order")
    groups = [
        frozenset(batch.tolist())
        for batch in index.flatten().split([len(batch) for batch in shown])
    ]
    if (
        all(groups.count(group) == epochs for group in groups if len(group) > 1)
        and max(map(len, groups)) > 1
    ):
        raise Wrong(
            "The batches come in another order, but each holds the same images in every epoch: "
            "shuffle the images.",
            "batches shuffled",
        )
    with torch.no_grad():
        right = answer_parts.pixel_network(seed, 16)(images).double()[index.flatten()]
    fits = torch.isclose(came, right, rtol=1e-3, atol=1e-3).all(1).reshape(epochs, count)
    if fits[0].all() and not fits.all():
        raise Wrong(
            "The first epoch is right; from the second on the answers belong to other images.",
            "later epochs",
        )
    if not fits.all():
        mixed = sorted(map(tuple, came.round(decimals=3).tolist())) == sorted(
            map(tuple, right.round(decimals=3).tolist())
        )
        why = (
            "they are answers to other images"
            if mixed
            else "nor are they answers to other images: logits are wanted"
        )
        raise Wrong(
            f"{int((~fits).sum())} of {total} rows have not their own image's logits; {why}.",
            "mismatch",
        )


@task(
    "ex09",
    title="Prove case 8",
    minutes=4,
    difficulty="medium",
    points=2,
    hints=[
        "As in case 7: what must hold between the views and the logits that come back?",
        "For the check you need an augmentation that is random, a teacher that notices it, and "
        "images that do not look "
        "the same when shifted. `random_views()` and `pixel_network(seed, pixels)` are given.",
        "assert torch.allclose(teacher(views), logits, atol=1e-4)",
    ],
)
def prove_8(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the teacher did not answer the student's views."""
    _prove(
        answer,
        rng,
        8,
        "Is your augmentation random, are your images more than one grey, and does your teacher "
        "notice a shift?",
    )


@task(
    "ex09",
    title="Mend case 8",
    minutes=2,
    difficulty="easy",
    points=1,
    hints=[
        "Each call of augment draws anew. How often may it be called?",
        "Once. The teacher gets `views`.",
    ],
)
def mend_8(answer: Answer, rng: torch.Generator) -> None:
    """Mend case 8: the teacher answers to what the student sees."""
    images, seed = torch.randn(16, 2, 5, 5, generator=rng), _seed(rng)
    args = AnswerPart("pixel_network", (seed, 50)), images, AnswerPart("random_views", (1,))
    value = _run(answer, *args).value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise Wrong("Expected two things back, (views, logits).", "form")
    views = expect.shape(value[0], images.shape, "the views")
    logits = expect.shape(value[1], (16, 4), "the logits")
    padded = F.pad(images.double(), 4 * [1], mode="reflect")
    possible = [
        padded[:, :, top : top + 5, left : left + 5] for top, left in product(range(3), range(3))
    ]
    possible = torch.stack(
        [v for view in possible for v in (view, view.flip(3))]
    )  # (18, 16, 2, 5, 5)
    if torch.allclose(views, images.double(), atol=1e-4):
        raise Wrong(
            "The student sees the images as they are: the augmentation was thrown out with the "
            "fault.",
            "plain",
        )
    if not (possible - views).abs().flatten(2).amax(2).amin(0).lt(1e-3).all():
        raise Wrong(
            "The views are not what augment(images) gives: one augmentation is wanted, once.",
            "views",
        )
    with torch.no_grad():
        teacher = answer_parts.pixel_network(seed, 50)
        right, whole = teacher(views.float()).double(), teacher(images).double()
    because = {
        "whole images": (
            whole,
            "The teacher answered to the images as they are, not to the student's views.",
        ),
        "softmax": (right.softmax(1), "These are probabilities: logits are wanted, as in case 8."),
    }
    if not torch.allclose(logits, right, rtol=1e-3, atol=1e-3) and not any(
        torch.allclose(logits, instead, rtol=1e-3, atol=1e-3) for instead, _ in because.values()
    ):
        raise Wrong(
            "The logits are not the teacher's answers to these views: did augment run a second "
            "time?",
            "crops",
        )
    expect.close(logits, right, because, of="the logits")
    if torch.equal(expect.tensor(_run(answer, *args).value[0]), views):
        raise Wrong(f"Two calls gave the same views: {SEEDED}", "not random")


# --- evaluation -----------------------------------------------------------------------------------


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
    _find(answer, "evaluation")


@task(
    "ex09",
    title="Prove case 9",
    minutes=5,
    difficulty="medium",
    points=2,
    hints=[
        "A rule may report the best epoch on validation, or the last. Two things must hold of "
        "either: the figure is "
        "the test figure of the epoch that it names, and the test figures do not decide which "
        "epoch that is.",
        "Make a history in which the best epoch on test is neither the best on validation nor the "
        "last.",
        "Or call it twice, with the same validation figures and other test figures: the epoch must "
        "be the same, and "
        "the figure that of the epoch.",
    ],
)
def prove_9(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if test figures decide what is reported, and passes for any honest
    rule.
    """
    _prove(
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
            ("counted from 1", (best + 1, test[best]), "Epochs are counted from 0, as the lists are."),
            ("validation figure", (best, val[best]), "This is the validation accuracy: test's is wanted."),
            ("best figure", (best, max(test)), "The epoch is chosen on validation, but the figure is test's best."),
            ("last of a tie", (tied, test[tied]), "Two epochs are equally good on validation: the first is wanted."),
            ("last epoch", (last, test[last]), "This is the last epoch. That is honest too, but the best one on "
             "validation is asked for."),
        ):  # fmt: skip
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
        "call it twice and "
        "ask for the same test images.",
    ],
    seconds=20,
)
def prove_10(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if test images are augmented."""
    _prove(
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
    value = _run(answer, train, test, mean, std).value
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
            "left to right, the "
            "last dimension.",
            "training",
        )
    if torch.equal(
        expect.tensor(_run(answer, train, test, mean.float(), std.float()).value[0]), came
    ):
        raise Wrong(f"Two calls mirrored the same training images: {SEEDED}", "not random")


def _mirrored(images: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether each image is right or mirrored, and both occur."""
    rows = [
        torch.isclose(images, views, rtol=1e-3, atol=1e-3).flatten(1).all(1)
        for views in (right, right.flip(3))
    ]
    return bool((rows[0] | rows[1]).all() and rows[0].any() and (~rows[0]).any())


# --- what the best test epoch is worth ------------------------------------------------------------


def _reported(method: str, rule) -> np.ndarray:
    """What `rule` reports of each run of `pieces.histories`, test accuracy in %: (runs,)."""
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
        _reported("plain", rule) for rule in (bug_cases.best_on_test, bug_cases.best_on_validation)
    )
    runs = answer_parts.histories()["plain"]
    other = (
        _reported("distilled", rule)
        for rule in (bug_cases.best_on_test, bug_cases.best_on_validation)
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
        "Who draws more "
        "often?",
    ],
)
def cancels(answer: Answer, rng: torch.Generator) -> None:
    """Judge what becomes of the gain if both methods report their best test epoch."""
    gains = [
        (_reported("distilled", rule) - _reported("plain", rule)).mean()
        for rule in (bug_cases.best_on_test, bug_cases.best_on_validation)
    ]
    change = gains[0] - gains[1]
    right = "a" if abs(change) < 0.2 else "b" if change > 0 else "c"
    both = f"With the best test epoch the gain is {gains[0]:+.1f} points, chosen on validation {gains[1]:+.1f}."
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
