"""Comparisons whose messages teach: what was expected, what came, and the likely mistake by name.
All raise Wrong.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from kdcourse.checking.safe_call import type_name
from kdcourse.checking.task import Wrong

RTOL, ATOL = 1e-4, 1e-6  # fit for float32

Mistakes = Mapping[
    str, tuple[object, str]
]  # a fault's name: (the value that it would give, a sentence to the learner)


def tensor(value, of: str = "the answer") -> torch.Tensor:
    """value as a tensor of float64: a tensor, an array, a number, or lists of numbers, of any
    dtype.
    """
    if value is None:
        raise Wrong(f"Expected a value for {of}, got None. Is there a `return`?", "none")
    problem = Wrong(f"Expected {of} as a tensor or numbers, got {type_name(value)}.", "type")
    if isinstance(value, list | tuple) and any(isinstance(inner, torch.Tensor) for inner in value):
        rows = [tensor(inner, of) for inner in value]
        if len({row.shape for row in rows}) > 1:
            raise problem
        return torch.stack(rows)
    if isinstance(value, torch.Tensor):
        if value.is_complex():
            raise problem
        return value.detach().cpu().double()
    try:
        numbers = np.asarray(value)
    except ValueError as ragged:
        raise problem from ragged
    if numbers.dtype.kind not in "fiub":
        raise problem
    return torch.from_numpy(np.ascontiguousarray(numbers, dtype=np.float64)).reshape(numbers.shape)


def shape(value, expected: Sequence[int], of: str = "the answer") -> torch.Tensor:
    """value as a tensor of float64 with this shape."""
    came = tensor(value, of)
    if tuple(came.shape) != tuple(expected):
        raise Wrong(f"Expected {of} of shape {_size(expected)}, got {_size(came.shape)}.", "shape")
    return came


def finite(value, of: str = "the answer", because: str = "") -> torch.Tensor:
    """value as a tensor of float64 without NaN and infinity. because: where to look if there are
    some.
    """
    came = tensor(value, of)
    bad = ~came.isfinite()
    if bad.any():
        kind = "NaN" if came.isnan().any() else "infinity"
        where = (
            f"{int(bad.sum())} of {came.numel()} numbers of {of} are not finite"
            if came.ndim
            else f"{of} is {kind}"
        )
        because = (
            because
            or "Look for a division by zero, the logarithm of zero, or an overflowing exponential."
        )
        raise Wrong(f"Expected finite numbers, but {where}. {because}", "nan")
    return came


def scalar(value, of: str = "the answer") -> float:
    """value as one finite number: a number, or a tensor or array with one element; no bool."""
    if isinstance(value, bool | np.bool_):
        raise Wrong(f"Expected a number for {of}, got {value}.", "type")
    came = tensor(value, of)
    if came.numel() != 1:
        raise Wrong(f"Expected one number for {of}, got shape {_size(came.shape)}.", "shape")
    return finite(came.reshape(()), of).item()


def typed(value, of: str = "the answer") -> object:
    """A number that somebody gave as text, such as "2.9", "12.3 %" or "about 3". What is no text is
    handed on.
    """
    if value is None or isinstance(value, Mapping):
        raise Wrong(
            f"Expected a number for {of}, got {'None' if value is None else 'a dict or a set'}.",
            "type",
        )
    if not isinstance(value, str):
        return value
    text = re.fullmatch(
        r"(?:[a-z]+ *=|about|~|≈)? *([-+]?\d+(?:[.,]\d+)?) *(?:%|[a-z]+)?", value.strip().lower()
    )
    if not text:
        raise Wrong(f"Expected a number for {of}, such as 2.5, got {value!r}.", "type")
    return float(text[1].replace(",", "."))


def whole(value, of: str = "the answer") -> int:
    """value as one whole number, such as 3, 3.0 or tensor(3)."""
    came = scalar(value, of)
    if came != round(came):
        raise Wrong(f"Expected a whole number for {of}, got {came:g}.", "type")
    return round(came)


def boolean(value, of: str = "the answer") -> bool:
    """value as True or False: a bool, or a tensor or array that holds one."""
    if value is None:
        raise Wrong(f"Expected True or False for {of}, got None. Is there a `return`?", "none")
    if isinstance(value, torch.Tensor | np.ndarray | np.generic) and np.prod(value.shape) == 1:
        value = value.item()
    if not isinstance(value, bool):
        raise Wrong(f"Expected True or False for {of}, got {type_name(value)}.", "type")
    return value


def close(
    value,
    expected,
    mistakes: Mistakes | None = None,
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
    of: str = "the answer",
) -> torch.Tensor:
    """value, which must agree with expected in shape and in every number, as a tensor of float64.

    mistakes: the first whose value came is named; what they would give may have another shape, or
    NaN. Where none fits, the message tells a constant factor, or the number that is farthest off.
    Where one number is expected, a tensor with one element does. The tolerance is rtol · |expected|
    + atol · max(1, largest |expected|).
    """
    wanted, came = tensor(expected), tensor(value, of)
    if wanted.ndim == 0 and came.numel() == 1:
        came = came.reshape(())
    if _agree(came, wanted, rtol, atol):
        return came
    for fault, (instead, sentence) in (mistakes or {}).items():
        if _agree(came, tensor(instead), rtol, atol):
            raise Wrong(f"{sentence} {_difference(came, wanted, of)}", fault)
    shape(came, wanted.shape, of)
    if wanted.isfinite().all():
        finite(came, of)
    raise Wrong(
        _difference(came, wanted, of), "factor" if wanted.ndim and ratio(came, wanted) else "value"
    )


def read_off(
    value, expected: float, within: float, mistakes: Mistakes | None = None, of: str = "the figure"
) -> float:
    """value, a number that was read off and must be within so much of expected. The message does
    not tell it.
    """
    came = scalar(typed(value, of), of)
    if abs(came - float(expected)) <= within:
        return came
    for fault, (instead, sentence) in (mistakes or {}).items():
        if abs(came - float(instead)) <= within:
            raise Wrong(f"{sentence} You gave {came:g}.", fault)
    side = "small" if came < expected else "large"
    raise Wrong(f"Expected another number for {of}: {came:g} is too {side}.", "value")


def one_of(value, choices: Sequence[str], of: str = "your choice") -> str:
    """value as one of these names; capitals, blanks, brackets and the like do not matter, nor a
    list around it.
    """
    known = {_bare(name): name for name in choices}
    value = only(value)
    came = _bare(value) if isinstance(value, str) else None
    if came not in known:
        shown = repr(value) if isinstance(value, str) else type_name(value)
        raise Wrong(
            f"Expected one of {', '.join(map(repr, known.values()))} for {of}, got {shown}.", "type"
        )
    return known[came]


def only(value) -> object:
    """The one thing in a list, tuple, array or set (see `safe_call.look`) with one element;
    anything else as it is.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping) and list(value.values()) == [True]:
        value = list(value)
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _bare(name: str) -> str:
    return re.sub(r"[^\w]|_", "", name).lower()


def choice(value, right: str, why: Mapping[str, tuple[str, str]], of: str = "your choice") -> None:
    """value must be the right choice. why: of each wrong one, its fault's name and a sentence that
    says why not.
    """
    came = one_of(value, sorted({right, *why}), of)
    if came != right:
        fault, sentence = why[came]
        raise Wrong(sentence, fault)


def sorted_into(
    value, right: Mapping[str, str], why: Mapping[str, str], of: str = "your answer"
) -> None:
    """value must give each letter its word: {"A": "leak", …}; pairs, or the words in order, do as
    well.

    why: of every word, where to look if it was not seen.
    """
    if isinstance(value, list | tuple) and len(value) == len(right):
        pairs = all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value)
        value = (
            {str(key): word for key, word in value}
            if pairs
            else dict(zip(right, value, strict=True))
        )
    if not isinstance(value, Mapping):
        raise Wrong(
            f"Expected a dict with the keys {', '.join(right)} for {of}, got {type_name(value)}.",
            "type",
        )
    value = {_bare(str(key)).upper(): word for key, word in value.items()}
    if set(value) != set(right):
        raise Wrong(
            f"Expected a dict with the keys {', '.join(right)} for {of}, got "
            f"{', '.join(value) or 'none'} as keys.",
            "type",
        )
    for letter, word in right.items():
        if (came := one_of(value[letter], list(why), of=letter)) != word:
            raise Wrong(f"{letter} is not {came!r}. {why[word]}", f"{came} for {word}")


def statements(value, known: Mapping[str, tuple[bool, str, str]], of: str = "your answer") -> None:
    """value must name exactly the statements that hold, see `letters`.

    known: by letter, whether it holds, the name of the fault of those who err there, and a sentence
    that says where to look. The first letter that is wrong is told, without telling the others.
    """
    named_here = letters(value, known, of)
    for letter, (holds, fault, sentence) in known.items():
        if (letter in named_here) != holds:
            claim = "holds" if letter in named_here else "does not hold"
            raise Wrong(f"You say that {letter} {claim}. {sentence}", fault)


def letters(value, known: Iterable[str], of: str = "your answer") -> set[str]:
    """The letters in value: "ace", "A, C and E", ["a", "c)", "e"], a set of them, or {"a": True,
    "b": False, …}.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping) and all(
        isinstance(holds, bool | np.bool_) for holds in value.values()
    ):
        value = [letter for letter, holds in value.items() if holds]
    if isinstance(value, list | tuple) and all(isinstance(letter, str) for letter in value):
        value = " ".join(value)
    if not isinstance(value, str):
        raise Wrong(f"Expected letters for {of}, such as 'ac', got {type_name(value)}.", "type")
    came = set(_bare(re.sub(r"\band\b", " ", value.lower())))
    spelt = {letter.lower(): letter for letter in known}
    if strange := came - spelt.keys():
        raise Wrong(
            f"No statement is called {', '.join(sorted(strange))}. There are {', '.join(known)}.",
            "type",
        )
    return {spelt[letter] for letter in came}


def ratio(value, expected, rtol: float = RTOL) -> float | None:
    """The constant factor between value and expected, both finite; None if there is none, or it is
    0 or 1.
    """
    came, wanted = tensor(value), tensor(expected)
    if (
        came.shape != wanted.shape
        or not wanted.any()
        or not (came.isfinite() & wanted.isfinite()).all()
    ):
        return None
    factor = ((came * wanted).sum() / wanted.square().sum()).item()
    constant = _agree(came, factor * wanted, 10 * rtol, ATOL * abs(factor))
    return factor if constant and abs(factor) > ATOL and abs(factor - 1) > rtol else None


def _agree(came: torch.Tensor, wanted: torch.Tensor, rtol: float, atol: float) -> bool:
    if came.shape != wanted.shape:
        return False
    largest = wanted[wanted.isfinite()].abs().max().item() if wanted.isfinite().any() else 0.0
    return torch.allclose(came, wanted, rtol, atol * max(1.0, largest), equal_nan=True)


def _difference(came: torch.Tensor, wanted: torch.Tensor, of: str) -> str:
    if came.shape != wanted.shape:
        return f"Expected {of} of shape {_size(wanted.shape)}, got {_size(came.shape)}."
    factor = ratio(came, wanted)
    if factor is None:
        times = ""
    elif factor < 0:
        times = (
            ": the sign is the other way round"
            if abs(factor + 1) < RTOL
            else f": {factor:.4g} times that"
        )
    else:
        times = (
            f": {factor:.4g} times too large"
            if factor > 1
            else f": {1 / factor:.4g} times too small"
        )
    if wanted.ndim == 0:
        return f"Expected {wanted:.5g} for {of}, got {came:.5g}{times}."
    off = torch.where(
        came.isnan() & wanted.isnan(), 0, (came - wanted).abs().nan_to_num(float("inf"))
    )
    if not off.numel():
        return f"Expected {of} to be empty."
    at = np.unravel_index(int(off.argmax()), off.shape)
    place = ", ".join(map(str, at))
    wrong = max(
        1, int((off > RTOL * wanted.abs().nan_to_num() + ATOL).sum())
    )  # a task may be stricter than this
    return (
        f"{wrong} of {wanted.numel()} numbers of {of} differ{times}. At [{place}]: expected "
        f"{wanted[at]:.5g}, got {came[at]:.5g}."
    )


def _size(sizes) -> str:
    return (
        f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"
        if len(sizes)
        else "() (one number)"
    )
