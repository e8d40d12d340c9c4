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
from kdcourse.common.errors import UsageError
from kdcourse.evaluation import score
from kdcourse.models import stages, thin_resnet
from kdcourse.training.history import History

rng = np.random.default_rng(0)


def history(epochs, keep="last"):
    return History(
        [
            dict(
                epoch=e,
                loss=2 / e,
                train_accuracy=50 + 4 * e,
                val_accuracy=50 + e,
                val_loss=1 / e,
                seconds=1,
                lr=0.1,
            )
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
    [("labels", 0, 85.0), ("labels", 1, 87.0), ("distilled", 0, 88.0)],
    columns=["method", "seed", "accuracy"],
)
FIGURES = {  # name → (maker, words that the alternative text holds)
    "never shown": (
        lambda: plots.digit_answers(rng.random((13, 64)), [3] * 12 + [8], 3, "Never shown"),
        "Never shown: 12 of the 13 .*✗ 8",
    ),
    "digits": (
        lambda: plots.digit_grid(rng.random((2, 64)), ["2: 9 % a 3", "5: 1 % a 3"], "Seen in them"),
        "Seen in them: 2: 9 % a 3; 5",
    ),
    "soft targets": (
        lambda: plots.soft_targets(rng.random((2, 64)), np.full((2, 10), 0.1), 3, "Two 2s"),
        "Two 2s. Probabilities: 0: 10 %, 1: 10 %",
    ),
    "accuracy per digit": (
        lambda: plots.accuracy_per_digit([90.0] * 9 + [70.4], 9, "Never shown a 9"),
        "Never shown a 9.*9: 70",
    ),
    "tiles": (
        lambda: plots.show_tiles(rng.integers(0, 3000, (3, 13, 8, 8)), ["a", "b", "c"]),
        "3 images.*a, b, c",
    ),
    "signatures": (
        lambda: plots.signatures([[3, 1], [5, 3], [9, 8]], [0, 0, 1], ["crop", "lake"], [800, 400]),
        "400 to 800 nm.*crop 4 at 800 nm, lake 9 at 800 nm",
    ),
    "curves": (
        lambda: plots.learning_curves({"plain": history(5), "a <b>": history(1, "best")}),
        "plain: training 70.0 %, validation 55.0 % at epoch 5 of 5",
    ),
    "confusion": (
        lambda: plots.confusion_matrix(evaluation()),
        "96.7 %.*class0 taken for class1: 1",
    ),
    "confusion of many": (lambda: plots.confusion_matrix(evaluation(25)), "25 classes"),
    "accuracy and cost": (
        lambda: plots.accuracy_cost(POINTS),
        r"ResNet-8: 85.0 % \(82.0–88.0\) at 14 M",
    ),
    "stages": (
        lambda: plots.stages_figure({n: stages(thin_resnet(n, 8), (3, 32, 32)) for n in (8, 10)}),
        "8, .*layer2 16×16 with 16 channels",
    ),
    "seeds": (
        lambda: plots.seeds(SEEDS),
        r"labels: 86.0 % ± 12.7, 2 seeds; distilled: 88.0 % \(one seed\)",
    ),
}

NAMES = ["crop", "lake", "road"]
GRID = pd.DataFrame(
    [[70.0, 71.5], [72.25, 69.0]],
    index=pd.Index([1, 4], name="temperature T"),
    columns=pd.Index([0.5, 0.9], name="w"),
)
DIFFERENCES = pd.DataFrame(
    [("a − b", 1.5, 0.5), ("a − c", -0.25, np.nan)], columns=["name", "gain", "half"]
)
FIGURES |= {  # notebook 04
    "soft answers": (
        lambda: plots.soft_answers(
            rng.integers(0, 9, (2, 1, 8, 8)), [[0.7, 0.2, 0.1], [0, 0.4, 0.6]], [0, 1], NAMES
        ),
        "crop: crop 70 %, lake 20 %, road 10 %; lake: road 60 %, lake 40 %",
    ),
    "class pairs": (
        lambda: plots.class_pairs({"mean": [[90, 7, 3], [1, 98, 1], [20, 0, 80]]}, NAMES),
        "mean, largest: road as crop 20.0 %, crop as lake 7.0 %, crop as road 3.0 %",
    ),
    "class pairs of many": (
        lambda: plots.class_pairs({"a": np.eye(30), "b": np.eye(30)}, range(30)),
        "b, largest",
    ),
    "temperature": (
        lambda: plots.temperature([2.0, 0.0, 0.0], [0.0, 0.0, 0.0], NAMES, 1, title="a tile"),
        "a tile: at T = 1 .*crop 0.79 and 0.33.*1.10 of at most 1.10 nats; largest gradient 0.45, "
        "at crop",
    ),
    "temperature of many": (
        lambda: plots.temperature(np.arange(40), np.zeros(40), range(40), 1e-3),
        "T = 0.001",
    ),
    "gradient norms": (
        lambda: plots.gradient_norms([1, 10], {"KL": [1, 0.01]}),
        "KL: 1 at T = 1, 0.01 at T = 10",
    ),
    "heat map": (
        lambda: plots.heat_map(GRID),
        "From 69.0 to 72.2; highest at temperature T 4, w 0.5",
    ),
    "gains": (lambda: plots.gains(DIFFERENCES), r"a − b: \+1.5 ± 0.5; a − c: -0.2\."),
    "gains by data set": (
        lambda: plots.gain_panels(
            DIFFERENCES.assign(data=["x", "y"], arm="a", published=[np.nan, 3.0]), "scratch"
        ),
        r"over scratch.* x, a − b: \+1.50 ± 0.50; y, a − c: -0.25 \(one seed\), published \+3.00\.",
    ),
}

TERMS = pd.DataFrame(
    [("hint", 1, 100.0, 0.5), ("hint", 2, 10.0, -0.25), ("SP", 1, 0.5, 0.0)],
    columns=["method", "epoch", "ratio", "cosine"],
)
BLOCKS = np.array([[9.0, 3, 1, 1], [3, 9, 1, 1], [1, 1, 9, 5], [1, 1, 5, 9]])
FIGURES |= {  # notebook 05
    "attention": (
        lambda: plots.attention_maps(
            rng.integers(0, 3000, (2, 13, 8, 8)),
            {"teacher": np.eye(2)[::-1][None].repeat(2, 0), "student": np.zeros((2, 1, 1))},
            ["crop", "lake"],
        ),
        r"crop, lake.*teacher \(2×2\): row 1, column 2; row 1, column 2. "
        r"student \(1×1\): row 1, column 1",
    ),
    "matrices": (
        lambda: plots.matrices({"teacher": BLOCKS}, "image", "image", groups=[2, 2]),
        "teacher, 4×4: from 1 to 9, mean 4 within a group and 1 between groups",
    ),
    "matrices of two shapes": (
        lambda: plots.matrices({"a": np.eye(2), "b": np.ones((3, 5))}),
        "b, 3×5: from 1 to 1",
    ),
    "pair distances": (
        lambda: plots.pair_distances(
            np.arange(1, 6), {"near": np.arange(1, 6) + 1, "far": [5, 4, 3, 2, 1]}
        ),
        "5 pairs.*near: correlation 1.00; far: correlation -1.00",
    ),
    "term gradients": (
        lambda: plots.term_gradients(TERMS),
        r"hint: 1e\+02 times the label's at first, 10 at last; cosine \+0.50 and -0.25; "
        r"SP: 0.5 times",
    ),
}


def test_every_figure_draws_and_says_what_it_shows(caplog):
    for name, (draw, words) in FIGURES.items():
        with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
            warnings.simplefilter("error")
            fig = draw()
            text = plots.to_html(fig)
        assert not caplog.records, name  # matplotlib's complaints about fonts and layouts
        assert re.search(words, fig.alt), (name, fig.alt)
        found = re.fullmatch(
            r'<img alt="([^"<>]*)" src="data:image/png;base64,([^"]*)" style="max-width:100%">',
            text,
        )
        assert found and len(found[1]) >= 20, name
        picture = Image.open(io.BytesIO(base64.b64decode(found[2])))
        assert min(picture.size) > 80 and len(found[2]) < 300_000, name


def test_axes_are_labelled_with_units():
    expected = {
        "curves": [("epoch", "accuracy (%)"), ("epoch", "loss (nats)")],
        "accuracy and cost": [
            ("multiply–adds of one image (millions, logarithmic)", "accuracy (%)")
        ],
        "confusion": [("answer", "true class"), ("", "share of the true class (%)")],
    }
    for name, labels in expected.items():
        fig = FIGURES[name][0]()
        assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in fig.axes] == labels


def test_signatures_are_sorted_by_wavelength_and_labelled():
    fig = FIGURES["signatures"][0]()
    assert (fig.get_supxlabel(), fig.get_supylabel()) == (
        "wavelength (nm)",
        "reflectance (digital numbers)",
    )
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
    dark, bright = (
        ax.images[0].get_array() for ax in plots.show_tiles(tiles, stretch=(0, 100)).axes
    )
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


def test_bad_input():
    for call, says in (
        (lambda: plots.show_tiles(np.zeros((3, 8, 8))), "N, C, H, W"),
        (lambda: plots.show_tiles(np.zeros((1, 5, 8, 8))), "5 channels"),
        (lambda: plots.show_tiles(np.zeros((1, 3, 8, 8)), bands=(3, 2, 1)), "from 0 to 2"),
        (lambda: plots.show_tiles(np.zeros((2, 3, 8, 8)), ["one"]), "1 titles for 2 images"),
        (
            lambda: plots.signatures(np.zeros((2, 3)), [0, 1], ["a", "b"], [1, 2]),
            "labels by wavelengths",
        ),
        (lambda: plots.signatures(np.zeros((2, 1)), [0, 0], ["a", "b"], [1]), "no spectra of b"),
        (lambda: plots.learning_curves({}), "at least one"),
        (lambda: plots.learning_curves({"empty": History()}), "one epoch or more"),
        (lambda: plots.confusion_matrix(evaluation(), ["a"]), "1 class names"),
        (lambda: plots.accuracy_cost(POINTS.drop(columns="low")), "low"),
        (lambda: plots.seeds(SEEDS.head(0)), "a row or more"),
        (lambda: plots.stages_figure({}), "at least one"),
        (
            lambda: plots.soft_answers(np.zeros((2, 1, 8, 8)), [[1, 0]], [0], ["a", "b"]),
            "a row an image",
        ),
        (lambda: plots.class_pairs({"a": np.eye(2)}, NAMES), r"shape \(3, 3\)"),
        (lambda: plots.class_pairs({}, NAMES), "one or more"),
        (lambda: plots.temperature([1, 2], [1, 2, 3], NAMES, 1), r"expected \(3,\) twice"),
        (lambda: plots.temperature([1, 2, 3], [1, 2, 3], NAMES, 0), "temperature above 0"),
        (lambda: plots.gradient_norms([1, 2], {"a": [1]}), "one number a temperature"),
        (lambda: plots.heat_map(GRID.iloc[:0]), "a row and a column"),
        (lambda: plots.gains(DIFFERENCES.drop(columns="half")), "half"),
        (lambda: plots.gain_panels(DIFFERENCES, "scratch"), "data, arm, name"),
        (
            lambda: plots.attention_maps(
                np.zeros((2, 1, 8, 8)), {"a": np.zeros((1, 2, 2))}, ["x", "y"]
            ),
            "a map an image",
        ),
        (
            lambda: plots.attention_maps(np.zeros((1, 1, 8, 8)), {"a": np.zeros((1, 2, 2))}, []),
            "0 titles for 1",
        ),
        (lambda: plots.matrices({}), "one matrix or more"),
        (lambda: plots.matrices({"a": BLOCKS}, groups=[3]), "groups of 3 in all"),
        (lambda: plots.pair_distances([1, 2], {"a": [1]}), "each with 2 distances"),
        (lambda: plots.term_gradients(TERMS.drop(columns="cosine")), "cosine"),
    ):
        with pytest.raises(UsageError, match=says):
            call()


def test_the_gradient_by_class_sums_to_zero_and_the_answers_are_softmax():
    fig = plots.temperature([3.0, 1.0, 0.0], [0.0, 1.0, 2.0], NAMES, 2.0)
    answers, _, gradients = fig.axes
    widths = np.array([bar.get_width() for bar in answers.patches])
    teacher, student = torch.tensor([3.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 2.0])
    softened = torch.cat([(teacher / 2).softmax(0), (student / 2).softmax(0)])
    np.testing.assert_allclose(widths, softened, rtol=1e-5)
    gradient = [bar.get_width() for bar in gradients.patches]
    np.testing.assert_allclose(
        gradient, 2 * (softened[3:] - softened[:3]), rtol=1e-5
    )  # T² · (1/T)(p_s − p_t)
    assert sum(gradient) == pytest.approx(0, abs=1e-9)


def test_the_diagonal_is_left_out_and_the_table_not_changed():
    table = np.full((3, 3), 5.0)
    fig = plots.class_pairs({"a": table}, NAMES)
    assert (
        np.isnan(np.diag(fig.axes[0].images[0].get_array().filled(np.nan))).all()
        and (table == 5).all()
    )


def test_the_best_cell_has_the_frame():
    frame = plots.heat_map(GRID).axes[0].patches[-1]
    assert (round(frame.get_x() + 0.47), round(frame.get_y() + 0.47)) == (0, 1)  # (column, row)


def test_each_map_of_attention_is_scaled_to_its_own_maximum_and_covers_the_image():
    maps = {"a": np.array([[[0, 2.0], [1, 0]], [[0, 200.0], [100, 0]]])}
    row = plots.attention_maps(np.zeros((2, 3, 6, 6), np.uint8), maps, ["x", "y"]).axes[2:]
    overlays = [ax.images[1] for ax in row]
    assert [overlay.norm(100 if i else 1) for i, overlay in enumerate(overlays)] == [0.5, 0.5]
    assert all(overlay.get_extent() == [-0.5, 5.5, 5.5, -0.5] for overlay in overlays)
