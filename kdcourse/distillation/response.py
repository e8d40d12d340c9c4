"""Response-based distillation: what the teacher says.

Each loss is a function of logits (B, C) with its formula and source; `response_objectives` has a
thin `nn.Module` over each. z_s and z_t are the logits of student and teacher, T is the temperature,
and p(T) = softmax(z / T). Losses are means over the batch. Gradient goes to the student alone, and
half-precision logits are computed with in float32.

Why T²: the gradient of a cross-entropy softened by T is (p_s(T) − p_t(T)) / T, and the difference
shrinks like 1 / T as well, so together like 1 / T² (Hinton, Vinyals & Dean 2015, sec. 2). Times T²,
the soft term keeps its weight beside the label term when the temperature changes. Without it, a
soft term at T = 5 counts 25 times too little.
"""

import torch
from torch.nn import functional as F

from kdcourse.common.errors import UsageError


def soft_target_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float
) -> torch.Tensor:
    """T² · KL(p_t(T) ‖ p_s(T)), mean over the batch. Logits (B, C) → scalar, 0 where the two agree
    up to a shift.

    Hinton, Vinyals & Dean 2015, sec. 2: their cross-entropy with soft targets, less the teacher's
    entropy, which has no gradient. At high T it becomes ‖z_s − z_t‖² / 2C of centred logits, with
    gradient (z_s − z_t) / C (eq. 2–4). Raises UsageError for logits or a temperature that cannot be
    right.
    """
    student, teacher = _paired(student_logits, teacher_logits, temperature)
    log_p_s, log_p_t = (
        F.log_softmax(student / temperature, 1),
        F.log_softmax(teacher / temperature, 1),
    )
    return temperature**2 * F.kl_div(log_p_s, log_p_t, reduction="batchmean", log_target=True)


def logit_matching_loss(student_logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
    """½ ‖z_s − z_t‖², summed over classes, mean over the batch. Logits (B, C) → scalar.

    Ba & Caruana 2014, eq. 1: regression on the teacher's logits, before any softmax, so that a
    shift matters. On centred logits it is C times what `soft_target_loss` becomes at high
    temperature. Raises UsageError as there.
    """
    student, teacher = _paired(student_logits, teacher_logits)
    return 0.5 * (student - teacher).square().sum(1).mean()


def target_class_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """T² · TCKD for each sample: KL(b_t ‖ b_s) of the two probabilities b = (p_label, 1 − p_label).
    (B, C) → (B,).

    Zhao et al. 2022 (DKD), sec. 3.1: how sure the teacher is of the label. Raises UsageError as
    `decoupled_loss` does.
    """
    student, teacher = _label_first(
        *_paired(student_logits, teacher_logits, temperature), labels, temperature
    )
    # log(1 − p) loses everything where p rounds to 1; the log-sum-exp of the other logits does not
    log_b_s, log_b_t = (
        F.log_softmax(torch.stack([z[:, 0], z[:, 1:].logsumexp(1)], 1), 1)
        for z in (student, teacher)
    )
    return temperature**2 * F.kl_div(log_b_s, log_b_t, reduction="none", log_target=True).sum(1)


def nontarget_class_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """T² · NCKD for each sample: KL(p̂_t ‖ p̂_s), with p̂ the softmax over all classes but the
    label. (B, C) → (B,).

    Zhao et al. 2022 (DKD), sec. 3.1: which wrong classes the teacher considers. With two classes
    there is only one wrong class, and it is 0. Raises UsageError as `decoupled_loss` does.
    """
    student, teacher = _label_first(
        *_paired(student_logits, teacher_logits, temperature), labels, temperature
    )
    log_p_s, log_p_t = F.log_softmax(student[:, 1:], 1), F.log_softmax(teacher[:, 1:], 1)
    return temperature**2 * F.kl_div(log_p_s, log_p_t, reduction="none", log_target=True).sum(1)


def decoupled_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    temperature: float,
    target_weight: float,
    nontarget_weight: float,
) -> torch.Tensor:
    """T² · (target_weight · TCKD + nontarget_weight · NCKD), mean over the batch. Logits (B, C),
    labels (B,) → scalar.

    Zhao et al. 2022 (DKD), sec. 3.3. The soft-target loss is KD = TCKD + (1 − p_t) · NCKD, with p_t
    the teacher's probability of the label (sec. 3.1): a sure teacher mutes what it knows of the
    wrong classes. DKD gives each part a weight of its own. Raises UsageError as `soft_target_loss`
    does, and for labels that are no columns.
    """
    target = target_class_loss(student_logits, teacher_logits, labels, temperature)
    nontarget = nontarget_class_loss(student_logits, teacher_logits, labels, temperature)
    return (target_weight * target + nontarget_weight * nontarget).mean()


def relation_matching_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float = 1.0,
    inter_weight: float = 2.0,
    intra_weight: float = 2.0,
) -> torch.Tensor:
    """inter_weight · (1 − mean_i ρ(p_s[i, :], p_t[i, :])) + intra_weight · (1 − mean_j ρ(p_s[:, j],
    p_t[:, j])).

    ρ is Pearson's correlation, p = softmax(z / T), i a sample, j a class. Logits (B, C) → scalar.
    Huang et al. 2022 (DIST), eq. 8–11. Inter-class: the order of the classes in a sample;
    intra-class: that of the samples in a class.

    There is no T² here, as in the paper's formula. The official code has it; but ρ takes no notice
    of scale, so its gradient does not shrink with 1 / T², and weights times T² give what the code
    does. A row or column that is constant (in a batch of one, every column) has no correlation: it
    counts as 0, with its distance at 1. Those that vary by less than 1e-4 fade into that, as in the
    code. Raises UsageError as `soft_target_loss` does.
    """
    student, teacher = _paired(student_logits, teacher_logits, temperature)
    p_s, p_t = F.softmax(student / temperature, 1), F.softmax(teacher / temperature, 1)
    inter, intra = 1 - _correlation(p_s, p_t, 1).mean(), 1 - _correlation(p_s, p_t, 0).mean()
    return inter_weight * inter + intra_weight * intra


def standardised_soft_target_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The soft-target loss of Z-scores: z ← (z − mean(z)) / std(z), a row each, then T² · KL.
    Logits (B, C) → scalar.

    Sun et al. 2024, algorithms 1 and 2: the student need not copy the range of the teacher's
    logits, only their relations. So the scale of neither matters. std is that of the population, as
    in the paper; their code divides by C − 1. A constant row has no Z-score: it becomes zeros. With
    two classes a Z-score is ±1 whatever the logits, and the student learns nothing. Raises
    UsageError as `soft_target_loss` does.
    """
    student, teacher = _paired(student_logits, teacher_logits, temperature)
    classes = student.shape[1:]
    # layer_norm without weights is the Z-score; its eps, added to the variance, bounds the gradient
    # of constant rows
    student, teacher = (
        F.layer_norm(student, classes, eps=1e-8),
        F.layer_norm(teacher, classes, eps=1e-8),
    )
    return soft_target_loss(student, teacher, temperature)


def _paired(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits in float32 or better, the teacher's without gradient.

    Raises UsageError for a temperature or shapes that cannot be right. Finite values are checked by
    `fit`, which looks at the loss anyway.
    """
    check_temperature(temperature)
    if (
        student_logits.shape != teacher_logits.shape
        or student_logits.ndim != 2
        or student_logits.shape[1] < 2
    ):
        raise UsageError(
            f"student_logits {tuple(student_logits.shape)} and teacher_logits "
            f"{tuple(teacher_logits.shape)}: expected the same shape (B, C), with two classes or "
            "more. A teacher of more classes needs a label_map: Teacher(…)"
        )
    for name, logits in (("student_logits", student_logits), ("teacher_logits", teacher_logits)):
        if not logits.is_floating_point():
            raise UsageError(
                f"{name} are {logits.dtype}: expected logits, which are floating-point numbers"
            )
    exact = torch.promote_types(student_logits.dtype, torch.float32)
    return student_logits.to(exact), teacher_logits.detach().to(exact)


def check_temperature(temperature: float) -> None:
    if not 0 < temperature < float("inf"):
        raise UsageError(
            f"temperature={temperature}: expected a finite number above 0. 4 is a usual start"
        )


def _label_first(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits over T with the label's in column 0 and the other classes after it: a rotation of each
    row.
    """
    count, classes = student.shape
    if labels.shape != (count,) or labels.is_floating_point():
        raise UsageError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}: expected whole numbers of "
            f"shape ({count},), the class of each row of the logits"
        )
    if labels.device.type == "cpu" and count:  # elsewhere looking would make the processor wait
        low, high = (bound.item() for bound in labels.aminmax())
        if low < 0 or high >= classes:
            raise UsageError(
                f"labels from {low} to {high}: expected 0 to {classes - 1}, a column of the logits "
                "each"
            )
    columns = (labels[:, None] + torch.arange(classes, device=labels.device)) % classes
    return student.gather(1, columns) / temperature, teacher.gather(1, columns) / temperature


def _correlation(a: torch.Tensor, b: torch.Tensor, dim: int) -> torch.Tensor:
    """Pearson's correlation of a and b along dim: the cosine of what is left without the mean."""
    # the eps is what the official code's comes to; it bounds the gradient where a student gives all
    # classes the same
    return F.cosine_similarity(
        a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True), dim=dim, eps=1e-4
    )
