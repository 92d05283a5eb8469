"""Networks of one's own: trained, resumed, saved, loaded as the package's is, and never brought by a folder."""

import json
from pathlib import Path

import pytest
import torch
from pipelines import TINY
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ancestral.data.datasets import load
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.settings import Config, DataSettings, ImageSpec, SamplingSettings, TrainingSettings, merged
from ancestral.training.checkpoint import apart
from ancestral.training.loop import train
from ancestral.training.run import RunFolder

CONFIG = Config(
    data=DataSettings(source="digits"),
    training=TrainingSettings(steps=4, batch_size=8, log_every_steps=2, warmup_images=0),
    sampling=SamplingSettings(steps=2),
)
SPEC = ImageSpec(channels=1, height=8, width=8, class_names=tuple("0123456789"))


class Own(nn.Module):
    """Has what the package's network has not: batch norm, a weight with two names, a weight that is not trained."""

    def __init__(self, classes: int = 10, width: int = 4) -> None:
        super().__init__()
        self.into, self.norm = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.embedding, self.out = nn.Embedding(classes + 1, width), nn.Conv2d(width, 1, 3, padding=1)
        self.again = self.out
        self.frequencies = nn.Parameter(torch.randn(width), requires_grad=False)

    def forward(self, image: Tensor, when: Tensor, what: Tensor) -> Tensor:
        told = torch.sin(when[:, None] * self.frequencies) + self.embedding(what)
        return self.again(torch.relu(self.norm(self.into(image)) + told[:, :, None, None]))


def own(seed: int = 0) -> Own:
    torch.manual_seed(seed)
    return Own()


def trained(folder: Path, stops: int | None = None, seed: int = 0) -> Path:
    """A run of four steps; `stops`: interrupted after that step, and taken up by a network of other weights."""
    parts = load(CONFIG.data)
    for last, start in ((stops, seed), (None, 9)) if stops else ((None, seed),):
        pipeline = Pipeline.fresh(CONFIG, parts.train.spec, "cpu", network=own(start))
        steps = train(pipeline, parts, str(folder), say=lambda text: None)
        for progress in steps:
            if progress.step == last:
                break
        steps.close()
    return folder


def test_it_trains_resumes_and_saves_as_the_packages_does(tmp_path: Path) -> None:
    """Interrupted equals uninterrupted, bit for bit: weights, what batch norm has seen, and what is drawn."""
    whole, resumed = trained(tmp_path / "whole"), trained(tmp_path / "resumed", stops=2)
    pipelines = [Pipeline.load(folder, "cpu", network=own(5)) for folder in (whole, resumed)]
    assert pipelines[0].weights_hash() == pipelines[1].weights_hash()
    drawn = [each.generate(range(6), torch.arange(6)) for each in pipelines]
    assert torch.equal(drawn[0], drawn[1])
    network = pipelines[0].network
    assert isinstance(network, Own)
    assert int(network.norm.num_batches_tracked) == 4, "the average has the newest statistics, not those of the start"
    assert torch.equal(network.frequencies, own().frequencies), "what is not to be trained is not trained"
    assert not torch.equal(network.out.weight, own().out.weight) and network.again is network.out


def test_a_folder_of_it_says_what_to_give_and_runs_nothing(tmp_path: Path) -> None:
    """The class is a note: a folder that names a module never has it imported."""
    Pipeline.fresh(CONFIG, SPEC, "cpu", network=own()).save(str(tmp_path / "saved"))
    note = json.loads((tmp_path / "saved/network.json").read_text())
    assert note == {"class": f"{Own.__module__}.Own"}
    (tmp_path / "saved/network.json").write_text('{"class": "antigravity.Fly"}')
    with pytest.raises(InputError, match=r"a antigravity.Fly.*give it: Pipeline.load\(folder, network=Fly\(...\)\)"):
        Pipeline.load(tmp_path / "saved")
    assert Pipeline.load(tmp_path / "saved", network=own(1)).weights_hash()


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (lambda: Own(classes=9), r"embedding.weight .* \(10, 4\) float32.* got \(11, 4\)"),
        (lambda: nn.Sequential(Own()), r"but 0\.again\.bias is in the .*Sequential given alone"),
    ],
)
def test_another_network_than_the_saved_one_is_refused(tmp_path: Path, network: object, told: str) -> None:
    Pipeline.fresh(CONFIG, SPEC, "cpu", network=own()).save(tmp_path / "saved")
    with pytest.raises(InputError, match=told):
        Pipeline.load(tmp_path / "saved", network=network())  # type: ignore[operator]


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    Pipeline.fresh(CONFIG, SPEC, "cpu", network=own()).save(tmp_path / "saved")
    weights = tmp_path / "saved" / "network.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9])
    with pytest.raises(InputError, match="copy it again"):
        Pipeline.load(tmp_path / "saved", network=own())
    weights.write_bytes(whole)
    tensors = load_file(weights)
    tensors["into.bias"][0] = float("nan")
    save_file(tensors, weights)
    with pytest.raises(InputError, match=r"into\.bias .* finite"):
        Pipeline.load(tmp_path / "saved", network=own())
    weights.unlink()
    with pytest.raises(InputError, match="cannot read"):
        Pipeline.load(tmp_path / "saved", network=own())


def test_a_module_that_does_not_answer_is_refused_before_anything_is_begun() -> None:
    for network, told in (
        (nn.Conv2d(1, 1, 3), r"called with \(x, time, labels\)"),
        (nn.Bilinear(8, 8, 8), "got .*Bilinear"),
    ):
        with pytest.raises(InputError, match=told) as fault:
            Pipeline.fresh(CONFIG, SPEC, network=network)
        assert "\n" not in str(fault.value)

    class Narrow(Own):
        def forward(self, image: Tensor, when: Tensor, what: Tensor) -> Tensor:
            return super().forward(image, when, what)[..., 1:]

    with pytest.raises(InputError, match=r"answer \(2, 1, 8, 8\) to \(2, 1, 8, 8\), got \(2, 1, 8, 7\)"):
        Pipeline.fresh(CONFIG, SPEC, network=Narrow())


def test_the_packages_own_network_is_not_brought_along(tmp_path: Path) -> None:
    made = Pipeline.fresh(CONFIG.model_copy(update={"network": TINY}), SPEC, "cpu")
    made.save(tmp_path / "unet")
    with pytest.raises(InputError, match="expected no network"):
        Pipeline.load(tmp_path / "unet", network=own())
    with pytest.raises(InputError, match="expected cache 1"):
        Pipeline.fresh(CONFIG, SPEC, network=own())(1, labels=3, cache=2)


def test_a_weight_with_two_names_is_written_under_both() -> None:
    weight = torch.arange(6.0)
    written = apart({"a": weight, "b": weight, "c": weight[2:4], "d": torch.ones(1)})
    assert [*map(torch.Tensor.tolist, written.values())] == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [2, 3], [1]]
    assert len({tensor.untyped_storage().data_ptr() for tensor in written.values()}) == 4


def test_it_is_told_labels_alone_so_augmentation_is_refused(tmp_path: Path) -> None:
    config = merged(CONFIG, {"training": {"augment": 0.1}}, "the test")
    pipeline, parts = Pipeline.fresh(config, SPEC, "cpu", network=own()), load(CONFIG.data)
    with pytest.raises(InputError, match=r"training\.augment 0 with a network of one's own, .* got 0\.1; leave it out"):
        next(train(pipeline, parts, tmp_path / "run"))


def test_a_run_folder_may_be_a_text() -> None:
    assert RunFolder("runs/mine") == RunFolder(Path("runs/mine"))
