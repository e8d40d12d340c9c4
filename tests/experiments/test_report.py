"""The report of made-up results, whose numbers are known."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from made_up import D4_SMOKE, MACHINE, Page, fill, outcome
from matplotlib.figure import Figure

from kdcourse.common.errors import DataError, UsageError
from kdcourse.common.profiles import profile
from kdcourse.experiments import records
from kdcourse.experiments.analysis import Analysis
from kdcourse.experiments.complexity import D4
from kdcourse.experiments.grid import Experiment
from kdcourse.experiments.records import Packed, pack, recorded_runs
from kdcourse.experiments.registry import EXPERIMENTS
from kdcourse.experiments.report import made_by, table, write
from kdcourse.experiments.results_folder import Results


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "results")


@pytest.fixture(autouse=True)
def no_analyses(monkeypatch):
    """D4's own analyses are not the subject here."""
    monkeypatch.setattr(D4, "analyses", Experiment.analyses)
    monkeypatch.setattr(D4, "differences", Experiment.differences)


# --- the page -------------------------------------------------------------------------------------


def test_the_page(folder):
    path = write(folder)
    assert path == folder / "report.html"
    page = Page(path)
    assert page.levels[0] == 1 and max(np.diff(page.levels)) <= 1 and page.levels.count(1) == 1
    assert "script" not in page.tags and "link" not in page.tags
    (image,) = page.images
    assert image["src"].startswith("data:image/png;base64,") and image["role"] == "img"
    assert (
        "usps, response: +1.33 ± 2.59, published +2.65; usps, intermediate: -1.00 ± 0.00"
        in image["alt"]
    )
    assert "does distillation gain more" in page.text
    assert "20 of 20 runs done · profile smoke" in page.text and "missing" not in page.text
    assert "response 88.72 92.33 ± 3.13 3 +2.65 +1.33 ± 2.59 0.157" in page.text
    assert "teacher 90.22 97.50 ± – 1 – – – –" in page.text
    assert (
        "as published (D4: Computers 2024, 13(8), 184, one run each), not measured here"
        in page.text
    )
    assert "Training images digits 100; usps 100 Test images digits 400; usps 400" in page.text
    assert (
        "kdcourse reproduce d4 --profile smoke --datasets usps,digits --seeds 3 --networks thin"
        in page.text
    )
    assert "processor a <fast> one, threads 1, torch 2.15.0, device cpu" in page.text


def test_the_image_size_is_that_of_the_images(tmp_path, monkeypatch):
    d2 = EXPERIMENTS["d2"](profile("smoke"), networks="published", seeds=1)
    monkeypatch.setattr(type(d2), "analyses", Experiment.analyses)  # they need other results
    results = Results(tmp_path / "d2")
    results.claim(d2)
    for run in d2.runs():
        results.write(d2, run, outcome(run, 90.0))
    assert "Image size 64 × 64 pixels Training" in Page(write(tmp_path / "d2")).text
    d4 = D4(profile("cpu"), datasets=("digits", "fashion_mnist", "cifar10"))
    assert [d4.image_size(name) for name in d4.datasets] == [16, 28, 32]
    data = D4(profile("smoke")).load("digits")
    assert data.image_size == (16, 16)
    assert EXPERIMENTS["d1"](profile("gpu")).image_size("eurosat_ms") == 64
    assert EXPERIMENTS["d1"](profile("gpu")).image_size("some/folder") is None


def test_the_files_for_programs(folder):
    write(folder)
    rows = pd.read_csv(folder / "report.csv")
    pd.testing.assert_frame_equal(rows, table(D4_SMOKE, Results(folder).frame()), rtol=1e-7)
    runs = pd.read_csv(folder / "runs.csv")
    assert len(runs) == 20 and list(runs.columns[:4]) == ["data", "arm", "seed", "accuracy"]
    assert "right" not in runs and "recall" not in runs
    assert not list(folder.glob("*.partial"))


def test_the_same_results_give_the_same_bytes(folder, tmp_path):
    other = fill(tmp_path / "other", runs=list(reversed(D4_SMOKE.runs())))
    contents = []
    for source in (folder, folder, other):
        write(source)
        contents.append(
            [(source / name).read_bytes() for name in ("report.html", "report.csv", "runs.csv")]
        )
    assert contents[0] == contents[1] == contents[2]


def test_failed_and_missing_runs_are_named_and_what_an_error_says_cannot_act(tmp_path):
    runs = [
        run for run in D4_SMOKE.runs() if (run.data, run.arm, run.seed) != ("digits", "response", 1)
    ]
    folder = fill(tmp_path / "results", runs, failed=["usps--response--seed=2"])
    path = write(folder)
    page = Page(path)
    assert "18 of 20 runs done, 1 failed, 1 missing" in page.text
    assert "script" not in page.tags and "<script>" not in path.read_text()
    name = next(run.name for run in runs if run.name.startswith("usps--response--seed=2"))
    assert f"{name}: RuntimeError: <script>alert('$here & there')</script> Traceback" in page.text
    assert "begun: digits--response--seed=1--" in page.text
    assert (
        "91.75 ± 9.53 2 +2.65 +0.75 ± 3.18" in page.text
    )  # response on usps, from the two seeds left


def test_the_reference_with_fewer_seeds_than_an_arm_is_said(tmp_path):
    runs = [
        run for run in D4_SMOKE.runs() if (run.data, run.arm, run.seed) != ("usps", "scratch", 0)
    ]
    assert "+1.50 ± 12.71 (n = 2)" in Page(write(fill(tmp_path / "results", runs))).text


def test_a_folder_where_all_failed_has_a_page(tmp_path):
    names = [run.name.rsplit("--", 1)[0] for run in D4_SMOKE.runs()]
    page = Page(write(fill(tmp_path / "results", failed=names)))
    assert "0 of 20 runs done, 20 failed" in page.text and not page.images


def test_where_nothing_was_published_the_page_has_no_column_for_it(tmp_path):
    text = Page(
        write(fill(tmp_path / "results", [run for run in D4_SMOKE.runs() if run.data == "digits"]))
    ).text
    assert "response 90.50 ± 1.24 3 +2.50 ± 4.48" in text and "ublished" not in text


def test_damaged_files_are_named_until_their_runs_are_done_again(folder):
    write(folder)
    clean = (folder / "report.html").read_bytes()
    path = next((folder / "runs").glob("digits--response--seed=1*"))
    kept = path.read_bytes()
    path.write_bytes(kept[:100])
    pages = [write(folder).read_bytes() for _ in range(2)]
    assert (
        pages[0] == pages[1]
        and path.with_suffix(".damaged").name in Page(folder / "report.html").text
    )
    assert "19 of 20 runs done, 0 failed, 1 missing" in Page(folder / "report.html").text
    path.write_bytes(kept)
    assert write(folder).read_bytes() == clean


def test_analyses_stand_on_the_page(folder, monkeypatch):
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([0, 1])
    small = pd.DataFrame(
        {"rho": [0.123456], "said": ["<b>bold</b>"]}, index=pd.Index(["size"], name="measure")
    )

    def analyses(self, frame):
        assert len(frame) == 20
        yield Analysis("Which <data>?", "One.\n\nTwo & three.", small, figure, "a rising line")
        raise UsageError("equal values cannot be ranked")

    monkeypatch.setattr(D4, "analyses", analyses)
    page = Page(write(folder))
    assert "Which <data>? One. Two & three." in page.text and "size 0.1235 <b>bold</b>" in page.text
    assert [image["alt"] for image in page.images][1] == "a rising line"
    assert "They could not be finished: equal values cannot be ranked" in page.text


def test_a_figure_needs_words():
    with pytest.raises(UsageError, match="'A curve' has no alt"):
        Analysis("A curve", "", figure=Figure())
    figure = Figure()
    figure.alt = "said by itself"
    assert Analysis("A curve", "", figure=figure).alt == "said by itself"


def test_the_protocol_is_set_against_the_published_one(folder, monkeypatch):
    monkeypatch.setattr(D4, "differences", lambda self: ["Its <own> optimiser."])
    text = Page(write(folder)).text
    assert "differs from the published one: Its <own> optimiser. How this was made" in text


# --- what is no results ---------------------------------------------------------------------------


def test_a_folder_that_is_not_an_experiments(tmp_path, folder):
    with pytest.raises(DataError, match="not the folder of an experiment"):
        write(tmp_path)
    with pytest.raises(DataError, match="not the folder of an experiment"):
        write(tmp_path / "missing")
    about = json.loads((folder / "experiment.json").read_text())
    for wrong in (
        about | {"experiment": "alchemy"},
        {"format": 1, "experiment": "d4"},
        about | {"limit": "many"},
    ):
        (folder / "experiment.json").write_text(json.dumps(wrong))
        with pytest.raises(DataError, match="not an experiment of this version"):
            write(folder)


def test_a_folder_without_results(tmp_path):
    Results(tmp_path / "results").claim(D4_SMOKE)
    for act in (write, lambda folder: pack(folder, tmp_path / "packed.json")):
        with pytest.raises(DataError, match="no run has ended yet"):
            act(tmp_path / "results")


# --- packed results -------------------------------------------------------------------------------


def test_packed_results_are_the_same(folder, tmp_path):
    path = pack(folder, tmp_path / "packed.json")
    assert path.read_text().count("\n") == 4 + 20
    assert Packed(path).about() == Results(folder).about()
    assert Packed(path).records() == Results(folder).records()
    pd.testing.assert_frame_equal(Packed(path).frame(), Results(folder).frame())
    assert write(path, tmp_path / "report").read_bytes() == write(folder).read_bytes()
    assert json.loads(path.read_text())["same"]["machine"] == MACHINE


def test_packed_results_say_what_makes_them(folder, tmp_path):
    path = pack(folder, tmp_path / "packed.json")
    said = "kdcourse reproduce d4 --profile smoke --datasets usps,digits --seeds 3 --networks thin"
    assert made_by(Packed(path)) == made_by(Results(folder)) == said


def test_of_a_traceback_the_last_line_is_packed(tmp_path):
    folder = fill(tmp_path / "results", failed=["usps--response--seed=2"])
    path = pack(folder, tmp_path / "packed.json")
    assert "Traceback" not in path.read_text()
    assert "RuntimeError: <script>" in Page(write(path, tmp_path / "report")).text


def test_recorded_runs(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    pack(folder, tmp_path / "d4.json")
    pd.testing.assert_frame_equal(recorded_runs("d4"), Results(folder).frame())
    with pytest.raises(UsageError, match="recorded experiment 'd5'.*d4"):
        recorded_runs("d5")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "some.json"
    for content in (
        "",
        "[]",
        '{"about": {"format": 1}}',
        '{"about": {"format": 9}, "runs": []}',
    ):
        path.write_text(content)
        with pytest.raises(DataError, match="not packed results|format 9"):
            write(path, tmp_path / "report")


def test_a_file_needs_an_output(folder, tmp_path):
    path = pack(folder, tmp_path / "packed.json")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UsageError, match="--output"):
        write(path)
    assert sorted(os.listdir(tmp_path)) == before
