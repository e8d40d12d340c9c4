"""Objectives over features: training, adapters, weights, errors."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from feature_cases import (
    ADAPTED,
    LAYERS,
    OBJECTIVES,
    OPTIONS,
    PAIRS,
    a_batch,
    build,
    student,
    teacher,
)
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import CheckpointError, TrainingError, UsageError
from kdcourse.distillation import (
    AttentionTransfer,
    Combined,
    ContrastiveKD,
    CrossEntropy,
    FitNets,
    FlowOfSolution,
    Teacher,
)
from kdcourse.models import thin_resnet
from kdcourse.training import fit
from kdcourse.training.checkpoint import digest


def test_each_objective_trains(make_data):
    """Its own term falls, the teacher stays, and the student learns the labels on the way."""
    for kind in OBJECTIVES:
        guide, objective_terms = teacher(), OBJECTIVES[kind][1]
        before = digest(guide.network)
        objective = build(kind, guide)
        history = fit(student(), make_data(), objective, **{**OPTIONS, "epochs": 4}).frame()
        assert {*objective_terms, "label", "loss"} <= set(history.columns)
        total = history[[*objective_terms, "label"]].sum(axis=1)
        assert np.allclose(total, history["loss"], rtol=1e-5)
        own = history[objective_terms].sum(axis=1)
        assert own.iloc[-1] < own.iloc[0]
        assert digest(guide.network) == before and not guide.network.training


def test_bfloat16_terms_are_near_those_of_float32(make_data):
    """The networks' own error in bfloat16: the losses and adapters are computed in float32. Within
    5 %.
    """
    for kind in OBJECTIVES:
        objective, batch, pupil = build(kind), a_batch(make_data()), student()
        objective.prepare(pupil, batch, 72)
        pupil.eval()
        objective.eval()
        terms = []
        for enabled in (False, True):
            torch.manual_seed(5)
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                terms.append(objective(pupil, batch))
        for term, value in terms[0].items():
            assert terms[1][term].dtype == torch.float32
            assert terms[1][term].item() == pytest.approx(value.item(), rel=0.05)


def test_gradients_go_to_student_and_adapters_only(make_data):
    for kind in OBJECTIVES:
        objective, batch, pupil = build(kind, label_weight=0), a_batch(make_data()), student()
        objective.prepare(pupil, batch, 72)
        sum(objective(pupil, batch).values()).backward()
        assert pupil.conv1.weight.grad.abs().sum() > 0
        assert all(p.grad is None for p in objective.teacher.network.parameters())
        adapters = list(objective.parameters())
        assert bool(adapters) == (kind in ADAPTED)
        assert all(p.grad is not None for p in adapters)
        assert sum(p.grad.abs().sum() for p in adapters) > 0 or not adapters


def test_adapters_are_trained(make_data):
    for kind in ADAPTED:
        objective = build(kind)
        objective.prepare(student(), a_batch(make_data()), 72)
        made = [p.detach().clone() for p in objective.parameters()]
        # the same shapes: a second prepare keeps the adapters
        fit(student(), make_data(), objective, **{**OPTIONS, "max_steps": 2})
        pairs = zip(made, objective.parameters(), strict=True)
        assert made and all(not torch.equal(before, after) for before, after in pairs)


def test_a_weight_of_zero_leaves_the_term_out(make_data):
    for kind in OBJECTIVES:
        terms, batch, pupil = OBJECTIVES[kind][1], a_batch(make_data()), student()
        weights = {"hint of vectors": "hint"}.get(kind, terms[0])
        objective = build(kind, **{f"{weights}_weight": 0})
        objective.prepare(pupil, batch, 72)
        assert list(objective(pupil, batch)) == [*terms[1:], "label"]
        objective = build(kind, label_weight=0)
        objective.prepare(pupil, batch, 72)
        assert list(objective(pupil, batch)) == terms


def test_weights_weigh(make_data):
    for kind in OBJECTIVES:
        batch, pupil = a_batch(make_data()), student().eval()
        weights = {
            f"{term}_weight": weight
            for weight, term in enumerate([*OBJECTIVES[kind][1], "label"], start=2)
        }
        values = []
        for factor in (1, 3):
            torch.manual_seed(2)
            objective = build(kind, **{key: factor * weight for key, weight in weights.items()})
            objective.prepare(pupil, batch, 72)
            torch.manual_seed(3)
            values.append(objective(pupil, batch))
        for term, value in values[0].items():
            assert values[1][term].item() == pytest.approx(3 * value.item(), rel=1e-5)
        expected = weights["label_weight"] * F.cross_entropy(pupil(batch.images), batch.labels)
        assert values[0]["label"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_student_that_is_the_teacher_has_nothing_to_learn(make_data):
    for kind in ["attention", "similarity", "relational", "probability"]:
        guide = teacher()
        layer = {"relational": "layer3", "probability": "layer3"}.get(kind)
        objective = build(
            kind, guide, **(dict(student_layer=layer, teacher_layer=layer) if layer else {})
        )
        for term, value in objective(guide.network, a_batch(make_data())).items():
            assert term == "label" or value.item() == pytest.approx(0, abs=1e-4)


def test_a_flow_between_equal_channels_needs_no_adapter(make_data):
    guide, batch = teacher(), a_batch(make_data())
    objective = build("flow", guide, label_weight=0)
    twin = copy.deepcopy(guide.network)
    objective.prepare(twin, batch, 72)
    assert not list(objective.parameters())
    assert objective(twin, batch)["flow"].item() == 0


def test_without_prepare_it_is_said(make_data):
    for kind in ADAPTED:
        with pytest.raises(
            UsageError, match=r"no adapters yet: .*fit, or call prepare\(student, batch, samples\)"
        ):
            build(kind)(student(), a_batch(make_data()))


def test_without_adapters_there_is_nothing_to_prepare(make_data):
    for kind in [kind for kind in OBJECTIVES if kind not in ADAPTED]:
        assert build(kind)(student(), a_batch(make_data()))


def test_a_second_prepare_keeps_what_was_trained(make_data):
    for kind in ADAPTED:
        data, objective = make_data(), build(kind)
        pupil, batch = student(), a_batch(data)
        fit(pupil, data, objective, **{**OPTIONS, "max_steps": 2})
        before = digest(objective)
        objective.prepare(pupil, batch, len(data.train))
        assert digest(objective) == before
        torch.manual_seed(0)
        with pytest.raises(UsageError, match="adapters would be lost. Make a new objective"):
            objective.prepare(thin_resnet(8, 5, classes=3), batch, len(data.train))
        assert digest(objective) == before


def test_the_dry_run_leaves_student_and_mode_alone(make_data):
    for kind in OBJECTIVES:
        pupil, objective = student(), build(kind)
        before = digest(pupil)
        pupil.train()
        objective.prepare(pupil, a_batch(make_data()), 72)
        assert digest(pupil) == before and pupil.training and objective.training
        assert all(p.grad is None for p in pupil.parameters())
        assert not any(module._forward_hooks for module in pupil.modules())


@pytest.mark.parametrize("kind", ["contrast", "review"])  # banks; batch norms
def test_a_stopped_run_goes_on_to_the_same_bits(make_data, tmp_path, kind):
    """With adapters, their optimiser state, batch norms and banks. Five batches an epoch: stopped
    in the second.
    """
    data, file = make_data(), tmp_path / "run.pt"
    whole, pupil = build(kind), student()
    expected = fit(pupil, data, whole, **OPTIONS).frame().drop(columns="seconds")

    stopped, forward, steps = build(kind), type(whole).forward, iter(range(1, 100))

    def until(*arguments):
        if next(steps) == 8:
            raise KeyboardInterrupt
        return forward(stopped, *arguments)

    stopped.forward = until
    with pytest.raises(KeyboardInterrupt):
        fit(student(), data, stopped, checkpoint=file, **OPTIONS)
    again, resumed = build(kind), student(seed=99)
    history = fit(resumed, data, again, checkpoint=file, **OPTIONS)
    assert history.frame().drop(columns="seconds").equals(expected)
    assert digest(resumed) == digest(pupil) and digest(again) == digest(whole)


def test_a_checkpoint_of_other_adapters_is_refused(make_data, tmp_path):
    file = tmp_path / "run.pt"
    fit(student(), make_data(), build("hint"), checkpoint=file, **OPTIONS)
    other = FitNets(teacher(), "layer3", "layer3", hint_weight=1)
    with pytest.raises(
        CheckpointError, match="belongs to another run: objective was FitNets.*layer2"
    ):
        fit(student(), make_data(), other, checkpoint=file, **OPTIONS)


def test_a_last_batch_of_one(make_data):
    # so that no map of the student is 1×1: its own batch norm would need two images
    data = make_data(size=16)
    options = {**OPTIONS, "epochs": 1, "batch_size": 71}  # of 72 images
    for kind in OBJECTIVES:
        for precision in ("float32", "bfloat16"):
            history = fit(student(), data, build(kind), **{**options, "precision": precision})
            assert np.isfinite(history.frame()["loss"]).all()


def test_combined_runs_each_network_once_a_batch(make_data):
    guide, pupil, runs = teacher(), student(), {"student": 0, "teacher": 0}
    parts = [
        CrossEntropy(),
        build("hint", guide, label_weight=0),
        build("relational", guide, label_weight=0),
    ]
    objective, batch = Combined(parts, [1, 2, 3]), a_batch(make_data())
    objective.prepare(pupil, batch, 72)
    alone = [part(pupil.eval(), batch) for part in parts]

    def count(who):
        def hook(*_):
            runs[who] += 1

        return hook

    pupil.register_forward_hook(count("student"))
    guide.network.register_forward_hook(count("teacher"))
    terms = objective(pupil, batch)
    assert runs == {"student": 1, "teacher": 1}
    assert list(terms) == ["label", "hint", "distance", "angle"]
    for weight, part in zip((1, 2, 3), alone, strict=True):
        for term, value in part.items():
            torch.testing.assert_close(terms[term], weight * value)


def test_combined_trains_the_adapters_of_its_parts(make_data):
    guide = teacher()
    parts = [build("hint", guide), build("contrast", guide, label_weight=0)]
    objective = Combined(parts, [1, 1])
    history = fit(student(), make_data(), objective, **{**OPTIONS, "epochs": 8}).frame()
    assert history["hint"].iloc[-1] < history["hint"].iloc[0]
    assert any("student_bank" in entry for entry in objective.state_dict())


def test_nan_from_the_teacher_stops_training_and_names_the_term(make_data):
    guide = teacher()
    objective, data = build("hint", guide), make_data()
    with torch.no_grad():
        guide.network.layer2[0].conv1.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="epoch 1, batch 1: loss not finite .*hint = nan"):
        fit(student(), data, objective, **OPTIONS)


def test_a_plain_network_is_no_teacher():
    for kind in OBJECTIVES:
        with pytest.raises(UsageError, match=r"expected a Teacher.*Teacher\(network\)"):
            OBJECTIVES[kind][0](student())
        with pytest.raises(UsageError, match="hand in Teacher"):
            OBJECTIVES[kind][0](None)


def test_weights_that_cannot_be_are_named():
    for weight in [-1.0, float("nan"), float("inf")]:
        for kind in OBJECTIVES:
            for term in (*OBJECTIVES[kind][1], "label"):
                with pytest.raises(UsageError, match=f"{term}_weight="):
                    build(kind, **{f"{term}_weight": weight})


def test_all_weights_zero():
    with pytest.raises(UsageError, match="hint_weight and label_weight are 0"):
        build("hint", hint_weight=0, label_weight=0)


def test_an_unknown_layer_of_the_teacher_is_said_at_once():
    with pytest.raises(
        UsageError, match="unknown layer of ThinResNet 'layer9'. Did you mean .*layer"
    ):
        FitNets(teacher(), "layer1", "layer9")


def test_an_unknown_layer_of_the_student_is_said_before_training(make_data):
    class Watched(FitNets):
        def forward(self, *_):
            raise AssertionError("training began")

    with pytest.raises(
        UsageError, match="unknown layer of ThinResNet 'layr2'. Did you mean layer2"
    ):
        fit(student(), make_data(), Watched(teacher(), "layr2", "layer2"), **OPTIONS)


def test_arguments_that_cannot_be_are_named():
    for wrong, names in [
        (
            partial(AttentionTransfer, student_layers=LAYERS, teacher_layers=["layer1"]),
            "a teacher's for each",
        ),
        (partial(AttentionTransfer, student_layers=[], teacher_layers=[]), "one or more"),
        (partial(FlowOfSolution, student_pairs=LAYERS, teacher_pairs=PAIRS), "pairs of layers"),
        (
            partial(FlowOfSolution, student_pairs=PAIRS, teacher_pairs=[("layer1",)]),
            "pairs of layers",
        ),
        (
            partial(ContrastiveKD, student_layer="fc", teacher_layer="fc", negatives=0),
            "negatives=0",
        ),
        (
            partial(ContrastiveKD, student_layer="fc", teacher_layer="fc", temperature=0),
            "temperature=0",
        ),
        (
            partial(ContrastiveKD, student_layer="fc", teacher_layer="fc", momentum=1.0),
            "momentum=1.0",
        ),
    ]:
        with pytest.raises(UsageError, match=names):
            wrong(teacher())


def test_a_vector_for_a_map_is_said_before_training(make_data):
    for kind in ["hint", "attention", "flow", "review"]:
        vectors = {
            "hint": dict(student_layer="fc", teacher_layer="fc"),
            "flow": dict(student_pairs=[("layer1", "fc")], teacher_pairs=[("layer1", "fc")]),
        }.get(kind, dict(student_layers=["layer1", "fc"], teacher_layers=["layer1", "fc"]))
        with pytest.raises(UsageError, match=r"\(2, 3\): expected maps"):
            fit(student(), make_data(), build(kind, **vectors), **OPTIONS)


def test_one_layer_may_be_named_without_a_list(make_data):
    objective = AttentionTransfer(teacher(), "layer1", "layer1")
    assert objective.student_layers == ("layer1",)


def test_the_printed_form_says_what_is_compared(make_data):
    objective, data = build("hint"), make_data()
    objective.prepare(student(), a_batch(data), 72)
    assert objective.extra_repr() == (
        "layer2(8, 2, 2) → layer2(12, 4, 4) pooled to 2×2, hint_weight=1, label_weight=1"
    )
    banks = build("contrast")
    banks.prepare(student(), a_batch(data), 72)
    assert "2 banks of (72, 8)" in repr(banks)


def test_the_teacher_is_in_no_checkpoint_of_an_objective(make_data):
    for kind in ADAPTED:
        objective = build(kind)
        objective.prepare(student(), a_batch(make_data()), 72)
        assert objective.state_dict() and not any(
            entry.startswith("teacher.") for entry in objective.state_dict()
        )
        assert isinstance(objective.teacher, Teacher) and isinstance(objective, nn.Module)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_same_code_on_cuda(make_data, kind):
    history = fit(student(), make_data(), build(kind), **{**OPTIONS, "device": "cuda"})
    assert history.device == "cuda" and len(history.records) == 3
