"""What happened in a training run, epoch by epoch."""

from dataclasses import dataclass, field

import pandas as pd


@dataclass
class History:
    """One record an epoch: `epoch` (from 1), `loss` and each of its terms (means over the epoch's
    samples), `train_accuracy` and `val_accuracy` in %, `val_loss` in nats, `lr`, `seconds`.

    `train_accuracy` is measured as `val_accuracy` is: after the epoch, in eval mode, without
    augmentation, on as many training samples as there are in validation. So the gap between them is
    overfitting and nothing else.
    """

    records: list[dict] = field(default_factory=list)
    keep: str = "last"  # which epoch's weights the network holds: "last", or "best" on validation
    precision: str = "float32"
    device: str = "cpu"

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.records)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest validation accuracy; epochs count from 1."""
        return max(self.records, key=lambda r: (r["val_accuracy"], -r["epoch"]))["epoch"]

    @property
    def reported_epoch(self) -> int:
        """The epoch whose weights the network holds."""
        return self.best_epoch if self.keep == "best" else self.records[-1]["epoch"]

    @property
    def seconds(self) -> float:
        return sum(record["seconds"] for record in self.records)

    def __repr__(self) -> str:
        if not self.records:
            return "History: no epochs yet"
        at = self.records[self.reported_epoch - 1]
        return (
            f"History: {len(self.records)} epochs, holding the {self.keep} one "
            f"({self.reported_epoch}): train {at['train_accuracy']:.1f} %, validation "
            f"{at['val_accuracy']:.1f} % ({self.precision}, {self.device})"
        )
