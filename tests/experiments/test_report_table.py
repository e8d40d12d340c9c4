"""The table of a report, from made-up results whose numbers are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up import ACCURACY, D4_SMOKE, fill
from scipy import stats

from kdcourse.common.profiles import profile
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.grid import Experiment, Run
from kdcourse.experiments.registry import EXPERIMENTS
from kdcourse.experiments.report import table
from kdcourse.experiments.results_folder import Results


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "results")


def test_the_table_is_as_scipy_has_it(folder):
    rows = table(D4_SMOKE, Results(folder).frame())
    assert [*rows.data] == 4 * ["usps"] + 4 * ["digits"]
    assert [*rows.arm] == 2 * ["teacher", "scratch", "response", "intermediate"]
    ps = []
    for row in rows.itertuples():
        values = np.array(ACCURACY[row.data][row.arm])
        assert row.measured == pytest.approx(values.mean()) and row.seeds == len(values)
        if row.arm in ("teacher", "scratch"):
            assert np.isnan(row.gain) and row.pairs == 0
            continue
        difference = values - ACCURACY[row.data]["scratch"]
        assert row.gain == pytest.approx(difference.mean()) and row.pairs == 3
        half = rows.loc[row.Index, "gain ± 95 %"]
        if np.ptp(difference):
            interval = stats.ttest_1samp(difference, 0).confidence_interval()
            assert half == pytest.approx((interval.high - interval.low) / 2)
            assert row.p == pytest.approx(
                stats.ttest_rel(values, ACCURACY[row.data]["scratch"]).pvalue
            )
            ps.append(row.p)
        else:  # intermediate on usps: −1 with every seed
            assert (row.data, row.gain, half) == ("usps", -1, 0) and np.isnan(
                [row.p, rows["p (Holm)"][row.Index]]
            ).all()
    scratch = stats.t.interval(0.95, 2, 91, stats.sem(ACCURACY["usps"]["scratch"]))
    assert rows["± 95 %"][1] == pytest.approx((scratch[1] - scratch[0]) / 2)
    # three have a p; the fourth was looked at too, so the least is multiplied by 4
    assert rows["p (Holm)"].min() == pytest.approx(4 * min(ps)) and rows["p (Holm)"].count() == 3


def test_published_figures_stand_beside_and_only_where_there_are_any(folder):
    rows = table(D4_SMOKE, Results(folder).frame()).set_index(["data", "arm"])
    assert rows.published["usps"].tolist() == [90.22, 86.07, 88.72, 88.72]
    assert rows["published gain"]["usps", "response"] == pytest.approx(2.65)
    assert rows["published gain"]["usps"].count() == 2  # of the students but the reference
    assert rows.published["digits"].isna().all()


def test_one_seed_has_no_interval():
    frame = pd.DataFrame([("usps", arm, 0, values[0]) for arm, values in ACCURACY["usps"].items()])
    frame.columns = ["data", "arm", "seed", "accuracy"]
    row = table(replace(D4_SMOKE, datasets=("usps",)), frame).iloc[2]
    assert (row.measured, row.gain, row.seeds, row.pairs) == (91, 1, 1, 1)
    assert row[["± 95 %", "gain ± 95 %", "p", "p (Holm)"]].isna().all()


def test_gains_pair_the_seeds_that_both_have(folder):
    frame = Results(folder).frame()
    frame = frame[
        ~((frame.arm == "scratch") & (frame.seed == 0))
        & ~((frame.arm == "response") & (frame.seed == 2))
    ]
    row = table(D4_SMOKE, frame).iloc[2]  # response on usps
    assert (row.measured, row.gain, row.seeds, row.pairs) == (91.75, 0.5, 2, 1)


def test_an_arm_without_runs_keeps_its_row(folder):
    frame = Results(folder).frame()
    rows = table(D4_SMOKE, frame[frame.arm != "scratch"])
    assert len(rows) == 8 and rows.gain.isna().all()
    assert (
        rows.iloc[1].seeds == 0
        and np.isnan(rows.iloc[1].measured)
        and rows.iloc[1].published == 86.07
    )


class Toy(Experiment):
    """A factor that the reference has, and one that it lacks."""

    name, about = "toy", "?"
    DATASETS, METHODS, REFERENCE, BUDGETS = ("a",), ("plain", "taught"), "plain", D4.BUDGETS

    def runs(self):
        runs = []
        for share in (1.0, 0.5):
            runs += [Run("a", "plain", seed, (("share", share),)) for seed in range(2)]
            for warm in (True, False):
                runs += [
                    Run("a", "taught", seed, (("share", share), ("warm", warm)))
                    for seed in range(2)
                ]
        return runs


def toy_frame():
    base = {1.0: 80, 0.5: 60}
    gain = {(1.0, True): 1, (1.0, False): 2, (0.5, True): 3, (0.5, False): 4}
    rows = []
    for run in Toy().runs():
        factors = dict(run.factors)
        accuracy = (
            base[factors["share"]]
            + run.seed
            + gain.get(tuple(factors.values()), 0)
            + 0.1 * run.seed
        )
        rows.append(dict(data="a", arm=run.arm, seed=run.seed, accuracy=accuracy) | factors)
    return pd.DataFrame(rows)


def test_factors_have_a_row_each_and_their_own_reference():
    rows = table(Toy(), toy_frame())
    assert list(rows.columns[:4]) == ["data", "arm", "share", "warm"] and "published" not in rows
    assert [*rows.arm] == 2 * ["plain", "taught", "taught"] and [*rows.share] == 3 * [1.0] + 3 * [
        0.5
    ]
    assert rows.gain.dropna().tolist() == pytest.approx([1, 2, 3, 4])
    assert (rows.pairs[rows.gain.notna()] == 2).all()


def test_published_figures_may_be_of_a_factor(monkeypatch):
    index = pd.MultiIndex.from_tuples(
        [("a", "plain", 1.0), ("a", "taught", 1.0)], names=["data", "arm", "share"]
    )
    monkeypatch.setattr(Toy, "PUBLISHED", pd.DataFrame({"published": (70.0, 75.0)}, index=index))
    rows = table(Toy(), toy_frame())
    assert rows.published.count() == 3 and rows["published gain"].dropna().tolist() == [5, 5]


def test_every_experiment_says_whose_figures_it_sets_beside_its_own():
    for experiment in EXPERIMENTS.values():
        published = experiment.PUBLISHED
        assert (published is not None) == bool(experiment.SOURCE), experiment.name
        if published is None:
            continue
        datasets = tuple(published.index.unique("data"))
        own = experiment(profile("smoke"), datasets=datasets, networks="published")
        rows = table(own, pd.DataFrame())
        # its names are those of runs
        assert set(published.published) == set(rows.published.dropna()), experiment.name
