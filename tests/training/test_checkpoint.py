import pytest
import torch
from torch import nn

from kdcourse.common.errors import CheckpointError
from kdcourse.training import checkpoint


def test_round_trip(tmp_path):
    checkpoint.save(
        tmp_path / "deep" / "a.pt", {"weights": {"w": torch.arange(3)}, "note": "x", "number": 1.5}
    )
    content = checkpoint.load(tmp_path / "deep" / "a.pt")
    assert content["note"] == "x" and content["number"] == 1.5
    assert torch.equal(content["weights"]["w"], torch.arange(3))


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.pt: no such checkpoint"):
        checkpoint.load(tmp_path / "nowhere.pt")


@pytest.mark.parametrize(
    "how", ["truncated", "empty", "text", "flipped", "stack", "memo", "a weight"]
)
def test_damaged(tmp_path, how):
    file = tmp_path / "a.pt"
    checkpoint.save(file, {"weights": torch.full((1000,), 1.5)})
    content = file.read_bytes()
    weights = torch.full((1000,), 1.5).numpy().tobytes()
    assert weights in content
    damaged = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "text": b"not a checkpoint at all",
        "flipped": b"\0" * 64 + content[64:],
        "stack": b"\x80\x020.",  # a pickle that takes from an empty stack
        "a weight": content.replace(
            weights, weights[:-1] + b"@"
        ),  # one byte, and the file opens as before
        "memo": b"\x80\x02h\x05.",  # and one that asks for what it never kept
    }[how]
    file.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"a\.pt: damaged, or not a checkpoint\. Delete it"):
        checkpoint.load(file)


def test_foreign_content(tmp_path):
    torch.save({"model": torch.zeros(1)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="foreign.pt: not a checkpoint of this version"):
        checkpoint.load(tmp_path / "foreign.pt")


def test_code_in_a_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"format": checkpoint.FORMAT, "evil": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")]
)
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, error):
    file = tmp_path / "a.pt"
    checkpoint.save(file, {"epoch": 1})

    def full(content, handle):
        handle.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match="could not be written"):
        checkpoint.save(file, {"epoch": 2})
    monkeypatch.undo()
    assert checkpoint.load(file)["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_another_architecture_names_what_differs():
    small, large = nn.Linear(3, 2), nn.Linear(3, 4)
    with pytest.raises(
        CheckpointError,
        match=r"2 of 2 entries differ, first weight: \(4, 3\) in the model, \(2, 3\) in the file",
    ):
        checkpoint.load_weights(large, small.state_dict(), "a.pt")
    with pytest.raises(CheckpointError, match="absent in the model"):
        checkpoint.load_weights(nn.Identity(), small.state_dict())


def test_digest_sees_one_bit():
    torch.manual_seed(0)
    model = nn.BatchNorm2d(3)
    before = checkpoint.digest(model)
    assert before == checkpoint.digest(model)
    model.running_mean[0] += 1e-7
    assert checkpoint.digest(model) != before
