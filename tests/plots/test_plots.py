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


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_and_says_what_it_shows(name, caplog):
    draw, words = FIGURES[name]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        fig = draw()
        text = plots.to_html(fig)
    assert not caplog.records  # matplotlib's complaints about fonts and layouts
    assert re.search(words, fig.alt), fig.alt
    found = re.fullmatch(
        r'<img alt="([^"<>]*)" src="data:image/png;base64,([^"]*)" style="max-width:100%">', text
    )
    assert found and len(found[1]) >= 20
    picture = Image.open(io.BytesIO(base64.b64decode(found[2])))
    assert min(picture.size) > 80 and len(found[2]) < 300_000


@pytest.mark.parametrize("name", ["curves", "accuracy and cost", "confusion"])
def test_axes_are_labelled_with_units(name):
    fig = FIGURES[name][0]()
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in fig.axes]
    expected = {
        "curves": [("epoch", "accuracy (%)"), ("epoch", "loss (nats)")],
        "accuracy and cost": [
            ("multiply–adds of one image (millions, logarithmic)", "accuracy (%)")
        ],
        "confusion": [("answer", "true class"), ("", "share of the true class (%)")],
    }
    assert labels == expected[name]


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


@pytest.mark.parametrize(
    ("call", "says"),
    [
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
    ],
)
def test_bad_input(call, says):
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


MAP = np.array([[[0.0, 1], [2, 3]], [[4, 5], [6, 7]]])
TILES = np.zeros((2, 3, 6, 6), np.uint8)


def test_copies_are_held_against_the_original_on_one_scale():
    fig = plots.copied_maps(
        TILES, {"teacher": MAP, "near": 2 * MAP, "far": -MAP, "flat": 0 * MAP}, ["x", "y"]
    )
    assert "near, r = 1.00; far, r = -1.00; flat, r = nan" in fig.alt and "2×2" in fig.alt
    scales = {image.get_clim() for ax in fig.axes[2:10] for image in ax.images}
    assert scales == {(-7.0, 14.0)}
    assert plots.to_html(fig).startswith("<img")


def test_partners_are_counted_by_kind():
    table = np.array([[0.9, 0.5, 0.1], [0.5, 0.9, 0.1], [0.1, 0.1, 0.9]])
    fig = plots.partners({"after": table}, [0, 0, 1])
    assert "after: itself +0.90, another of its class +0.50, of another class +0.10" in fig.alt
    heights = [patch.get_path().vertices[:, 1].max() for patch in fig.axes[0].patches]
    assert len(heights) == 3 and min(heights) > 0
    assert (
        "class" not in plots.partners({"a": np.eye(1)}, [0]).alt
    )  # no other image: one kind alone


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: plots.copied_maps(TILES, {"a": MAP}, ["x", "y"]), "two or more"),
        (
            lambda: plots.copied_maps(TILES, {"a": MAP, "b": MAP[:1]}, ["x", "y"]),
            r"shape \(2, h, w\)",
        ),
        (lambda: plots.copied_maps(TILES, {"a": MAP, "b": MAP}, ["x"]), "1 titles for 2 images"),
        (lambda: plots.partners({}, [0]), "one table or more"),
        (lambda: plots.partners({"a": np.eye(2)}, [0, 1, 1]), r"shape \(3, 3\)"),
    ],
)
def test_bad_input_to_copies_and_partners(call, says):
    with pytest.raises(UsageError, match=says):
        call()


# --- notebook 06 ----------------------------------------------------------------------------------

RANKS = np.array([[1, 0.5, -0.25], [0.5, 1, 0.75], [-0.25, 0.75, 1]])


def test_drift_is_told_from_the_first_look_to_the_last():
    fig = plots.difficulty_drift(
        [0, 1, 5], {"entropy": [0.2, 0.2, 0.2], "divergence": [0.5, 0.4, 0.1]}, RANKS
    )
    assert "after 0, 1, 5 epochs" in fig.alt and "divergence 0.50 at first, 0.10 at last" in fig.alt
    assert "first with the last -0.25, from one look to the next 0.50, 0.75" in fig.alt
    assert [line.get_label() for line in fig.axes[0].lines] == ["entropy", "divergence"]
    assert [text.get_text() for text in fig.axes[1].texts][:3] == ["1.00", "0.50", "-0.25"]
    assert plots.to_html(fig).startswith("<img")


def test_bars_say_how_much_of_each_stretch_of_ranks_is_drawn():
    fig = plots.drawn_ranks([0, 1, 2, 3, 4, 8], 10, promised=7, title="some", bins=5)
    assert [bar.get_height() for bar in fig.axes[0].patches] == [100, 100, 50, 0, 50]
    assert "some: 6 samples drawn of 7 promised, of 10" in fig.alt
    assert (
        "67 % are from the easiest third, 17 % from the middle, 17 % from the hardest" in fig.alt
    )  # 4, 1, 1 of 6
    assert fig.axes[0].lines[0].get_ydata()[0] == 70
    assert len(plots.drawn_ranks([0], 3).axes[0].patches) == 3  # fewer samples than bars


def test_rewards_are_stacked_away_from_zero():
    frame = pd.DataFrame({"epoch": [1, 2], "accuracy": [40.0, 45.0], "reward": [1.0, -3.0]})
    frame["reward: a"], frame["reward: b"], frame["reward: c"] = (
        [2.0, -1.0],
        [1.0, 0.0],
        [-2.0, -2.0],
    )
    fig = plots.reward_parts(frame)
    bars = [(bar.get_y(), bar.get_height()) for bar in fig.axes[1].patches]
    assert bars == [(0, 2), (0, -1), (2, 1), (0, 0), (0, -2), (-1, -2)]
    assert (
        "from 40.0 to 45.0 %. Reward over the run -2.0, by part: a +1.0, b +1.0, c -4.0" in fig.alt
    )


def test_epochs_are_marked_by_the_action_taken():
    frame = pd.DataFrame({"epoch": [1, 2, 3], "loss": [4.0, 1.0, 2.0], "θ": [0.0, 1.0, 0.0]})
    fig = plots.by_action({"now": frame, "late": frame[:1]}, "loss", "θ")
    assert "now: 3 after 0 (2 epochs), 1 after 1 (1 epochs); late: 4 after 0 (1 epochs)" in fig.alt
    assert [len(ax.collections) for ax in fig.axes] == [2, 2]


@pytest.mark.parametrize(
    "call, says",
    [
        (
            lambda: plots.difficulty_drift([0, 1], {"a": [1, 2]}, RANKS),
            r"2 values each and \(2, 2\)",
        ),
        (lambda: plots.difficulty_drift([0, 1, 2], {"a": [1, 2]}, RANKS), "3 values each"),
        (lambda: plots.difficulty_drift([0, 1, 2], {}, RANKS), "3 values each"),
        (lambda: plots.drawn_ranks([], 3), "from 0 to 2"),
        (lambda: plots.drawn_ranks([3], 3), "from 0 to 2"),
        (lambda: plots.reward_parts(pd.DataFrame({"epoch": [1], "accuracy": [1.0]})), "reward"),
        (lambda: plots.by_action({}, "loss", "θ"), "a run or more"),
        (
            lambda: plots.by_action({"a": pd.DataFrame({"epoch": [1], "θ": [0]})}, "loss", "θ"),
            "loss",
        ),
    ],
)
def test_bad_input_to_the_pictures_of_curricula(call, says):
    with pytest.raises(UsageError, match=says):
        call()


# --- notebook 07 ----------------------------------------------------------------------------------

NETWORKS = pd.DataFrame(
    {
        "name": ["small", "small, distilled", "large"],
        "accuracy": [80.0, 82.5, 90.0],
        "half": [1.5, 0.5, np.nan],
        "front": [False, True, True],
        "macs": [2.0, 2.0, 40.0],
        "ms": [0.5, 0.5, 3.0],
    }
)


def test_gains_that_were_drawn_stand_below_all():
    fig = plots.drawn_gains([1.0, -1.0, 3.0, 5.0], [0, 2])
    assert "all 4 seeds: -1.00 to +5.00, mean +2.00 ± 4.11" in fig.alt  # t(3) = 3.182, s = 2.582
    assert "2 drawn: +1.00 to +3.00, mean +2.00 ± 12.71" in fig.alt  # t(1) = 12.706, s = √2
    assert [len(line.get_xdata()) for line in fig.axes[0].lines if line.get_alpha()] == [4, 2]
    assert (
        fig.axes[0].get_xlim()
        == plots.drawn_gains([1.0, -1.0, 3.0, 5.0], [1, 3]).axes[0].get_xlim()
    )


def test_networks_that_are_not_on_the_front_are_hollow():
    fig = plots.pareto(NETWORKS, {"macs": "million", "ms": "ms"})
    assert "small: 80.0 % ± 1.5, million 2, ms 0.5, not on the front" in fig.alt
    assert "large: 90.0 %, million 40, ms 3, on the front" in fig.alt
    for ax, cost in zip(fig.axes, ("macs", "ms"), strict=True):
        marks = [bar.lines[0] for bar in ax.containers]
        assert [mark.get_markerfacecolor() == "white" for mark in marks] == [True, False, False]
        small, distilled, large = (mark.get_xdata()[0] for mark in marks)
        assert small < NETWORKS[cost][0] < distilled and large == pytest.approx(
            NETWORKS[cost][2]
        )  # side by side


def test_networks_of_nearly_equal_cost_share_a_tick():
    (ax,) = plots.pareto(NETWORKS.assign(ms=[0.52, 0.5, 3.0]), {"ms": "ms"}).axes
    dearer, cheaper, large = (bar.lines[0].get_xdata()[0] for bar in ax.containers)
    assert cheaper < 0.5 < 0.52 < dearer and large == pytest.approx(3.0)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.51", "3"]


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: plots.drawn_gains([1.0, 2.0], [0]), "two places or more"),
        (lambda: plots.drawn_gains([1.0, 2.0], [0, 2]), "among 2 gains"),
        (lambda: plots.pareto(NETWORKS, {"watts": "W"}), "missing: .'watts'"),
    ],
)
def test_bad_input_to_the_pictures_of_comparisons(call, says):
    with pytest.raises(UsageError, match=says):
        call()


# --- notebook 08 ----------------------------------------------------------------------------------


def test_a_map_beside_its_scene():
    picture = np.arange(3 * 4 * 6, dtype=np.uint16).reshape(3, 4, 6) + 1
    picture[:, 0, 0] = 0
    found = np.full((4, 6), 1)
    found[0, 0], found[1:, :2] = 255, 0
    fig = plots.land_map(
        picture, {"student": found}, ("Forest", "River"), ((0, 90, 0), (0, 0, 200))
    )
    scene, drawn = (ax.images[0].get_array() for ax in fig.axes)
    assert (np.asarray(scene[0, 0]) == 1).all() and (
        np.asarray(drawn[0, 0]) == 255
    ).all()  # no data: white
    assert tuple(drawn[1, 0]) == (0, 90, 0) and tuple(drawn[0, 1]) == (0, 0, 200)
    assert "student: River 71 %, Forest 25 %" in fig.alt
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["Forest", "River"]
    with pytest.raises(UsageError, match="expected .3, H, W."):
        plots.land_map(
            picture, {"student": found[:2]}, ("Forest", "River"), ((0, 90, 0), (0, 0, 200))
        )
    with pytest.raises(UsageError, match="1 colours for 2 classes"):
        plots.land_map(picture, {"student": found}, ("Forest", "River"), ((0, 90, 0),))
