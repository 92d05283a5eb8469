"""What can go wrong before Inception features exist. The network itself needs weights that are not at hand here."""

import io
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from ancestral.errors import InputError
from ancestral.evaluation.inception import load_inception


def test_missing_weights_are_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights-inception-2015-12-05-6726825d\.pth"):
        load_inception(tmp_path / "none.pth")


def test_without_the_extra_the_message_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"pip install 'ancestral\[fid\]'"):
        load_inception(tmp_path / "weights.pth")


class Plants:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("form", ["plain", "zip"])
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path: Path, form: str) -> None:
    file, canary = tmp_path / "weights.pth", tmp_path / "canary"
    if form == "zip":
        torch.save({"fc.weight": Plants(canary)}, file)
    else:
        file.write_bytes(pickle.dumps({"fc.weight": Plants(canary)}))
    with pytest.raises(InputError, match="to hold named tensors only"):
        load_inception(file)
    assert not canary.exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    empty_zip = io.BytesIO()
    zipfile.ZipFile(empty_zip, "w").close()
    for content in (b"", b"<html>not found</html>", empty_zip.getvalue()):
        file.write_bytes(content)
        with pytest.raises(InputError, match="to hold named tensors only"):
            load_inception(file)
    torch.save([torch.zeros(1)], file)
    with pytest.raises(InputError, match="to hold named tensors only"):
        load_inception(file)
