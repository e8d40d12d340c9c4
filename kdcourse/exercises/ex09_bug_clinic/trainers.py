"""Cases 4 to 6, trainers: to find, to prove and to mend."""

import torch

from kdcourse.checking import answer_parts, expect, safe_call
from kdcourse.checking.task import Answer, AnswerPart, CallOutcome, Wrong, task
from kdcourse.exercises import bug_cases
from kdcourse.exercises.ex09_bug_clinic.finding import find_faults
from kdcourse.exercises.ex09_bug_clinic.proving import fresh_seed, prove_case


@task(
    "ex09",
    title="Find: three trainers",
    minutes=3,
    difficulty="easy",
    points=1,
    hints=[
        "Three questions to every trainer: in which mode is each network when it runs? Which "
        "gradients are made? Which parameters has the optimiser?",
        "`.train()` on a module that holds others sets them all. `.eval()` lasts until the next "
        "`.train()`.",
    ],
)
def found_trainers(answer: Answer, rng: torch.Generator) -> None:
    """Name the fault of cases 4 to 6."""
    find_faults(answer, "trainers")


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
        "batches must have been counted?",
        "assert network.norm.num_batches_tracked == epochs · len(train_batches).",
    ],
    seconds=20,
)
def prove_4(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the student trains in eval mode after the first validation."""
    prove_case(
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


def run_trainer(answer: Answer, *args) -> CallOutcome:
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
        network = AnswerPart("tiny_network", (fresh_seed(rng), 1, 3))
        args = (network, _batches(rng, (8, 8, 5)), _batches(rng, (40,), shift=1.0), 3, 0.3)
        right = safe_call.call(bug_cases.trainers.train_each_epoch, args).value
        if len(set(right)) == len(right):
            break
    outcome = run_trainer(answer, *args)
    for fault, mistake, sentence in (
        (
            "still in eval",
            bug_cases.trainers.left_in_eval,
            "The student still trains in eval mode after the first validation: its running mean "
            "stands still.",
        ),
        (
            "validation in train mode",
            bug_cases.trainers.validates_in_train_mode,
            "Now the validation runs in train mode: batch norm takes in the validation images, and "
            "the answers depend on who else is in the batch. eval() is right there; the way back "
            "is missing.",
        ),
    ):
        if _states(outcome, mistake, args, [0]):
            raise Wrong(sentence, fault)
    if not _states(outcome, bug_cases.trainers.train_each_epoch, args, [0]):
        batches = outcome.after[0]["state"]["norm.num_batches_tracked"]
        counted = (
            "" if batches == 3 * 3 else f"Batch norm took in {batches} batches, expected {3 * 3}. "
        )
        raise Wrong(
            "The trained student is another than plain SGD with this lr, in train mode, would "
            f"give. {counted}Change the fault alone: optimiser, loss and order stay.",
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
        "and variance are buffers, not parameters. state_dict() has both.",
        "state_dict() hands out the living tensors. Keep a copy: "
        "copy.deepcopy(teacher.state_dict()).",
        "Give the trainer a teacher in eval mode and some batches, for two epochs; then compare, "
        "tensor by tensor, with torch.equal.",
    ],
    seconds=20,
)
def prove_5(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the teacher changes while it teaches."""
    prove_case(
        answer,
        rng,
        5,
        "Does your teacher have batch norm? Do you look at buffers, not only at parameters? And is "
        "what you compare with a copy (state_dict() hands out the living tensors)?",
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
    seeds = fresh_seed(rng), fresh_seed(rng)
    images = [batch[0] for batch in _batches(rng, (8, 8, 5), shift=1.0)]
    args = (
        AnswerPart("tiny_network", (seeds[0], 1, 3)),
        AnswerPart("tiny_network", (seeds[1], 1, 3)),
        images,
        3,
        0.1,
        2.0,
    )
    outcome = run_trainer(answer, *args)
    _check_teacher(seeds, outcome)
    if _states(outcome, bug_cases.trainers.both_in_eval, args, [0]):
        raise Wrong(
            "Now the student is in eval mode too: its batch norm takes in nothing.",
            "student in eval",
        )
    if _states(outcome, bug_cases.trainers.teacher_trains, args, [0]):
        raise Wrong(
            "The teacher is unchanged afterwards, but while it taught it was in train mode and "
            "answered by the statistics of each batch. It must be in eval mode when it is asked.",
            "batch statistics",
        )
    if not _states(outcome, bug_cases.trainers.teacher_eval_each_epoch, args, [0]):
        raise Wrong(
            "The trained student is another than plain SGD with this lr on T² · KL would give. "
            "Change the fault alone: optimiser, loss and order stay.",
            "another student",
        )
    expect.close(
        outcome.value,
        safe_call.call(bug_cases.trainers.teacher_eval_each_epoch, args).value,
        rtol=1e-3,
        of="the last loss",
    )


def _check_teacher(seeds, outcome) -> None:
    """Raise Wrong if the teacher was changed or has gradients."""
    moved = set(outcome.after[1]["state"]) - set(
        _unmoved(outcome, 1, answer_parts.tiny_network(seeds[1], 1, 3))
    )
    if any("running" in name or "tracked" in name for name in moved):
        raise Wrong(
            f"The teacher still drifts: {', '.join(sorted(moved))} changed. Its batch norm is in "
            "train mode while it answers.",
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
            "and memory, and an optimiser could use them.",
            "gradients",
        )


@task(
    "ex09",
    title="Prove case 6",
    minutes=4,
    difficulty="medium",
    points=2,
    hints=[
        "The adapter has a gradient in the broken trainer too, and the loss falls, since the "
        "student bends to it. What does not happen?",
        "Its weights do not move. Keep a copy (.detach().clone()), train, compare.",
    ],
    seconds=20,
)
def prove_6(answer: Answer, rng: torch.Generator) -> None:
    """Write a check that fails if the adapter is not trained."""
    prove_case(
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
    seeds = fresh_seed(rng), fresh_seed(rng)
    batches = [
        (torch.randn(n, 2, 5, 5, generator=rng), torch.randn(n, 4, 5, 5, generator=rng))
        for n in (6, 6, 3)
    ]
    args = (
        AnswerPart("pointwise", (seeds[0], 2, 3)),
        AnswerPart("pointwise", (seeds[1], 3, 4)),
        batches,
        3,
        0.5,
    )
    outcome = run_trainer(answer, *args)
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
    if not _states(outcome, bug_cases.trainers.adapter_chained, args, [0, 1]):
        raise Wrong(
            "Both moved, but not as one step of plain SGD with this lr a batch would move them. "
            "Change the fault alone; if you made a second optimiser, does it get zero_grad() and "
            "step() in every step?",
            "other steps",
        )
    expect.close(
        outcome.value,
        safe_call.call(bug_cases.trainers.adapter_chained, args).value,
        rtol=1e-3,
        of="the last loss",
    )
