"""The pair's recipes, and how the student's learning rate was chosen."""

import pandas as pd
import pytest

from kdcourse.common import profiles
from kdcourse.common.errors import UsageError
from kdcourse.experiments import baselines
from kdcourse.experiments.records import add_record, recorded
from kdcourse.models import cost
from kdcourse.training import load_or_train

SMOKE = profiles.profile("smoke")


def test_the_student_is_at_least_five_times_cheaper(make_data):
    data = make_data(size=32, channels=13)
    teacher, student = (
        cost(recipe(data, SMOKE).model(), (13, 32, 32), latency=False).macs
        for recipe in (baselines.teacher_recipe, baselines.student_recipe)
    )
    assert teacher > 5 * student


def test_choosing_a_rate_looks_at_validation_alone(make_data, monkeypatch):
    data = make_data(size=16)
    monkeypatch.setattr(type(data.test), "take", _no_test_images(type(data.test).take))
    chosen = baselines.choose_rate(data, SMOKE, [(1e-2, 1), (1e-2, 2), (3e-2, 1)])
    assert chosen[["learning rate", "epochs"]].values.tolist() == [[1e-2, 1], [1e-2, 2], [3e-2, 1]]
    history = load_or_train(baselines.student_recipe(data, SMOKE, epochs=2), data, progress=False)[
        1
    ]
    assert (
        chosen["validation accuracy, %"][1] == history.records[-1]["val_accuracy"]
    )  # the course's own rate is 1e-2


def _no_test_images(take):
    def refuses(split, indices):
        assert split.name != "test"
        return take(split, indices)

    return refuses


def test_records_are_replaced_by_data_set_and_kept_otherwise(make_data, tmp_path):
    data, path = make_data(), tmp_path / "results.csv"
    add_record(path, data, pd.DataFrame({"x": [1, 2]}), "first")
    add_record(path, data, pd.DataFrame({"x": [3]}), "second")
    assert pd.read_csv(path)[["data set", "x", "command"]].values.tolist() == [["toy", 3, "second"]]
    pd.DataFrame({"data set": ["other"], "x": [9]}).to_csv(path, index=False)
    add_record(path, data, pd.DataFrame({"x": [4]}), "third")
    assert pd.read_csv(path)["x"].tolist() == [9, 4]
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


def test_recorded_by_name():
    assert {"data set", "network", "command"} <= set(recorded("baselines"))
    with pytest.raises(
        UsageError, match="unknown recorded experiment 'baseline'. Did you mean baselines"
    ):
        recorded("baseline")
