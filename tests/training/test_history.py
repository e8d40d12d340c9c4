"""What a History reports about its epochs."""

from kdcourse.training import History

RECORDS = [
    {
        "epoch": 1,
        "loss": 1.0,
        "train_accuracy": 80.0,
        "val_accuracy": 50.0,
        "val_loss": 1.0,
        "seconds": 1.5,
    },
    {
        "epoch": 2,
        "loss": 0.5,
        "train_accuracy": 80.0,
        "val_accuracy": 70.0,
        "val_loss": 0.6,
        "seconds": 1.0,
    },
    {
        "epoch": 3,
        "loss": 0.4,
        "train_accuracy": 80.0,
        "val_accuracy": 70.0,
        "val_loss": 0.7,
        "seconds": 0.5,
    },
]


def test_the_first_of_the_best_epochs_and_the_last():
    last, best = History(list(RECORDS)), History(list(RECORDS), keep="best")
    assert last.best_epoch == best.best_epoch == best.reported_epoch == 2
    assert last.reported_epoch == 3 and last.seconds == 3.0
    assert list(last.frame()["loss"]) == [1.0, 0.5, 0.4]


def test_the_printed_form_names_the_reported_epoch():
    assert repr(History()) == "History: no epochs yet"
    assert "70.0" in repr(History(list(RECORDS))) and "3" in repr(History(list(RECORDS)))
