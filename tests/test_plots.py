"""Pictures: labelled, with an alternative text, drawn without a warning."""

import base64
import io
import logging
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from kdcourse import plots
from kdcourse.errors import UsageError
from kdcourse.evaluation import score
from kdcourse.models import stages, thin_resnet
from kdcourse.training.history import History

rng = np.random.default_rng(0)


def history(epochs, keep="last"):
    return History(
        [
            dict(epoch=e, loss=2 / e, train_accuracy=50 + 4 * e, val_accuracy=50 + e, val_loss=1 / e, seconds=1, lr=0.1)
            for e in range(1, epochs + 1)
        ],
        keep=keep,
    )


def evaluation(classes=3):
    labels = torch.arange(30) % classes
    logits = torch.eye(classes)[labels] * 3
    logits[0] = torch.eye(classes)[1] * 3  # one of class 0 taken for class 1
    return score(logits, labels, [f"class{i}" for i in range(classes)])


POINTS = pd.DataFrame(
    [("ResNet-8", 14e6, 85.0, 82.0, 88.0), ("ResNet-18", 541e6, 90.0, 87.0, 93.0)],
    columns=["name", "macs", "accuracy", "low", "high"],
)
SEEDS = pd.DataFrame(
    [("labels", 0, 85.0), ("labels", 1, 87.0), ("distilled", 0, 88.0)], columns=["method", "seed", "accuracy"]
)
FIGURES = {  # name → (maker, words that the alternative text holds)
    "tiles": (lambda: plots.show_tiles(rng.integers(0, 3000, (3, 13, 8, 8)), ["a", "b", "c"]), "3 images.*a, b, c"),
    "signatures": (
        lambda: plots.signatures([[3, 1], [5, 3], [9, 8]], [0, 0, 1], ["crop", "lake"], [800, 400]),
        "400 to 800 nm.*crop 4 at 800 nm, lake 9 at 800 nm",
    ),
    "curves": (
        lambda: plots.learning_curves({"plain": history(5), "a <b>": history(1, "best")}),
        "plain: training 70.0 %, validation 55.0 % at epoch 5 of 5",
    ),
    "confusion": (lambda: plots.confusion_matrix(evaluation()), "96.7 %.*class0 taken for class1: 1"),
    "confusion of many": (lambda: plots.confusion_matrix(evaluation(25)), "25 classes"),
    "accuracy and cost": (lambda: plots.accuracy_cost(POINTS), r"ResNet-8: 85.0 % \(82.0–88.0\) at 14 M"),
    "stages": (
        lambda: plots.stages_figure({n: stages(thin_resnet(n, 8), (3, 32, 32)) for n in (8, 10)}),
        "8, .*layer2 16×16 with 16 channels",
    ),
    "seeds": (lambda: plots.seeds(SEEDS), r"labels: 86.0 % ± 12.7, 2 seeds; distilled: 88.0 % \(one seed\)"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_and_says_what_it_shows(name, caplog):
    draw, words = FIGURES[name]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        fig = draw()
        text = plots.to_html(fig)
    assert not caplog.records  # matplotlib's complaints about fonts and layouts
    assert re.search(words, fig.alt), fig.alt
    found = re.fullmatch(r'<img alt="([^"<>]*)" src="data:image/png;base64,([^"]*)" style="max-width:100%">', text)
    assert found and len(found[1]) >= 20
    picture = Image.open(io.BytesIO(base64.b64decode(found[2])))
    assert min(picture.size) > 80 and len(found[2]) < 300_000


@pytest.mark.parametrize("name", ["curves", "accuracy and cost", "confusion"])
def test_axes_are_labelled_with_units(name):
    fig = FIGURES[name][0]()
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in fig.axes]
    expected = {
        "curves": [("epoch", "accuracy (%)"), ("epoch", "loss (nats)")],
        "accuracy and cost": [("multiply–adds of one image (millions, logarithmic)", "accuracy (%)")],
        "confusion": [("answer", "true class"), ("", "share of the true class (%)")],
    }
    assert labels == expected[name]


def test_signatures_are_sorted_by_wavelength_and_labelled():
    fig = FIGURES["signatures"][0]()
    assert (fig.get_supxlabel(), fig.get_supylabel()) == ("wavelength (nm)", "reflectance (digital numbers)")
    line = fig.axes[0].lines[-1]
    assert line.get_xdata().tolist() == [400, 800] and line.get_ydata().tolist() == [2, 4]


def test_curves_show_train_dashed_validation_solid_and_the_epoch_held():
    best = history(4, keep="best")
    best.records[1]["val_accuracy"] = 99.0
    accuracy = plots.learning_curves({"run": best}).axes[0]
    train, validation, held = accuracy.lines
    assert (train.get_linestyle(), validation.get_linestyle()) == ("--", "-")
    assert train.get_ydata().tolist() == [54, 58, 62, 66]
    assert (list(held.get_xdata()), list(held.get_ydata())) == ([2], [99.0])


def test_confusion_matrix_counts_stand_in_their_cells():
    fig = plots.confusion_matrix(evaluation(), ["a", "b", "c"])
    cells = {text.get_position(): text.get_text() for text in fig.axes[0].texts}
    assert cells == {(0, 0): "9", (1, 0): "1", (1, 1): "10", (2, 2): "10"}  # (column, row)


def test_stretch_is_the_same_for_all_tiles_and_none_for_bytes():
    tiles = np.zeros((2, 13, 4, 4), dtype=np.uint16)
    tiles[1] = 1000
    dark, bright = (ax.images[0].get_array() for ax in plots.show_tiles(tiles, stretch=(0, 100)).axes)
    assert dark.max() == 0 and bright.min() == 1
    grey = np.full((1, 1, 4, 4), 51, dtype=np.uint8)
    np.testing.assert_allclose(plots.show_tiles(grey).axes[0].images[0].get_array(), 0.2, rtol=1e-6)


def test_true_colour_is_red_green_blue():
    tiles = np.zeros((1, 13, 2, 2), dtype=np.uint16)
    tiles[0, 3, 0, 0] = tiles[0, 2, 0, 1] = tiles[0, 1, 1, 0] = 100  # B04, B03, B02
    shown = plots.show_tiles(tiles, stretch=(0, 100)).axes[0].images[0].get_array()
    assert shown.tolist() == [[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 0]]]


def test_show_in_a_terminal_prints_the_text(capsys):
    plots.show(plots.accuracy_cost(POINTS))
    assert "ResNet-18: 90.0 %" in capsys.readouterr().out.replace("\n", " ")


def test_a_picture_in_a_notebook_is_html_with_escaped_text():
    fig = FIGURES["curves"][0]()
    assert 'alt="Learning curves' in plots.Picture(fig)._repr_html_()
    assert "a &lt;b&gt;" in plots.to_html(fig)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: plots.show_tiles(np.zeros((3, 8, 8))), "N, C, H, W"),
        (lambda: plots.show_tiles(np.zeros((1, 5, 8, 8))), "5 channels"),
        (lambda: plots.show_tiles(np.zeros((1, 3, 8, 8)), bands=(3, 2, 1)), "from 0 to 2"),
        (lambda: plots.show_tiles(np.zeros((2, 3, 8, 8)), ["one"]), "1 titles for 2 images"),
        (lambda: plots.signatures(np.zeros((2, 3)), [0, 1], ["a", "b"], [1, 2]), "labels by wavelengths"),
        (lambda: plots.signatures(np.zeros((2, 1)), [0, 0], ["a", "b"], [1]), "no spectra of b"),
        (lambda: plots.learning_curves({}), "at least one"),
        (lambda: plots.learning_curves({"empty": History()}), "one epoch or more"),
        (lambda: plots.confusion_matrix(evaluation(), ["a"]), "1 class names"),
        (lambda: plots.accuracy_cost(POINTS.drop(columns="low")), "low"),
        (lambda: plots.seeds(SEEDS.head(0)), "a row or more"),
        (lambda: plots.stages_figure({}), "at least one"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(UsageError, match=says):
        call()
