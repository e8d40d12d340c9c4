"""D3's arms at the size of a smoke run."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from kdcourse.common.errors import DataError, DownloadError, UsageError
from kdcourse.common.profiles import profile
from kdcourse.curriculum import Linear, Root, easiest, easy_to_hard, mixed, split_difficulty
from kdcourse.data import Batches
from kdcourse.distillation import CachedTeacher, CrossEntropy, ResponseKD, Teacher
from kdcourse.evaluation import predict
from kdcourse.experiments import baselines, curriculum, grid
from kdcourse.experiments.reproduce import reproduce
from kdcourse.experiments.results_folder import Results
from kdcourse.models import thin_resnet
from kdcourse.training import load_or_train
from kdcourse.training.checkpoint import digest

SETTINGS = profile("smoke")


@pytest.fixture
def data(make_data):
    return make_data(count=100, size=16)  # 60 train


@pytest.fixture
def teacher(data):
    torch.manual_seed(0)
    return Teacher(baselines.teacher_recipe(data, SETTINGS).model())


@pytest.fixture
def arms(teacher):
    return {arm.name: arm for arm in curriculum.equal_arms(teacher, ratio=0.6)}


def trained(arm, data, teacher, **options):
    return curriculum.train(
        arm, data, SETTINGS, teacher, **({"epochs": 4, "seed": 0, "renew_every": 2} | options)
    )[0]


# --- which samples --------------------------------------------------------------------------------


def test_passes_show_every_sample_equally_often():
    sampler = curriculum.Passes(10, 6, seed=3)
    drawn = [sampler(epoch) for epoch in range(5)]
    assert [len(epoch) for epoch in drawn] == [6] * 5  # 30 samples: three passes
    assert np.bincount(np.concatenate(drawn)).tolist() == [3] * 10
    stream = np.concatenate(drawn)
    for start in (0, 10, 20):
        assert sorted(stream[start : start + 10]) == list(range(10))
    assert np.array_equal(curriculum.Passes(10, 6, seed=3)(4), drawn[4]) and not np.array_equal(
        sampler(0), sampler(1)
    )
    assert not np.array_equal(curriculum.Passes(10, 6, seed=4)(0), drawn[0])


def test_whole_passes_are_plain_training(data):
    plain, sampler = (
        Batches(data.train, 16, seed=5),
        curriculum.Passes(len(data.train), len(data.train), seed=5),
    )
    assert all(np.array_equal(sampler(epoch), plain.order(epoch)) for epoch in range(3))


@pytest.mark.parametrize("size", [0, 11])
def test_passes_of_an_impossible_size_are_refused(size):
    with pytest.raises(UsageError, match="1 to count=10"):
        curriculum.Passes(10, size, seed=0)


@pytest.mark.parametrize("count", [7, 60, 1403])
@pytest.mark.parametrize("ratio", [0.5, 0.6, 1.0])
def test_equal_arms_see_equally_many_samples(teacher, count, ratio):
    for epochs in (1, 10):
        assert {arm.samples(count, epochs) for arm in curriculum.equal_arms(teacher, ratio)} == {
            int(ratio * count) * epochs
        }


def test_the_samples_that_are_counted_are_those_that_are_fed(data, teacher, arms, monkeypatch):
    fed, epoch = [], Batches.epoch

    def watched(self, number=0):
        for batch in epoch(self, number):
            fed.append(len(batch) if self.sampler else 0)
            yield batch

    monkeypatch.setattr(Batches, "epoch", watched)
    for name in ("plain KD", "easy to hard"):
        fed.clear()
        trained(arms[name], data, teacher, seed=901)
        assert sum(fed) == arms[name].samples(len(data.train), 4) == 4 * 36


def test_unequal_arms_are_refused_unless_meant(data, teacher):
    arms = curriculum.five_arms(teacher)
    with pytest.raises(UsageError, match="different numbers of samples .*labels only 60"):
        curriculum.run(arms, data, SETTINGS, teacher, epochs=1, seeds=[0])
    runs = curriculum.run(arms[1:3], data, SETTINGS, teacher, epochs=1, seeds=[0])
    assert runs["samples seen"].tolist() == [60, 60]


# --- what is learned ------------------------------------------------------------------------------


def test_the_five_arms_are_d3s(teacher, data):
    labels, both, alone, steered = curriculum.five_arms(teacher)
    assert [arm.name for arm in curriculum.five_arms(teacher)] == list(
        curriculum.PUBLISHED.index[1:]
    )
    assert isinstance(labels.objective(), CrossEntropy)
    for arm, weights in ((both, (0.4, 0.6)), (alone, (1, 0)), (curriculum, (1, 0))):
        objective = arm.objective()
        assert isinstance(objective, ResponseKD) and objective.temperature == 4
        assert (objective.soft_weight, objective.label_weight) == weights
    assert alone.samples(60, 5) == 300
    assert (
        steered.ratio == 0.6 and not steered.keep_size and steered.samples(60, 5) < 180
    )  # as D3's code


def test_the_published_table_is_that_of_the_repository():
    assert curriculum.PUBLISHED["test accuracy, %"].tolist() == [95.04, 79.28, 86.40, 87.20, 85.06]


def test_whole_passes_train_the_network_of_the_recipe(data, teacher):
    arm = curriculum.Arm("labels", CrossEntropy)
    recipe = replace(baselines.student_recipe(data, SETTINGS, 2, 3), views=2)
    network, _ = load_or_train(recipe, data, progress=False)
    assert digest(trained(arm, data, teacher, epochs=3, seed=2, views=2)) == digest(network)


def test_arms_differ_and_are_found_again(data, teacher, arms, monkeypatch):
    made = {name: digest(trained(arm, data, teacher, seed=7)) for name, arm in arms.items()}
    assert len(set(made.values())) == len(arms)
    calls = []
    monkeypatch.setattr(curriculum, "split_difficulty", lambda *args: calls.append(args))
    assert (
        digest(trained(arms["easy to hard"], data, teacher, seed=7)) == made["easy to hard"]
        and not calls
    )


def test_difficulty_is_renewed_and_turned_round(data, teacher, arms, monkeypatch):
    seen, measure = [], split_difficulty

    def watched(split, by, network, scorer):
        seen.append((digest(network), measure(split, by, network, scorer)))
        return seen[-1][1]

    monkeypatch.setattr(curriculum, "split_difficulty", watched)
    trained(arms["hard to easy"], data, teacher, seed=31, epochs=5)
    assert len(seen) == 3 and len({weights for weights, _ in seen}) == 3  # before epochs 1, 3 and 5
    file = max(
        (curriculum.work_dir() / "models").glob("d3-*.epoch-4"),
        key=lambda path: path.stat().st_mtime,
    )
    turned = curriculum._difficulty(file, arms["hard to easy"], data, teacher, None)
    np.testing.assert_array_equal(turned, -seen[2][1])


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_with_the_same_bits(data, teacher, arms, monkeypatch):
    arm = arms["easy to hard"]
    whole = digest(trained(arm, data, teacher, seed=41, epochs=5))
    for file in (curriculum.work_dir() / "models").glob("d3-*"):
        file.unlink()
    epoch = Batches.epoch

    def dies(self, number=0):
        if self.sampler and number == 3:  # within the second piece
            raise Killed
        return epoch(self, number)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Batches, "epoch", dies)
        trained(arm, data, teacher, seed=41, epochs=5)
    assert digest(trained(arm, data, teacher, seed=41, epochs=5)) == whole


def test_run_gives_every_arm_with_every_seed(data, teacher, arms):
    chosen = [arms["plain KD"], arms["adaptive window"]]
    runs = curriculum.run(chosen, data, SETTINGS, teacher, epochs=2, seeds=(0, 1), views=2)
    assert runs.arm.tolist() == ["plain KD"] * 2 + [
        "adaptive window"
    ] * 2 and runs.seed.tolist() == [0, 1, 0, 1]
    assert runs["samples seen"].tolist() == [72] * 4 and runs.accuracy.between(0, 100).all()
    pd.testing.assert_frame_equal(
        runs, curriculum.run(chosen, data, SETTINGS, teacher, epochs=2, seeds=(0, 1), views=2)
    )


def test_summary_pairs_the_seeds_of_arms_that_saw_as_much():
    rows = [
        ("plain KD", 0, 6, 50.0),
        ("plain KD", 1, 6, 60.0),
        ("a", 1, 6, 64.0),
        ("a", 0, 6, 52.0),
    ]
    rows += [("more", 0, 10, 70.0), ("more", 1, 10, 70.0)]
    table = curriculum.summary(pd.DataFrame(rows, columns=curriculum.COLUMNS)).set_index("arm")
    assert table["test accuracy, %"].tolist() == [55, 58, 70] and table.seeds.tolist() == [2, 2, 2]
    gains = table["gain over plain KD, points"]
    assert (
        gains["a"] == 3 and gains[["plain KD", "more"]].isna().all()
    )  # whatever the order of the rows
    assert table["± 95 % paired"]["a"] == pytest.approx(12.706, abs=1e-3)


def test_summary_takes_the_seeds_that_both_have():
    rows = [
        ("plain KD", 0, 6, 50.0),
        ("plain KD", 1, 6, 60.0),
        ("a", 2, 6, 70.0),
        ("a", 1, 6, 63.0),
        ("b", 2, 6, 9.0),
    ]
    table = curriculum.summary(pd.DataFrame(rows, columns=curriculum.COLUMNS)).set_index("arm")
    assert table["gain over plain KD, points"]["a"] == 3 and np.isnan(
        table["gain over plain KD, points"]["b"]
    )
    assert table["test accuracy, %"].tolist() == [55, 66.5, 9]


def test_summary_needs_its_reference():
    runs = pd.DataFrame([("a", 0, 6, 50.0)], columns=curriculum.COLUMNS)
    with pytest.raises(UsageError, match="plain KD.*expected one of a"):
        curriculum.summary(runs)


def test_train_says_what_happened(data, teacher, arms):
    for _ in range(2):  # trained, and found
        network, history = curriculum.train(
            arms["easy to hard"], data, SETTINGS, teacher, epochs=5, seed=61, renew_every=2
        )
        assert [record["epoch"] for record in history.records] == [1, 2, 3, 4, 5]
        logits, labels = predict(network, data.val)
        right = (logits.argmax(1) == labels).double().mean().item()
        assert history.records[-1]["val_accuracy"] == pytest.approx(100 * right, abs=0.01)


# --- as a grid ------------------------------------------------------------------------------------


@pytest.fixture
def experiment(data, monkeypatch):
    monkeypatch.setattr(grid, "load_data", lambda name, **options: data)
    return curriculum.D3(SETTINGS, datasets=("toy",), seeds=2)


def test_the_grid_finds_what_run_finds(experiment, data, in_process, tmp_path, monkeypatch):
    assert reproduce(experiment, tmp_path / "grid", in_process, echo=lambda line: None).failed == 0
    arms = [run.arm for run in in_process.submitted]
    assert arms == ["teacher", *(arm for arm in curriculum.D3.METHODS for _ in range(2))]
    frame = Results(tmp_path / "grid").frame()

    monkeypatch.setenv("KDCOURSE_WORK", str(tmp_path / "work"))  # all of it is trained once more
    budget = experiment.budget
    network, _ = load_or_train(
        baselines.teacher_recipe(data, SETTINGS, 0, budget.teacher_epochs), data, progress=False
    )
    teacher = CachedTeacher(network)
    options = dict(epochs=budget.student_epochs, seeds=(0, 1), views=budget.views)
    own = curriculum.run(
        curriculum.five_arms(teacher), data, SETTINGS, teacher, equal=False, **options
    )
    equal = curriculum.run(curriculum.equal_arms(teacher), data, SETTINGS, teacher, **options)
    for names, runs in ((curriculum.OWN, own), (curriculum.EQUAL, equal)):
        rows = pd.concat([frame[frame.arm == name] for name in names])
        assert (
            rows.seed.tolist() == runs.seed.tolist()
            and rows.accuracy.tolist() == runs.accuracy.tolist()
        )
        assert rows["samples seen"].tolist() == runs["samples seen"].tolist()

    at_equal, table = experiment.analyses(frame)
    assert at_equal.table.arm.tolist() == list(
        curriculum.EQUAL
    ) and table.table.arm.tolist() == list(curriculum.OWN)
    by_arm = frame.set_index(["arm", "seed"]).accuracy
    gain = at_equal.table.set_index("arm")["gain over random subset, points"]
    expected = (by_arm["easy to hard"] - by_arm["random subset"]).mean()
    assert gain["easy to hard"] == pytest.approx(expected, abs=0.01)
    assert table.table.iloc[:, 4].notna().tolist() == [
        True,
        True,
        False,
        False,
    ]  # the reference; and too few samples
    number = (by_arm["D3: teacher only"] - by_arm["plain KD"]).mean()
    assert f"D3: teacher only − plain KD: {number:+.1f}" in table.figure.alt


def test_the_names_belong_to_the_arms(teacher):
    named = curriculum.named_arms(teacher)
    assert tuple(named) == curriculum.D3.METHODS and not any(
        "," in name for name in named
    )  # --methods A,B
    plain = [*curriculum.five_arms(teacher), *curriculum.equal_arms(teacher)]
    for (name, arm), own in zip(named.items(), plain, strict=True):
        assert arm.name == name and replace(arm, name=own.name, objective=own.objective) == own
        assert name in (own.name, f"D3: {own.name}") or "," in own.name
    assert (
        named["easiest by root"].schedule == Root(2) and named["D3: curriculum"].strategy is mixed
    )
    assert (
        named["easiest then all"].schedule(0.4) == 0
        and named["easiest then all"].schedule(0.5) == 1
    )


def test_analyses_of_a_grid_that_is_not_done():
    columns = ["data", "arm", "seed", "samples seen", "accuracy"]
    rows = [
        ("toy", "teacher", 0, np.nan, 90.0),
        ("toy", "plain KD", 0, 6, 50.0),
        ("toy", "easy to hard", 0, 6, 51.0),
    ]
    frame = pd.DataFrame(rows, columns=columns)
    assert list(curriculum.D3(SETTINGS).analyses(frame)) == []
    frame.loc[3] = ("toy", "D3: teacher only", 0, 10, 52.0)
    (analysis,) = curriculum.D3(SETTINGS).analyses(frame)
    assert (
        analysis.table.arm.tolist() == ["D3: teacher only"]
        and "plain KD: +2.0" in analysis.figure.alt
    )


def test_whose_networks_and_data(data, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        grid, "load_data", lambda name, **options: asked.setdefault(name, options) and data
    )
    own = curriculum.D3(profile("gpu"), networks="published")
    assert {run.data for run in own.runs()} == {"mini_imagenet"}
    assert {run.data for run in curriculum.D3(SETTINGS).runs()} == {"scenes", "eurosat_rgb"}
    assert {run.data for run in curriculum.D3(profile("gpu"), datasets=("digits",)).runs()} == {
        "digits"
    }
    own.load("mini_imagenet")
    curriculum.D3(profile("cpu"), networks="published").load("tiny_imagenet")
    curriculum.D3(profile("cpu")).load("scenes")
    assert {name: options["image_size"] for name, options in asked.items()} == {
        "mini_imagenet": 224, "tiny_imagenet": 64, "scenes": 32,
    }  # fmt: skip
    teacher, *students = own.runs()
    made = own.recipe(teacher, data, ())
    assert (made.model.func, made.epochs, made.keep) == (curriculum.resnet152, 60, "best")
    network = baselines.teacher_recipe(data, SETTINGS).model()
    recipe = own.recipe(students[0], data, [network])
    assert (recipe.model.func, recipe.objective, recipe.batch_size) == (
        curriculum.mobilenet_v2,
        CrossEntropy,
        128,
    )


@pytest.mark.parametrize(("networks", "name"), [("thin", "cpu"), ("published", "gpu")])
def test_what_differs_is_said(networks, name):
    said = " ".join(curriculum.D3(profile(name), networks=networks).differences())
    assert ("thin pair" in said) == ("5,000 training images" in said) == (networks == "thin")
    assert ("not 224×224" in said) == (name == "cpu") and "every 4 epochs" in said


def test_published_figures_stand_at_d3s_arms():
    published = curriculum.D3.PUBLISHED.published["mini_imagenet"]
    assert published.tolist() == curriculum.PUBLISHED["test accuracy, %"].tolist()
    assert published["D3: curriculum"] == 85.06 and published["teacher"] == 95.04


def test_an_unknown_method_is_said():
    with pytest.raises(UsageError, match="unknown method of d3 'plan KD'. Did you mean plain KD"):
        curriculum.D3(SETTINGS, methods=("plan KD",))


# --- steered --------------------------------------------------------------------------------------


def test_a_steered_student_begins_and_is_sized_as_an_arms(data, teacher, arms):
    pytest.importorskip("gymnasium")
    pytest.importorskip("stable_baselines3")
    from kdcourse.curriculum.agent import fixed

    env = curriculum.environment(
        data, SETTINGS, teacher, epochs=4, ratio=0.6, views=2, renew_every=2, strategy=easiest
    )
    runs = curriculum.steer("fixed", env, lambda seed: fixed(0.0), seeds=(0, 1))
    arm = curriculum.Arm("the same", curriculum.teacher_only(teacher), 0.6, easiest, 0.0)
    assert runs["samples seen"].tolist() == [arm.samples(len(data.train), 4)] * 2
    own = curriculum.run(
        [arm], data, SETTINGS, teacher, epochs=4, seeds=(0, 1), views=2, renew_every=2
    )
    assert runs.accuracy.tolist() == own.accuracy.tolist()
    network = trained(arm, data, teacher, seed=1, views=2)
    assert digest(network) == digest(
        env.student
    )  # to the bit: same start, batches, difficulty and rates


def test_an_environment_refuses_what_it_cannot_do(data, teacher):
    pytest.importorskip("gymnasium")
    with pytest.raises(UsageError, match="keep='best'"):
        curriculum.environment(data, SETTINGS, teacher, epochs=1, student=curriculum.mobilenet)


# --- D3's own -------------------------------------------------------------------------------------


def test_the_full_recipe_trains(make_data):
    data = make_data(count=30, size=16)
    with torch.device("meta"):  # its 58 million weights are not needed here
        network = curriculum.teacher_from_scratch(data, SETTINGS).model()
        assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    assert len(network.layer3) == 36 and network.conv1.stride == (1, 1)
    teacher = Teacher(baselines.teacher_recipe(data, SETTINGS).model())
    arm = curriculum.Arm(
        "curriculum", curriculum.teacher_only(teacher), 0.6, easy_to_hard, Linear()
    )
    student = trained(arm, data, teacher, epochs=2, student=curriculum.mobilenet)
    assert type(student).__name__ == "MobileNetV2" and student.classifier[1].out_features == 3


def test_the_recipe_is_d3s(make_data):
    recipe = curriculum.mobilenet(make_data(count=30, size=8), profile("gpu"), seed=1, epochs=1000)
    assert (recipe.epochs, recipe.batch_size, recipe.keep, recipe.seed) == (1000, 128, "best", 1)
    optimiser = recipe.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert type(optimiser) is torch.optim.Adam
    assert (optimiser.defaults["lr"], optimiser.defaults["weight_decay"]) == (1e-3, 1e-4)
    schedule, rates = recipe.schedule(optimiser, 10), []
    for _ in range(10):
        optimiser.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert rates[4] == pytest.approx((1e-3 + 1e-6) / 2) and rates[-1] == pytest.approx(1e-6)


def test_large_images_get_imagenets_stem(make_data):
    model = curriculum.mobilenet(make_data(count=15, size=128), SETTINGS).model()
    assert model.features[0][0].stride == (2, 2)


def test_which_data(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        curriculum, "load_data", lambda name, **options: asked.setdefault(name, options)
    )
    for name in ("smoke", "cpu", "gpu"):
        curriculum.load(profile(name), limit=100)
    assert asked == {
        "tiny_imagenet": {"image_size": 64, "limit": 100}, "mini_imagenet": {"image_size": 224, "limit": 100},
    }  # fmt: skip


@pytest.fixture
def class_index(tmp_path):
    path = tmp_path / "index.json"
    path.write_text(
        json.dumps({"0": ["n01440764", "tench"], "7": ["class0", "x"], "3": ["class1", "y"]})
    )
    return path


def test_label_map(class_index):
    assert curriculum.label_map(["class1", "class0"], class_index) == [3, 7]


@pytest.mark.parametrize("text", [None, "[1]", '{"a": ["n1", "x"]}', '{"0": 3}', "{"])
def test_a_bad_class_index_is_said(tmp_path, text):
    path = tmp_path / "bad.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match="bad.json: not ImageNet's class index"):
        curriculum.label_map(["n1"], path)


def test_a_class_that_imagenet_has_not_is_said(class_index):
    with pytest.raises(DataError, match="2 of 3 classes are not in it, lake for one"):
        curriculum.label_map(["lake", "class0", "sea"], class_index)


def two_of_a_thousand(make_data, monkeypatch):
    """Data of two classes, and a small network in the place of the ResNet-152."""
    data = make_data(count=30, classes=2)
    head = {"fc.weight": torch.randn(1000, 32), "fc.bias": torch.arange(1000.0)}
    monkeypatch.setattr(
        curriculum, "resnet152", lambda classes, pretrained: thin_resnet(8, 8, classes=classes)
    )
    monkeypatch.setattr(
        curriculum.ResNet152_Weights, "get_state_dict", lambda self, **options: dict(head)
    )
    return data, head


def test_the_imagenet_teacher_keeps_its_head_and_answers_for_the_classes(
    make_data, monkeypatch, class_index
):
    data, head = two_of_a_thousand(make_data, monkeypatch)
    teacher = curriculum.imagenet_teacher(data, class_index)
    assert torch.equal(teacher.network.fc.bias, head["fc.bias"]) and teacher.label_map == (7, 3)
    batch = next(Batches(data.val, 4).epoch())
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in curriculum.IMAGENET)
    raw = torch.from_numpy(data.val.take(range(4))).float()
    with torch.no_grad():
        expected = teacher.network((raw - mean) / std)[:, [7, 3]]
    torch.testing.assert_close(teacher(batch), expected, atol=1e-3, rtol=1e-3)


def test_without_the_weights_it_says_so(make_data, monkeypatch, class_index):
    def fails(self, **options):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models.WeightsEnum.get_state_dict", fails)
    with pytest.raises(DownloadError, match="no network.*checkpoints"):
        curriculum.imagenet_teacher(make_data(count=30, classes=2), class_index)
