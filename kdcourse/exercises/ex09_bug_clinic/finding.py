"""The faults by group, and the judge of letters that name them."""

from collections.abc import Mapping

from kdcourse.checking import expect
from kdcourse.checking.task import Answer, Wrong

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


# --- to find --------------------------------------------------------------------------------------


def find_faults(answer: Answer, group: str) -> None:
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
