"""Comparisons: what passes, and in which words the rest fails."""

import numpy as np
import pytest
import torch

from kdcourse.checking import expect
from kdcourse.checking.task import Wrong


def wrong(call, *args, **kwargs) -> Wrong:
    with pytest.raises(Wrong) as caught:
        call(*args, **kwargs)
    return caught.value


X = torch.tensor([[1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    "value",
    [
        X,
        X.double(),
        X.clone().requires_grad_(),
        X.numpy(),
        X.tolist(),
        list(X),
        tuple(map(tuple, X.tolist())),
        X.T.contiguous().T,
        X + 1e-6,
        X.int(),
        [[np.float32(1), 2], [torch.tensor(3), 5]],
    ],
)
def test_every_kind_of_number_is_close(value):
    expect.close(value, X)


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), torch.tensor(2), torch.tensor([[2.0]]), np.array([2]), [2]]
)
def test_one_number_in_any_dress(value):
    expect.close(value, 2.0)
    assert expect.scalar(value) == 2 and expect.whole(value) == 2


def test_mistakes_are_named_in_their_order():
    mistakes = {
        "shape": (X.mean(0), "Averaged."),
        "nan": (X * float("nan"), "Logarithm of zero."),
        "first": (2 * X, "Twice."),
        "second": (2 * X, "Never told."),
    }
    assert wrong(expect.close, X.mean(0), X, mistakes).fault == "shape"
    assert wrong(expect.close, X * float("nan"), X, mistakes).message.startswith(
        "Logarithm of zero."
    )
    found = wrong(expect.close, 2 * X, X, mistakes, of="the map")
    assert (
        found.fault == "first"
        and "expected 5, got 10" in found.message
        and "the map" in found.message
    )


def test_what_is_right_is_not_called_a_mistake():
    expect.close(X, X, {"same": (X, "…")})


@pytest.mark.parametrize(
    "value, fault, words",
    [
        (None, "none", "`return`"),
        ("2", "type", "a str"),
        ([[1, 2], [3]], "type", "a list"),
        ([torch.zeros(2), torch.zeros(3)], "type", "a list"),
        (X[0], "shape", r"shape (2, 2), got (2,)"),
        (X * float("inf"), "nan", "not finite"),
        (X / 25, "factor", "25 times too small"),
        (3 * X, "factor", "3 times too large"),
        (-X, "factor", "sign"),
        (X + torch.eye(2), "value", "2 of 4 numbers"),
        (torch.zeros(2, 2), "value", "4 of 4"),
    ],
)
def test_words_for_a_wrong_tensor(value, fault, words):
    found = wrong(expect.close, value, X)
    assert found.fault == fault and words in found.message


def test_a_wrong_number_tells_its_factor():
    assert "25 times too small" in wrong(expect.close, 0.04, 1.0).message
    assert wrong(expect.close, 0.04, 1.0).fault == "value"


def test_expected_nan_must_be_nan():
    expected = torch.tensor([1.0, float("nan")])
    expect.close(expected, expected)
    assert "[1]: expected nan, got 0" in wrong(expect.close, [1, 0], expected).message


def test_tolerance_grows_with_the_largest_number():
    big = torch.tensor([1e6, 1e-3])
    expect.close(big + torch.tensor([0, 0.5]), big)
    wrong(expect.close, big + torch.tensor([0, 5.0]), big)


def test_other_kinds():
    assert expect.boolean(torch.tensor(True)) is True and expect.boolean(np.bool_(False)) is False
    assert wrong(expect.boolean, 1).fault == "type" and wrong(expect.boolean, None).fault == "none"
    assert (
        wrong(expect.scalar, True).fault == "type" and wrong(expect.scalar, [1, 2]).fault == "shape"
    )
    assert (
        wrong(expect.whole, 2.5).fault == "type"
        and wrong(expect.finite, float("nan")).fault == "nan"
    )
    assert "Stay" in wrong(expect.finite, float("inf"), because="Stay in logs.").message


def test_reading_off_does_not_tell_the_number():
    expect.read_off(2.9, 3, 0.2)
    found = wrong(expect.read_off, 4.0, 3.21, 0.2, {"axis": (40, "…")})
    assert found.fault == "value" and "too large" in found.message and "3.21" not in found.message
    assert wrong(expect.read_off, 40, 3, 0.2, {"axis": (40, "The other axis.")}).fault == "axis"


@pytest.mark.parametrize("text", ["2.5", " 2.5 %", "2,5", "T = 2.5", "about 2.5 points", "≈2.5"])
def test_a_number_given_as_text(text):
    assert expect.typed(text) == 2.5 and expect.typed(3) == 3
    expect.read_off(text, 2.5, 0.01)


@pytest.mark.parametrize("value", ["two", "", "2 or 3", "2.5.1", "-", None, {2.5: True}])
def test_what_is_no_number_is_said(value):
    assert wrong(expect.typed, value).fault == "type"


def test_words_sorted_into():
    right, why = {"A": "leak", "B": "sound part"}, {"leak": "Look.", "sound part": "Listen."}
    for value in (
        right,
        {"a": "Leak", "(b)": "sound_part"},
        ["leak", "sound part"],
        [("A", "leak"), ("b", "sound part")],
    ):
        expect.sorted_into(value, right, why)
    assert wrong(expect.sorted_into, ["leak", "leak"], right, why).fault == "leak for sound part"
    for value in ({"A": "leak"}, "leak", ["leak"], None, 3):
        assert "the keys A, B" in wrong(expect.sorted_into, value, right, why).message


def test_choices():
    why = {"a": ("guess", "No: …")}
    expect.choice(" B) ", "b", why)
    assert wrong(expect.choice, "a", "b", why).fault == "guess"
    assert "'a', 'b'" in wrong(expect.choice, "z", "b", why).message
    assert wrong(expect.choice, 3, "b", why).fault == "type"
    for alone in (["b"], ("B",), np.array(["b"]), {"b": True}):
        expect.choice(alone, "b", why)
    for value in (["a", "b"], {"b": False}, {"b": "text"}, []):
        assert wrong(expect.choice, value, "b", why).fault == "type"


def test_statements():
    known = {"a": (True, "x", "Look at x."), "b": (False, "y", "Look at y.")}
    for value in ("A", ["a)"], {"a": True, "b": False}, {"a": True}, np.array(["a"]), "and a"):
        expect.statements(value, known)
    assert wrong(expect.statements, {"a": 1}, known).fault == "type"
    assert wrong(expect.statements, "ab", known).message == "You say that b holds. Look at y."
    assert wrong(expect.statements, "", known).fault == "x"
    assert wrong(expect.statements, ["a", "q"], known).fault == "type"
