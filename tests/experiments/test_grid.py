"""The runs of a grid, and how one of them is judged."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from grids import FIRST_TEACHER as TEACHER
from grids import TOY, Toy
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.common.profiles import PROFILES, profile
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.grid import Run, judged, pack_bits, unpack_bits
from kdcourse.experiments.registry import EXPERIMENTS

SMOKE = profile("smoke")


def test_a_name_is_the_same_everywhere_and_for_ever():
    assert Run("digits", "scratch", 0).name == "digits--scratch--seed=0--572a11"
    assert Run("digits", "scratch", 0, needs=(TEACHER,)).name == "digits--scratch--seed=0--572a11"


def test_names_are_fit_for_files_and_unique():
    runs = [
        Run(
            "/tmp/Häuser и 図像/a b",
            "distilled, smoothed teacher",
            3,
            (("share", 0.01), ("stem", "fine")),
        ),
        Run(
            "/tmp/Häuser и 図像/a-b",
            "distilled, smoothed teacher",
            3,
            (("share", 0.01), ("stem", "fine")),
        ),
        Run("図" * 200, "labels", 0),
        Run("像" + "図" * 199, "labels", 0),
        Run("a", "labels", 1),
        Run("a", "labels", 11),
        Run("a", "labels", 1, (("share", 0.1),)),
        Run("a", "labels--seed=1", 1),
    ]
    names = [run.name for run in runs]
    assert len(set(names)) == len(runs)
    assert all(re.fullmatch(r"[A-Za-z0-9_.=-]{8,120}", name) for name in names)


def test_a_run_gives_its_factors():
    run = Run("digits", "labels", 0, (("share", 0.1), ("stem", "fine")))
    assert run["share"] == 0.1 and run["stem"] == "fine"
    with pytest.raises(KeyError):
        run["budget"]


def test_needs_of_needs_are_refused():
    student = Run("digits", "response", 0, (), (TEACHER,))
    with pytest.raises(UsageError, match="a network that others need must itself need none"):
        Run("digits", "second generation", 0, (), (student,))


def test_arguments_that_cannot_be():
    for wrong, words in [
        (dict(methods=("respons",)), "unknown method of d4 'respons'. Did you mean response"),
        (dict(seeds=0), "seeds=0: expected 1 or more"),
        (dict(limit=0), "limit=0: expected 1 training image or more"),
        (dict(networks="thick"), "unknown networks 'thick'"),
    ]:
        with pytest.raises(UsageError, match=re.escape(words)):
            D4(SMOKE, **wrong)


def test_runs_are_whole_whatever_is_asked_for():
    for kind in EXPERIMENTS.values():
        every = kind(SMOKE).runs()
        assert {run.data for run in every} == set(kind.DATASETS) and {
            run.arm for run in every
        } >= set(kind.METHODS)
        for methods in [(), *((method,) for method in kind.METHODS)]:
            experiment = kind(SMOKE, datasets=("digits", "usps"), methods=methods, seeds=2)
            runs = experiment.runs()
            assert len({run.name for run in runs}) == len(set(runs)) == len(runs)
            assert {need for run in runs for need in run.needs} <= set(runs)
            for data in ("digits", "usps"):
                students = {
                    (run.arm, run.seed)
                    for run in runs
                    if run.data == data and run.arm in kind.METHODS
                }
                wanted = {kind.REFERENCE, *methods} if methods else set(kind.METHODS)
                assert students == {(arm, seed) for arm in wanted for seed in (0, 1)}
        assert set(kind.BUDGETS) == set(PROFILES)
        assert not any(
            "," in method for method in kind.METHODS
        )  # the command line takes them as a list with commas


def test_methods_come_in_the_tables_order():
    assert D4(SMOKE, methods=("intermediate", "scratch")).arms == ("scratch", "intermediate")
    assert D4(SMOKE, methods=("response",)).arms == ("scratch", "response")


def test_the_size_is_what_results_in_one_folder_must_share():
    size = TOY.size()
    assert size["experiment"] == "toy" and size["limit"] == 10 and size["profile"] == "smoke"
    for same in (
        replace(TOY, seeds=5),
        replace(TOY, datasets=("first",)),
        replace(TOY, methods=("taught",)),
    ):
        assert same.size() == size
    for other in (
        replace(TOY, networks="published"),
        replace(TOY, split_seed=0),
        Toy(profile("cpu")),
    ):
        assert other.size() != size
    assert replace(TOY, limit=4).size() == size | {"limit": 4}


def test_fewer_training_images_only_where_there_are_more(make_data):
    data = make_data()  # 72 train
    assert len(replace(TOY, limit=12).fewer(data).train) == 12
    for limit in (72, 1000):
        assert replace(TOY, limit=limit).fewer(data) is data
    assert Toy(profile("cpu")).fewer(data) is data


def test_bits_come_back():
    for count in [1, 7, 8, 9, 359]:
        right = np.random.default_rng(count).random(count) < 0.7
        text = pack_bits(right)
        assert len(text) == 2 * -(-count // 8)
        np.testing.assert_array_equal(unpack_bits(text, count), right)


def test_what_is_judged_on_the_test_images(make_data):
    data = make_data(count=300)
    torch.manual_seed(0)
    network, other = (nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)) for _ in range(2))
    alone = judged(network, data.test, data, None)
    images = (data.test.take(range(60)) - data.mean.reshape(-1, 1, 1)) / data.std.reshape(-1, 1, 1)
    right = (
        network(torch.from_numpy(images.astype(np.float32))).argmax(1).numpy() == data.test.labels
    )
    np.testing.assert_array_equal(unpack_bits(alone["right"], alone["n"]), right)
    assert (
        alone["accuracy"] == pytest.approx(100 * right.mean())
        and alone["n"] == 60
        and len(alone["recall"]) == 3
    )
    assert alone["parameters"] == 3 * 193 and "agreement" not in alone
    taught = judged(network, data.test, data, other)
    assert (
        {name: taught[name] for name in alone} == alone
        and 0 <= taught["agreement"] < 100
        and taught["kl"] > 0
    )
    itself = judged(network, data.test, data, network)
    assert itself["agreement"] == 100 and itself["kl"] == pytest.approx(0, abs=1e-9)
    json.dumps(taught)
