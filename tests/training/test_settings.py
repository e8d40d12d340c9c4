"""Arguments of fit that are wrong are named before training."""

import pytest
import torch
from test_fit import OPTIONS, fresh

from kdcourse.common.errors import TrainingError, UsageError
from kdcourse.distillation import CrossEntropy
from kdcourse.training import fit
from kdcourse.training.settings import resolve_precision


def test_wrong_arguments_are_named(make_data):
    for wrong, names in [
        (dict(epochs=0), "epochs=0"),
        (dict(epochs=1.5), "epochs=1.5"),
        (dict(clip=-1.0), "clip=-1.0"),
        (dict(device="abacus"), "device='abacus'"),
        (dict(keep="worst"), "keep"),
        (dict(precision="float8"), "precision"),
        (dict(augment="blur"), "augmentation"),
        (dict(batch_size=0), "batch_size=0"),
        (dict(seed=-1), "seed=-1"),
        (dict(views=0), "views=0"),
    ]:
        with pytest.raises(UsageError, match=names):
            fit(fresh(), make_data(), CrossEntropy(), **{**OPTIONS, **wrong})


def test_a_network_that_does_not_fit_the_data_is_said(make_data):
    for model, names in [
        (dict(classes=2), r"shape \(2,\), expected \(3,\)"),
        (dict(channels=4), r"cannot take images of shape \(3, 8, 8\)"),
    ]:
        with pytest.raises(UsageError, match=names):
            fit(fresh(**model), make_data(), CrossEntropy(), **OPTIONS)


def test_nothing_to_train(make_data):
    model = fresh().requires_grad_(False)
    with pytest.raises(TrainingError, match="nothing to train"):
        fit(model, make_data(), CrossEntropy(), **OPTIONS)


def test_bfloat16_only_where_the_hardware_has_it(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert resolve_precision("auto", cpu) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert resolve_precision("auto", cpu) == torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in older versions of torch
    assert resolve_precision("auto", cpu) == torch.float32


def test_max_steps_is_checked(make_data):
    with pytest.raises(UsageError, match="max_steps=0"):
        fit(fresh(), make_data(), CrossEntropy(), **{**OPTIONS, "max_steps": 0})


def test_data_of_another_kind_is_named():
    with pytest.raises(UsageError, match="data=list: expected DataSplits"):
        fit(fresh(), [], CrossEntropy(), **OPTIONS)
