"""Intermediate distillation: what the teacher sees.

Each loss is a function of features with its formula and source; each objective is a thin
`nn.Module` over one. Features are maps (B, C, H, W) or vectors (B, C). Three rules hold throughout:

- No gradient flows to the teacher's features. Half precision is compared as float32, and the
  objectives switch autocast off for their losses and adapters.
- Where vectors are compared, a map is averaged over its positions. Where maps of two sizes are
  compared, the larger is average-pooled to the size of the smaller (flow matrices max-pool, as
  their paper does).
- An adapter is a layer of the objective's own that makes a student's feature comparable with the
  teacher's: it is trained with the student, saved in checkpoints, and thrown away afterwards.

The default weights are those of RepDistiller's script or of the paper, for CIFAR-100 in batches of
64. How large a term is depends on the layers, so look at its size and its gradient before you trust
a weight on other data.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse.common.errors import UsageError, unknown
from kdcourse.data.batches import Batch
from kdcourse.distillation.hooks import FeatureHooks, ForwardOutput, forward_with_features
from kdcourse.distillation.objective import Objective, check_weights
from kdcourse.distillation.teacher import Teacher


def hint_loss(student_hint: torch.Tensor, teacher_hint: torch.Tensor) -> torch.Tensor:
    """mean (s − t)² over all elements (Romero et al. 2015, "FitNets", eq. 3).

    Both (B, C, H, W), the student's after its adapter; H and W may differ. The paper has ½ the sum
    of squares; the mean is RepDistiller's, and does not grow with the size of the layer. Raises
    UsageError if B or C differ.
    """
    student, teacher = _same_size(*_pair(_maps(student_hint), _maps(teacher_hint)))
    _same_channels(student, teacher)
    return F.mse_loss(student, teacher)


def attention_map(features: torch.Tensor, power: float = 2) -> torch.Tensor:
    """Q = Σ_c |A_c|^power: features (B, C, H, W) → (B, H, W) (Zagoruyko & Komodakis 2017, F_sum^p
    of sec. 3.1).
    """
    return _maps(features).abs().pow(power).sum(1)


def attention_transfer_loss(
    student_maps: torch.Tensor, teacher_maps: torch.Tensor, mode: str = "code"
) -> torch.Tensor:
    """Where the two look: one pair of features (B, C, H, W), whose C, H and W may differ. With q =
    vec(Q) / ‖vec(Q)‖₂

    mode="paper": mean_b ‖q_s − q_t‖₂ (Zagoruyko & Komodakis 2017, eq. 2, without its factor β/2):
    at most √2. mode="code":  mean_b ‖q_s − q_t‖₂² / (H·W) (the authors' code, and RepDistiller): at
    most 2 / (H·W). The code averages over channels where the paper sums; normalised, that is the
    same.
    """
    if mode not in ("paper", "code"):
        raise unknown("mode of attention transfer", mode, ("paper", "code"))
    student, teacher = _same_size(*_pair(_maps(student_maps), _maps(teacher_maps)))
    difference = _unit(attention_map(student).flatten(1)) - _unit(
        attention_map(teacher).flatten(1)
    )  # (B, H·W)
    return (
        torch.linalg.vector_norm(difference, dim=1).mean()
        if mode == "paper"
        else difference.pow(2).mean()
    )


def flow_matrix(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """G_ij = Σ_hw F1_ihw F2_jhw / (h·w) (Yim et al. 2017, "FSP", eq. 1): how a network gets from
    one layer to the next.

    first (B, C1, H, W) and second (B, C2, H', W') of the same network → (B, C1, C2). The larger map
    is max-pooled to the size of the smaller, as in the paper; RepDistiller average-pools it.
    """
    first, second = _same_size(_maps(first), _maps(second), pool=F.adaptive_max_pool2d)
    return torch.einsum("bihw,bjhw->bij", first, second) / first[0, 0].numel()


def flow_loss(student_flow: torch.Tensor, teacher_flow: torch.Tensor) -> torch.Tensor:
    """mean (G_s − G_t)², both (B, C1, C2) (Yim et al. 2017, eq. 2, which sums over a matrix;
    RepDistiller averages).
    """
    student, teacher = _pair(student_flow, teacher_flow)
    if student.shape != teacher.shape:
        raise UsageError(
            f"flow matrices {_shape(student)} and {_shape(teacher)}: expected the same shape. "
            "Student and teacher "
            "need layers of the same number of channels, or adapters, which FlowOfSolution makes"
        )
    return F.mse_loss(student, teacher)


def similarity_preserving_loss(
    student_features: torch.Tensor, teacher_features: torch.Tensor
) -> torch.Tensor:
    """‖G_s − G_t‖_F² / B², G = rows of F Fᵀ over their length (Tung & Mori 2019, eq. 1–3).

    Features (B, …) are flattened: G (B, B) says which images are alike, so the other dimensions may
    differ.
    """
    student, teacher = (
        _unit(f @ f.T) for f in _pair(student_features.flatten(1), teacher_features.flatten(1))
    )
    return F.mse_loss(student, teacher)


def relational_distance_loss(
    student_features: torch.Tensor, teacher_features: torch.Tensor
) -> torch.Tensor:
    """mean_ij huber(d_s − d_t), d_ij = ‖f_i − f_j‖ / μ, μ the mean over i ≠ j (Park et al. 2019,
    sec. 3.2.1).

    Features (B, C); a map is averaged over its positions. The Huber loss turns linear at 1. The
    paper sums over the
    pairs: the mean over all B² is that of the authors' code.
    """
    student, teacher = (
        _distances(f) for f in _pair(_vectors(student_features), _vectors(teacher_features))
    )
    return F.smooth_l1_loss(student, teacher)


def relational_angle_loss(
    student_features: torch.Tensor, teacher_features: torch.Tensor
) -> torch.Tensor:
    """mean_ijk huber(cos∠_s ijk − cos∠_t ijk), the angle at j between f_i and f_k (Park et al.
    2019, sec. 3.2.2).

    Features (B, C); a map is averaged over its positions. Takes memory for B²·C and B³ numbers.
    """
    student, teacher = (
        _angles(f) for f in _pair(_vectors(student_features), _vectors(teacher_features))
    )
    return F.smooth_l1_loss(student, teacher)


def probabilistic_transfer_loss(
    student_features: torch.Tensor, teacher_features: torch.Tensor
) -> torch.Tensor:
    """Σ_{i≠j} p_t(i|j) log (p_t(i|j) / p_s(i|j)) / B², p(i|j) = K_ij / Σ_{k≠j} K_kj (Passalis &
    Tefas 2018, "PKT").

    K_ij = ½ (cos(f_i, f_j) + 1), the paper's cosine kernel. Features (B, C); a map is averaged over
    its positions. The paper sums; its code, and RepDistiller, divide by B² and count i = j too,
    which the paper leaves out.
    """
    pair = _pair(_vectors(student_features), _vectors(teacher_features))
    student, teacher = (_log_neighbours(f) for f in pair)
    return (teacher.exp() * (teacher - student)).sum() / len(pair[0]) ** 2


def contrastive_loss(
    embeddings: torch.Tensor,
    bank: torch.Tensor,
    chosen: torch.Tensor,
    temperature: float = 0.07,
    log_normaliser: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """−mean_b [log h_b0 + Σ_k log(1 − h_bk)], h = e^{v·w/τ}/Z / (e^{v·w/τ}/Z + K/N):
    noise-contrastive estimation.

    Tian et al. 2020, "CRD", eq. 18–19. embeddings v (B, D) of one network; bank (N, D) of the
    other's, one unit vector a sample; chosen (B, 1 + K), rows of the bank: the sample itself, then
    K others. The paper has no Z: it is the code's. No gradient flows to the bank. Raises UsageError
    for a temperature that is not above 0, or shapes that do not fit.
    """
    if not temperature > 0:
        raise UsageError(f"temperature={temperature}: expected a number above 0")
    if (
        embeddings.shape[1:] != bank.shape[1:]
        or len(chosen) != len(embeddings)
        or chosen.shape[1] < 2
    ):
        raise UsageError(
            f"embeddings {_shape(embeddings)}, bank {_shape(bank)}, chosen {_shape(chosen)}: "
            "expected (B, D), (N, D) "
            "and (B, 1 + K) with K of 1 or more"
        )
    scores = (_full(embeddings) @ bank.detach().T).gather(1, chosen) / temperature - log_normaliser
    odds = scores - math.log((chosen.shape[1] - 1) / len(bank))  # log h / (1 − h), (B, 1 + K)
    return -(F.logsigmoid(odds[:, 0]) + F.logsigmoid(-odds[:, 1:]).sum(1)).mean()


def review_loss(student_maps: torch.Tensor, teacher_maps: torch.Tensor) -> torch.Tensor:
    """Σ_l w_l mean (pool_l(s) − pool_l(t))² / Σ_l w_l: the hierarchical context loss (Chen et al.
    2021, "ReviewKD").

    One pair of maps (B, C, H, W), the student's after fusion. Levels: the maps themselves (w = 1),
    then average-pooled to 4×4, 2×2 and 1×1 (w = ½, ¼, ⅛, the code's figures), leaving out levels
    that are no smaller than the map.
    """
    student, teacher = _same_size(*_pair(_maps(student_maps), _maps(teacher_maps)))
    _same_channels(student, teacher)
    sizes = [size for size in (4, 2, 1) if size < min(student.shape[2:])]
    loss, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for size in sizes:
        weight /= 2
        total += weight
        loss = loss + weight * F.mse_loss(
            *(F.adaptive_avg_pool2d(f, size) for f in (student, teacher))
        )
    return loss / total


class FeatureObjective(Objective):
    """What the objectives below share: layers of the same number on both sides, weights by term,
    one dry run.

    A subclass turns features into unweighted losses in `losses`, and makes its adapters, if it
    needs any, in `adapt`. Terms of weight 0 are left out. `fit` calls `prepare`; whoever trains
    without `fit` calls it first.
    """

    needs_adapters = False
    pools = False  # are maps of two sizes pooled to the smaller? For the printed form

    def __init__(self, teacher: Teacher, student_layers, teacher_layers, **weights: float):
        check_weights(**{f"{term}_weight": weight for term, weight in weights.items()})
        super().__init__(teacher, _paths(student_layers), _paths(teacher_layers))
        if teacher is None:
            raise UsageError(
                f"{type(self).__name__} compares with a teacher: hand in Teacher(network)"
            )
        if len(self.student_layers) != len(self.teacher_layers) or not self.student_layers:
            raise UsageError(
                f"{len(self.student_layers)} student layer(s) {self.student_layers} and "
                f"{len(self.teacher_layers)} "
                f"teacher layer(s) {self.teacher_layers}: expected one or more, a teacher's for "
                "each of the student's"
            )
        FeatureHooks(teacher.network, self.teacher_layers)  # an unknown path is said at once
        self.weights = weights
        self.shapes: dict | None = None  # what the dry run saw

    def prepare(self, student: nn.Module, batch: Batch, samples: int) -> None:
        """A dry run: make the adapters and try the losses once, so that what cannot work is said
        before training.

        A second call changes nothing if the shapes are the same; otherwise it raises UsageError,
        rather than throw trained adapters away.
        """
        super().prepare(student, batch, samples)
        training = student.training
        student.eval()
        try:
            with torch.no_grad():
                seen = forward_with_features(student, batch.images, self.student_layers)
        finally:
            student.train(training)
        taught = self.teacher.forward_with_features(batch, self.teacher_layers)
        shapes = self._shapes(seen, taught) | ({"samples": samples} if self.needs_adapters else {})
        if self.shapes is None or not self.needs_adapters:
            self._first_time(seen, taught, batch, samples)
        elif shapes != self.shapes:
            raise UsageError(
                f"{type(self).__name__} was prepared for {self.shapes}, and is asked to fit "
                f"{shapes}: its adapters "
                "would be lost. Make a new objective for this student and data"
            )
        self.shapes = shapes

    def _first_time(
        self, seen: ForwardOutput, taught: ForwardOutput, batch: Batch, samples: int
    ) -> None:
        self.adapt(*self._features(seen, taught), samples)
        self.to(batch.images.device)
        self.eval()  # for the trial: batch norms and banks stay as they are
        with torch.no_grad():
            self.losses(*self._features(seen, taught), batch)
        self.train()

    def adapt(self, student: list[torch.Tensor], teacher: list[torch.Tensor], samples: int) -> None:
        """Make adapters for features like these. samples: how many training images there are."""

    def losses(
        self, student: list[torch.Tensor], teacher: list[torch.Tensor], batch: Batch
    ) -> dict[str, torch.Tensor]:
        """Unweighted losses by term; the features in the order of the layers, in float32."""
        raise NotImplementedError

    def terms(
        self, seen: ForwardOutput, taught: ForwardOutput | None, batch: Batch
    ) -> dict[str, torch.Tensor]:
        losses = {}
        if any(weight for term, weight in self.weights.items() if term != "label"):
            if self.needs_adapters and self.shapes is None:
                raise UsageError(
                    f"{type(self).__name__} has no adapters yet: train it with fit, or call "
                    "prepare(student, batch, samples) before the optimiser is made"
                )
            with torch.autocast(seen.logits.device.type, enabled=False):
                losses = self.losses(*self._features(seen, taught), batch)
        if self.weights["label"]:
            losses["label"] = F.cross_entropy(seen.logits, batch.labels)
        return {term: weight * losses[term] for term, weight in self.weights.items() if weight}

    def _features(
        self, seen: ForwardOutput, taught: ForwardOutput
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        student = [seen.features[path].float() for path in self.student_layers]
        return student, [taught.features[path].float() for path in self.teacher_layers]

    def _shapes(self, seen: ForwardOutput, taught: ForwardOutput) -> dict:
        """{(student's layer, teacher's layer): (its shape, the teacher's)}, without the batch."""
        student, teacher = self._features(seen, taught)
        shapes = [
            (tuple(s.shape[1:]), tuple(t.shape[1:])) for s, t in zip(student, teacher, strict=True)
        ]
        return dict(
            zip(zip(self.student_layers, self.teacher_layers, strict=True), shapes, strict=True)
        )

    def extra_repr(self) -> str:
        pairs = zip(self.student_layers, self.teacher_layers, strict=True)
        parts = []
        for pair in dict.fromkeys(pairs):
            student, teacher = (self.shapes or {}).get(pair, ("", ""))
            parts.append(f"{pair[0]}{student} → {pair[1]}{teacher}{self.fate(student, teacher)}")
        return ", ".join(
            parts + [f"{term}_weight={weight:g}" for term, weight in self.weights.items()]
        )

    def fate(self, student: tuple, teacher: tuple) -> str:
        """What becomes of two maps of different sizes, for the printed form."""
        if not self.pools or len(student) != 3 or len(teacher) != 3 or student[1:] == teacher[1:]:
            return ""
        return f" pooled to {'×'.join(str(min(pair)) for pair in zip(student[1:], teacher[1:], strict=True))}"


class FitNets(FeatureObjective):
    """hint_weight · `hint_loss`(adapter(s), t) + label_weight · CE (Romero et al. 2015).

    The adapter is a 1×1 convolution at stride 1 from the student's to the teacher's channels. The
    paper's regressor has larger kernels, RepDistiller's also batch norm and ReLU; and the paper
    trains the hint first, then the rest, where this trains both at once, as RepDistiller does.
    hint_weight: RepDistiller's 100.
    """

    needs_adapters = True
    pools = True

    def __init__(
        self, teacher, student_layer: str, teacher_layer: str, hint_weight=100.0, label_weight=1.0
    ):
        super().__init__(
            teacher, student_layer, teacher_layer, hint=hint_weight, label=label_weight
        )
        self.adapter = None

    def adapt(self, student, teacher, samples):
        self.adapter = nn.Conv2d(_maps(student[0]).shape[1], _maps(teacher[0]).shape[1], 1)

    def losses(self, student, teacher, batch):
        pooled, _ = _same_size(
            _maps(student[0]), _maps(teacher[0])
        )  # 1×1: pooling first gives the same, for less
        return {"hint": hint_loss(self.adapter(pooled), teacher[0])}


class AttentionTransfer(FeatureObjective):
    """attention_weight · Σ_layers `attention_transfer_loss` + label_weight · CE (Zagoruyko &
    Komodakis 2017).

    attention_weight: RepDistiller's 1000, for mode="code". The terms of mode="paper" are larger:
      see the bounds there.
    """

    pools = True

    def __init__(
        self, teacher, student_layers: Sequence[str], teacher_layers: Sequence[str], attention_weight=1000.0,
        mode: str = "code", label_weight=1.0,
    ):  # fmt: skip
        super().__init__(
            teacher, student_layers, teacher_layers, attention=attention_weight, label=label_weight
        )
        if mode not in ("paper", "code"):
            raise unknown("mode of attention transfer", mode, ("paper", "code"))
        self.mode = mode

    def losses(self, student, teacher, batch):
        pairs = zip(student, teacher, strict=True)
        return {"attention": sum(attention_transfer_loss(s, t, self.mode) for s, t in pairs)}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode}"


class FlowOfSolution(FeatureObjective):
    """flow_weight · Σ_pairs `flow_loss` + label_weight · CE (Yim et al. 2017, "FSP").

    student_pairs, teacher_pairs: pairs of layers, as [("layer1", "layer2"), ("layer2", "layer3")].
    The paper asks for the same number of channels on both sides; where they differ, this takes the
    student's through an adapter, a 1×1 convolution at stride 1. The paper trains the flow first,
    then the rest; this trains both at once. flow_weight: the 50 of RepDistiller's script, whose FSP
    trains the flow alone first, as the paper does.
    """

    needs_adapters = True

    def __init__(self, teacher, student_pairs, teacher_pairs, flow_weight=50.0, label_weight=1.0):
        super().__init__(
            teacher,
            _flat(student_pairs),
            _flat(teacher_pairs),
            flow=flow_weight,
            label=label_weight,
        )
        self.adapters = None

    def adapt(self, student, teacher, samples):
        channels = [
            (_maps(s).shape[1], _maps(t).shape[1]) for s, t in zip(student, teacher, strict=True)
        ]
        self.adapters = nn.ModuleList(
            nn.Identity() if s == t else nn.Conv2d(s, t, 1) for s, t in channels
        )

    def losses(self, student, teacher, batch):
        student = [adapter(_maps(s)) for adapter, s in zip(self.adapters, student, strict=True)]
        flows = zip(_flows(student), _flows(teacher), strict=True)
        return {"flow": sum(flow_loss(s, t) for s, t in flows)}


class SimilarityPreserving(FeatureObjective):
    """similarity_weight · `similarity_preserving_loss` + label_weight · CE (Tung & Mori 2019).

    similarity_weight: 3000, the paper's γ and RepDistiller's.
    """

    def __init__(
        self,
        teacher,
        student_layer: str,
        teacher_layer: str,
        similarity_weight=3000.0,
        label_weight=1.0,
    ):
        super().__init__(
            teacher, student_layer, teacher_layer, similarity=similarity_weight, label=label_weight
        )

    def losses(self, student, teacher, batch):
        return {"similarity": similarity_preserving_loss(student[0], teacher[0])}


class RelationalKD(FeatureObjective):
    """distance_weight · `relational_distance_loss` + angle_weight · `relational_angle_loss` +
    label_weight · CE.

    Park et al. 2019. The weights: 25 and 50, the authors' and RepDistiller's.
    """

    def __init__(
        self,
        teacher,
        student_layer: str,
        teacher_layer: str,
        distance_weight=25.0,
        angle_weight=50.0,
        label_weight=1.0,
    ):
        weights = dict(distance=distance_weight, angle=angle_weight, label=label_weight)
        super().__init__(teacher, student_layer, teacher_layer, **weights)

    def losses(self, student, teacher, batch):
        losses = {}
        if self.weights["distance"]:
            losses["distance"] = relational_distance_loss(student[0], teacher[0])
        if self.weights["angle"]:
            losses["angle"] = relational_angle_loss(student[0], teacher[0])
        return losses


class ProbabilisticTransfer(FeatureObjective):
    """probability_weight · `probabilistic_transfer_loss` + label_weight · CE (Passalis & Tefas
    2018).

    probability_weight: RepDistiller's 30000.
    """

    def __init__(
        self,
        teacher,
        student_layer: str,
        teacher_layer: str,
        probability_weight=30000.0,
        label_weight=1.0,
    ):
        super().__init__(
            teacher,
            student_layer,
            teacher_layer,
            probability=probability_weight,
            label=label_weight,
        )

    def losses(self, student, teacher, batch):
        return {"probability": probabilistic_transfer_loss(student[0], teacher[0])}


class ContrastiveKD(FeatureObjective):
    """contrast_weight · (`contrastive_loss` of the student's embeddings + that of the teacher's) +
    label_weight · CE.

    Tian et al. 2020. The adapters are two linear embeddings into `dimensions`; the teacher's is
    trained too. Two banks keep the last embedding of every training sample (N · dimensions · 4
    bytes each), student's and teacher's: they are what an embedding is held against, move by
    `momentum`, and are saved in checkpoints. Banks change only in training mode. `negatives` of the
    other samples are drawn for each image, with replacement, at most N − 1; the authors' code draws
    them from the other classes only. Defaults: the paper's and RepDistiller's.
    """

    needs_adapters = True

    def __init__(
        self, teacher, student_layer: str, teacher_layer: str, contrast_weight=0.8, negatives: int = 16384,
        temperature: float = 0.07, dimensions: int = 128, momentum: float = 0.5, label_weight=1.0,
    ):  # fmt: skip
        super().__init__(
            teacher, student_layer, teacher_layer, contrast=contrast_weight, label=label_weight
        )
        if negatives < 1 or dimensions < 1 or not temperature > 0 or not 0 <= momentum < 1:
            raise UsageError(
                f"negatives={negatives}, dimensions={dimensions}, temperature={temperature}, "
                f"momentum={momentum}: "
                "expected 1 or more, 1 or more, above 0, and 0 ≤ momentum < 1"
            )
        self.negatives, self.temperature = negatives, temperature
        self.dimensions, self.momentum = dimensions, momentum
        self.student_embedding = self.teacher_embedding = None
        for name in ("student_bank", "teacher_bank", "log_normalisers"):
            self.register_buffer(name, None)

    def adapt(self, student, teacher, samples):
        if samples < 2:
            raise UsageError(f"{samples} training image(s): a contrast needs two or more")
        student, teacher = _vectors(student[0]), _vectors(teacher[0])
        self.student_embedding, self.teacher_embedding = (
            nn.Linear(f.shape[1], self.dimensions).to(f.device) for f in (student, teacher)
        )
        self.student_bank, self.teacher_bank = (
            _unit(torch.randn(samples, self.dimensions)).to(student.device) for _ in range(2)
        )
        # Z: the mean of e^{v·w/τ} over the bank, times N, as the code takes it from its first batch
        with torch.no_grad():
            scores = [
                _unit(self.student_embedding(student)) @ self.teacher_bank.T / self.temperature,
                _unit(self.teacher_embedding(teacher)) @ self.student_bank.T / self.temperature,
            ]
        self.log_normalisers = torch.stack(
            [s.flatten().logsumexp(0) - math.log(len(s)) for s in scores]
        )

    def losses(self, student, teacher, batch):
        student = _unit(self.student_embedding(_vectors(student[0])))  # (B, D)
        teacher = _unit(self.teacher_embedding(_vectors(teacher[0].detach())))
        chosen = self._choose(batch.index)
        log_zs, log_zt = self.log_normalisers
        loss = contrastive_loss(student, self.teacher_bank, chosen, self.temperature, log_zs)
        loss = loss + contrastive_loss(teacher, self.student_bank, chosen, self.temperature, log_zt)
        if self.training:
            self.student_bank = self._moved(self.student_bank, batch.index, student)
            self.teacher_bank = self._moved(self.teacher_bank, batch.index, teacher)
        return {"contrast": loss}

    def _choose(self, index: torch.Tensor) -> torch.Tensor:
        """(B, 1 + K) rows of a bank: the sample's own, then K others, drawn by torch's generator,
        which `fit` seeds.
        """
        samples = len(self.student_bank)
        size = (len(index), min(self.negatives, samples - 1))
        others = (index[:, None] + torch.randint(1, samples, size, device=index.device)) % samples
        return torch.cat([index[:, None], others], dim=1)

    def _moved(
        self, bank: torch.Tensor, index: torch.Tensor, embeddings: torch.Tensor
    ) -> torch.Tensor:
        """A new bank, not the old one altered: the backward pass still needs that."""
        moved = self.momentum * bank[index] + (1 - self.momentum) * embeddings.detach()
        return bank.index_copy(0, index, _unit(moved))

    def extra_repr(self) -> str:
        size = "" if self.student_bank is None else f", 2 banks of {_shape(self.student_bank)}"
        return f"{super().extra_repr()}, negatives={self.negatives}, temperature={self.temperature:g}{size}"


class AttentionBasedFusion(nn.Module):
    """ReviewKD's ABF: fuse a student's map with what came from the layer behind it (Chen et al.
    2021, sec. 3.3).

    x = BN(conv1×1(map)); from the second on x = a₁·x + a₂·behind, with (a₁, a₂) =
    sigmoid(conv1×1([x, behind])) at each position; out = BN(conv3×3(x)), which has the teacher's
    channels. Returns (out, x): x goes on to the layer before.
    """

    def __init__(self, channels: int, middle: int, teacher_channels: int, fuses: bool):
        super().__init__()
        self.enter = nn.Sequential(
            nn.Conv2d(channels, middle, 1, bias=False), nn.BatchNorm2d(middle)
        )
        self.attend = nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid()) if fuses else None
        self.leave = nn.Sequential(
            nn.Conv2d(middle, teacher_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(teacher_channels),
        )

    def forward(
        self, features: torch.Tensor, behind: torch.Tensor | None, size
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """features (B, C, H, W); behind (B, middle, h, w) or None; size (H', W') ≤ (H, W) of what
        is returned.
        """
        x = self.enter(features)
        if self.attend is not None:
            behind = F.interpolate(behind, x.shape[2:], mode="nearest")
            weights = self.attend(torch.cat([x, behind], dim=1))  # (B, 2, H, W)
            x = x * weights[:, :1] + behind * weights[:, 1:]
        x = F.adaptive_avg_pool2d(x, size)
        return self.leave(x), x


class ReviewKD(FeatureObjective):
    """review_weight · Σ_layers `review_loss`(fused student, teacher) + label_weight · CE (Chen et
    al. 2021).

    student_layers from shallow to deep. The deepest is compared first and handed on:
    `AttentionBasedFusion` mixes it into the next, so that a teacher's shallow layer also teaches
    the student's deep ones. The authors' code resizes the student's fused maps to the teacher's
    size; here the larger of the two is average-pooled. It also raises the weight over 20 epochs,
    from 0. review_weight: 1, the code's default; its scripts use 0.6 to 8, by pair (batch 128).
    Batch norm in the fusion needs batches of two or more where a map is 1×1.
    """

    needs_adapters = True
    pools = True

    def __init__(
        self,
        teacher,
        student_layers: Sequence[str],
        teacher_layers: Sequence[str],
        review_weight=1.0,
        label_weight=1.0,
    ):
        super().__init__(
            teacher, student_layers, teacher_layers, review=review_weight, label=label_weight
        )
        self.fusions = None

    def adapt(self, student, teacher, samples):
        channels = [
            (_maps(s).shape[1], _maps(t).shape[1]) for s, t in zip(student, teacher, strict=True)
        ]
        middle = min(512, channels[-1][0])
        self.fusions = nn.ModuleList(
            AttentionBasedFusion(s, middle, t, fuses=i < len(channels) - 1)
            for i, (s, t) in enumerate(channels)
        )

    def losses(self, student, teacher, batch):
        loss, behind = 0, None
        for fusion, s, t in reversed(list(zip(self.fusions, student, teacher, strict=True))):
            fused, behind = fusion(_maps(s), behind, _common(_maps(s), _maps(t)))
            loss = loss + review_loss(fused, t)
        return {"review": loss}


def _maps(features: torch.Tensor) -> torch.Tensor:
    """features as maps (B, C, H, W), or a UsageError."""
    if features.dim() != 4:
        raise UsageError(
            f"features of shape {_shape(features)}: expected maps (B, C, H, W). Name a layer "
            "before the pooling, or "
            "use a method that compares vectors, such as RelationalKD"
        )
    return _full(features)


def _vectors(features: torch.Tensor) -> torch.Tensor:
    """features as vectors (B, C): maps are averaged over their positions."""
    if features.dim() not in (2, 4):
        raise UsageError(
            f"features of shape {_shape(features)}: expected vectors (B, C) or maps (B, C, H, W)"
        )
    return _full(features).mean((2, 3)) if features.dim() == 4 else _full(features)


def _pair(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The two as they are compared: of one batch, half precision as float32, no gradient to the
    teacher's.
    """
    if len(student) != len(teacher):
        raise UsageError(
            f"student's features {_shape(student)}, teacher's {_shape(teacher)}: expected the same "
            "batch, and so the "
            "same first number"
        )
    return _full(student), _full(teacher.detach())


def _same_size(first: torch.Tensor, second: torch.Tensor, pool=F.adaptive_avg_pool2d):
    """Maps of the same height and width: the larger pooled to the smaller."""
    size = _common(first, second)
    return tuple(f if f.shape[2:] == size else pool(f, size) for f in (first, second))


def _common(first: torch.Tensor, second: torch.Tensor) -> torch.Size:
    return torch.Size(min(pair) for pair in zip(first.shape[2:], second.shape[2:], strict=True))


def _same_channels(student: torch.Tensor, teacher: torch.Tensor) -> None:
    if student.shape[1] != teacher.shape[1]:
        raise UsageError(
            f"{student.shape[1]} channels of the student's and {teacher.shape[1]} of the "
            "teacher's: expected the same "
            "number. An adapter makes it so: the objectives FitNets and ReviewKD have one"
        )


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    """Rows over their length. A row of zeros stays one, and has a finite gradient."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1)


def _distances(vectors: torch.Tensor) -> torch.Tensor:
    """(B, B) distances over the mean of those between different samples."""
    distances = torch.cdist(
        vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist"
    )  # exact, 0 on the diagonal
    mean = distances.sum() / max(len(vectors) * (len(vectors) - 1), 1)
    return distances / torch.where(mean > 0, mean, 1)


def _angles(vectors: torch.Tensor) -> torch.Tensor:
    """(B, B, B): at [j, i, k] the cosine of the angle at sample j between samples i and k."""
    towards = _unit(vectors[None] - vectors[:, None])  # (B, B, C): at [j, i], from j to i
    return towards @ towards.transpose(1, 2)


def _log_neighbours(vectors: torch.Tensor) -> torch.Tensor:
    """(B, B − 1): at [j, i] log p(i|j) over the other samples i of the batch."""
    unit = _unit(vectors)
    kernel = (unit @ unit.T + 1).clamp(
        min=0
    ) / 2 + 1e-7  # opposite vectors have K = 0, which has no logarithm
    others = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    kernel = kernel[others].view(len(unit), -1) if len(unit) > 1 else kernel[:, :0]
    return kernel.log() - kernel.sum(1, keepdim=True).log()


def _flows(features: list[torch.Tensor]) -> list[torch.Tensor]:
    """The flow matrix of each two features: 0 to 1, 2 to 3, …"""
    return [
        flow_matrix(first, second)
        for first, second in zip(features[::2], features[1::2], strict=True)
    ]


def _full(features: torch.Tensor) -> torch.Tensor:
    """Half precision as float32; float64 stays."""
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def _paths(layers: str | Sequence[str]) -> tuple[str, ...]:
    return (layers,) if isinstance(layers, str) else tuple(layers)


def _flat(pairs) -> list[str]:
    """[("a", "b"), ("b", "c")] → ["a", "b", "b", "c"]."""
    pairs = list(pairs)
    if any(isinstance(pair, str) or len(pair) != 2 for pair in pairs):
        raise UsageError(
            f"{pairs}: expected pairs of layers, such as [('layer1', 'layer2'), ('layer2', "
            "'layer3')]"
        )
    return [layer for pair in pairs for layer in pair]


def _shape(tensor: torch.Tensor) -> str:
    return str(tuple(tensor.shape))
