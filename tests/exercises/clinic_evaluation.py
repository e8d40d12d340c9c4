"""Exercise 09: right and wrong answers on cases 9 and 10, evaluation, and the two judgements."""

import numpy as np
import torch
from clinic_common import found

from kdcourse.checking.answer_parts import (
    histories,
)
from kdcourse.exercises import bug_cases


def test_figures_change_nothing(report):
    rng = np.random.default_rng()
    val = rng.permutation(20).tolist()
    epochs = set()
    for _ in range(20):
        test = rng.permutation(20).tolist()
        epoch, figure = report(val, test)
        epochs.add(int(epoch))
        assert figure == test[epoch]
    assert len(epochs) == 1


def twice(report):
    val = [50.0, 90.0, 80.0]
    first, one = report(val, [1.0, 2.0, 3.0])
    second, other = report(val, [3.0, 2.0, 1.0])
    if first != second or one != [1, 2, 3][first] or other != [3, 2, 1][second]:
        raise AssertionError("the test figures decide")


def epoch_of(val, test, expected):
    def check(report):
        epoch, _ = report(val, test)
        assert epoch == expected

    return check


def figure_not_the_best(report):
    val, test = [60.0, 80.0, 70.0], [90.0, 75.0, 74.0]
    assert report(val, test)[1] < 90


def epoch_not_the_best(report):
    val, test = [60.0, 80.0, 70.0], [90.0, 75.0, 74.0]
    assert report(val, test)[0] != 0


def figure_is_of_the_epoch(report):
    test = [90.0, 75.0, 74.0]
    epoch, figure = report([60.0, 80.0, 70.0], test)
    assert figure == test[epoch]


def says_honest(report):
    return report([60.0, 80.0, 70.0], [90.0, 75.0, 74.0])[0] != 0


def rule(choose, figure=lambda val, test, epoch: test[epoch], shown=lambda epoch: epoch):
    def report(val_accuracy, test_accuracy):
        epoch = int(choose(np.array(val_accuracy), np.array(test_accuracy)))
        return shown(epoch), figure(val_accuracy, test_accuracy, epoch)

    return report


def first_best(val, test):
    return np.argmax(val)


def in_float32(val, test, epoch):
    return torch.tensor(test)[epoch]


def by_loop(val_accuracy, test_accuracy):
    best, chosen = -1.0, -1
    for epoch, val in enumerate(val_accuracy):
        if val > best:
            best, chosen = val, epoch
    return [torch.tensor(chosen), torch.tensor(test_accuracy[chosen], dtype=torch.float64)]


MEAN, STD = torch.full((1, 3, 1, 1), 100.0), torch.full((1, 3, 1, 1), 25.0)


def coloured(count=20):
    return 100 * torch.rand(count, 3, 4, 4)


def test_images(images, expected=lambda images: (images - MEAN) / STD):
    def check(prepare):
        shown = images()
        assert torch.allclose(prepare(coloured(), shown, MEAN, STD)[1], expected(shown), atol=1e-4)

    return check


def same_twice(prepare):
    train, test = coloured(), coloured()
    first, second = (prepare(train, test, MEAN, STD)[1] for _ in range(2))
    np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-5)


def image_by_image(prepare):
    test = coloured(64)
    for came, image in zip(prepare(test, test, MEAN, STD)[1], test, strict=True):
        assert (came * 25 + 100 - image).abs().max() < 1e-2


def same_with_the_same_seed(prepare):
    train, test, came = coloured(), coloured(), []
    for _ in range(2):
        torch.manual_seed(0)
        came.append(prepare(train, test, MEAN, STD)[1])
    assert torch.equal(*came)


def train_and_test_alike(prepare):
    images = coloured()
    assert torch.equal(*prepare(images, images, MEAN, STD))


def mean_is_kept(prepare):
    test = coloured(64)
    assert abs(prepare(test, test, MEAN, STD)[1].mean() - ((test - MEAN) / STD).mean()) < 1e-4


def flips(images):
    return torch.stack([image.flip(-1) if torch.rand(()) < 0.5 else image for image in images])


def flips_with_one_seed(images):
    torch.manual_seed(0)
    return flips(images)


def prepared(train=flips, test=lambda x: x, of_train=None, of_test=None):
    """A pipeline of case 10; of_train, of_test: (images, mean, std) → normalised."""

    def normalised(images, mean, std):
        return (images - mean) / std

    def prepare(train_images, test_images, mean, std):
        return (of_train or normalised)(train(train_images), mean, std), (of_test or normalised)(
            test(test_images), mean, std
        )

    return prepare


def by_numpy_images(train_images, test_images, mean, std):
    mirrored = np.random.default_rng().random(len(train_images)) < 0.5
    train = train_images.numpy().copy()
    train[mirrored] = train[mirrored][..., ::-1]
    return (train - mean.numpy()) / std.numpy(), (test_images.numpy() - mean.numpy()) / std.numpy()


def own_statistics(images, mean, std):
    return (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)


def gaps(method):
    run = histories()[method]
    chosen = run["val"].argmax(1)
    return run["test"].max(1) - run["test"][np.arange(len(chosen)), chosen]


RUN = histories()["plain"]


RIGHT = {
    "found_evaluation": found("evaluation"),
    "prove_9": [test_figures_change_nothing, twice],
    "mend_9": [
        by_loop,
        rule(first_best),
        bug_cases.evaluation.best_on_validation,
        rule(first_best, in_float32),
    ],
    "prove_10": [same_twice, image_by_image],
    "mend_10": [
        bug_cases.evaluation.normalised_first,
        bug_cases.evaluation.flipped_one_by_one,
        by_numpy_images,
    ],
    "flattery": [
        round(float(gaps("plain").mean()), 1),
        torch.tensor(gaps("plain").mean()),
        gaps("plain").mean(),
        f"{gaps('plain').mean():.1f} points",
    ],
    "cancels": ["B", "b)", ["b"], {"b"}],
}


WRONG = {
    "found_evaluation": [
        ({9: "d", 10: "b"}, "case 9: last epoch", "-1"),
        ({9: "a", 10: "c"}, "case 10: own mean and std", "both sets"),
        ({9: "b", 10: "a"}, "case 9: test augmented", "random"),
        ({9: "e", 10: "b"}, "case 9: train mode", "no network"),
        ({9: "a", 10: 2}, "type", "case 10"),
    ],
    "prove_9": [
        (epoch_of([60.0, 80.0, 70.0], [90.0, 75.0, 74.0], 1), "fails right", "the last epoch"),
        (epoch_of([60.0, 70.0, 80.0], [70.0, 75.0, 85.0], 2), "misses", "another than"),
        (figure_is_of_the_epoch, "misses", "best epoch on test"),
        (epoch_not_the_best, "misses variant", "best figure"),
        (says_honest, "returns", "assert"),
        (epoch_of([80.0, 80.0], [70.0, 70.0], 0), "misses", "best epoch on test"),
        (lambda report: report([80.0, 70.0]), "raised", "TypeError"),
    ],
    "mend_9": [
        (bug_cases.evaluation.best_on_test, "best on test", "still decides"),
        (bug_cases.evaluation.best_test_figure, "best figure", "test's best"),
        (rule(first_best, lambda val, test, e: val[e]), "validation figure", "validation accuracy"),
        (bug_cases.evaluation.last_best_on_validation, "last of a tie", "the first is wanted"),
        (bug_cases.evaluation.last_epoch, "last epoch", "best one on"),
        (rule(first_best, shown=lambda e: e + 1), "counted from 1", "from 0"),
        (lambda val, test: test[int(np.argmax(val))], "form", "two things"),
    ],
    "prove_10": [
        (test_images(lambda: torch.full((8, 3, 4, 4), 50.0)), "misses", "mirror"),
        (test_images(lambda: coloured(1)), "by chance", "more images"),
        (same_with_the_same_seed, "misses", "mirror"),
        (train_and_test_alike, "fails right", "right"),
        (mean_is_kept, "misses", "mirror"),
        (test_images(coloured, lambda images: images), "fails right", "right"),
        (
            lambda prepare: bool(prepare(coloured(), coloured(), MEAN, STD)[1].isnan().any()),
            "returns",
            "assert",
        ),
    ],
    "mend_10": [
        (prepared(train=flips_with_one_seed), "not random", "seed"),
        (bug_cases.evaluation.test_flipped, "still flipped", "mirrored at random"),
        (prepared(train=lambda x: x), "training not flipped", "there it was right"),
        (prepared(of_test=lambda x, *_: x), "not normalised", "only the flip"),
        (prepared(of_test=own_statistics), "own mean and std", "training's"),
        (
            prepared(of_train=lambda x, *_: x, train=lambda x: x),
            "training not normalised",
            "not normalised",
        ),
        (prepared(train=lambda x: x.flip(-1)), "training all flipped", "at random"),
        (prepared(train=flips, test=lambda x: x.flip(-1)), "always flipped", "All test images"),
        (
            prepared(train=lambda x: flips(x.transpose(2, 3)).transpose(2, 3)),
            "training",
            "left to right",
        ),
    ],
    "flattery": [
        (-gaps("plain").mean(), "sign", "other way round"),
        (gaps("distilled").mean(), "distilled", "plain one"),
        ((RUN["test"].max(1) - RUN["test"][:, -1]).mean(), "last epoch", "best on validation"),
        ((RUN["test"].max(1) - RUN["val"].max(1)).mean(), "validation", "*test*"),
        (gaps("plain").max(), "largest", "mean"),
        (gaps("plain").sum(), "sum", "mean"),
        (RUN["test"].max(1).mean(), "value", "too large"),
    ],
    "cancels": [
        ("a", "cancels", "not by the same amount"),
        ("c", "hides", "both ways"),
        ("d", "cannot tell", "60 can"),
        ("e", "type", "one of"),
        (True, "type", "one of"),
        (0.5, "type", "one of"),
    ],
}
