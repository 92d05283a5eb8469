"""Folders of autoencoders: with diffusers itself as the oracle, both ways, and every way to say a scale."""

import copy
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ancestral.codec import PIXELS
from ancestral.errors import InputError
from ancestral.hub.autoencoder import read_autoencoder, write_autoencoder
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.latents import KLCodec, LatentCodec, PlainCodec, VQCodec, latent_codec
from ancestral.networks.quantizer import vectors_of
from ancestral.settings import AutoencoderSettings, KLSettings, PlainSettings, VQSettings
from ancestral.tensors import from_pixels

SHAPE: dict[str, Any] = {"widths": (4, 8, 8), "channels": 3, "norm_groups": 2, "middle_attention": True}
KINDS: dict[str, AutoencoderSettings] = {
    "plain": PlainSettings(**SHAPE),
    "kl": KLSettings(**SHAPE),
    "vq": VQSettings(**SHAPE, codes=7),
}
CLASSES: dict[str, type[LatentCodec]] = {"plain": PlainCodec, "kl": KLCodec, "vq": VQCodec}
every_kind = pytest.mark.parametrize("kind", KINDS)
WEIGHTS = "diffusion_pytorch_model.safetensors"
CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore", FutureWarning)
    torch.manual_seed(0)


def diffusers_class(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers

        return getattr(diffusers, name)


def randomised(network: nn.Module) -> Any:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return network.eval()


def pixels(channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (2, channels, 16, 24), dtype=torch.uint8)


def codec_of(kind: str, channels: int = 3) -> LatentCodec:
    """With means and deviations that nothing can miss; a codebook has one deviation."""
    network = randomised(Autoencoder(KINDS[kind], channels))
    mean, std = torch.tensor([3.0, -1.0, 0.5]).double(), torch.tensor([0.2, 4.0, 1.0]).double()
    if network.quantize is not None:
        with torch.no_grad():
            network.quantize.take(vectors_of(network.encoded(from_pixels(pixels(channels))))[::5][:7])
        std = torch.full((3,), 0.3).double()
    return latent_codec(network, mean, std)


def edit(path: Path, **changes: Any) -> None:
    """Lay `changes` over a JSON file; `...` removes a key."""
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_autoencoder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@every_kind
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read(kind: str, channels: int, tmp_path: Path) -> None:
    written, images = codec_of(kind, channels), pixels(channels)
    write_autoencoder(tmp_path / "codec", written)
    read = read_autoencoder(tmp_path / "codec")
    assert type(read) is CLASSES[kind] and read.network.settings == written.network.settings
    assert not read.mean.any() and bool((read.std == 1).all()), "they are folded in"
    for one, other in zip(read.moments(images), written.moments(images), strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    x0 = written.encode(images)
    torch.testing.assert_close(read.images(x0), written.images(x0), **CLOSE)
    again = tmp_path / "again"
    write_autoencoder(again, read)
    assert (again / WEIGHTS).read_bytes() == (tmp_path / "codec" / WEIGHTS).read_bytes()


@every_kind
def test_codecs_of_one_folder_are_equal_and_others_are_not(kind: str, tmp_path: Path) -> None:
    """By what they hold. Trap: two that were read one after the other are two, and a weaker run is no guide."""
    write_autoencoder(tmp_path, codec_of(kind))
    one, same = (read_autoencoder(tmp_path) for _ in range(2))
    assert one == same and hash(one) == hash(same) and len({one, same}) == 1
    others = {"mean": replace(one, mean=one.mean + 1e-6), "std": replace(one, std=one.std * (1 + 1e-9))}
    others["weights"] = replace(one, network=copy.deepcopy(one.network))
    assert replace(one, network=copy.deepcopy(one.network)) == one, "a copy is the same"
    with torch.no_grad():
        others["weights"].network.decoder.conv_out.bias[0] += 1e-4  # type: ignore[index]
    groups = one.network.settings.model_copy(update={"norm_groups": 1})
    others["groups"] = replace(one, network=Autoencoder(groups, 3))
    others["groups"].network.load_state_dict(one.network.state_dict())
    others["kind"] = (PlainCodec if kind == "kl" else KLCodec)(one.network, one.mean, one.std)
    assert [name for name, other in others.items() if other == one] == []
    assert one != PIXELS


@every_kind
def test_diffusers_has_x0_of_the_same_scale_without_any_factor(kind: str, tmp_path: Path) -> None:
    """Trap: pipelines know scaling_factor, and many know no mean; folded in, all of them have both."""
    codec, images = codec_of(kind), pixels()
    write_autoencoder(tmp_path, codec)
    name = json.loads((tmp_path / "config.json").read_text())["_class_name"]
    assert name == ("VQModel" if kind == "vq" else "AutoencoderKL")
    theirs = diffusers_class(name).from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
    assert theirs.config.scaling_factor == 1
    mean, std = codec.moments(images)
    with torch.no_grad():
        if kind == "vq":
            torch.testing.assert_close(theirs.encode(from_pixels(images)).latents, mean, **CLOSE)
        else:
            posterior = theirs.encode(from_pixels(images)).latent_dist
            torch.testing.assert_close(posterior.mean, mean, **CLOSE)
            torch.testing.assert_close(posterior.std, std, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(theirs.decode(mean).sample, codec.images(mean), **CLOSE)
    if kind == "vq":
        assert len(codec.indices(mean).unique()) > 2  # type: ignore[attr-defined]


def written_by_diffusers(folder: Path, kind: str = "kl", **own: Any) -> Any:
    """An autoencoder that diffusers made and wrote."""
    settings = KINDS[kind]
    levels = len(settings.widths)
    theirs = diffusers_class("VQModel" if kind == "vq" else "AutoencoderKL")(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=list(settings.widths),
        latent_channels=3,
        norm_num_groups=2,
        **({"num_vq_embeddings": 7} if kind == "vq" else {}),
        **own,
    )
    randomised(theirs).save_pretrained(folder)
    return theirs


SCALES: dict[str, tuple[dict[str, Any], list[float], list[float]]] = {
    "stable diffusion": ({}, [0, 0, 0], [1 / 0.18215] * 3),
    "3": ({"scaling_factor": 1.5, "shift_factor": 0.06}, [0.06] * 3, [1 / 1.5] * 3),
    "xl": (
        {"scaling_factor": 0.5, "latents_mean": [1.0, 2.0, -3.0], "latents_std": [1.0, 2.0, 4.0]},
        [1, 2, -3],
        [2, 4, 8],
    ),
    "without 1x1 convolutions": ({"use_quant_conv": False, "use_post_quant_conv": False}, [0] * 3, [1 / 0.18215] * 3),
}
"""What a file says, and the mean and deviation of latents that it means."""


@pytest.mark.parametrize("name", SCALES)
def test_diffusers_folders_are_read_with_the_scale_that_they_say(name: str, tmp_path: Path) -> None:
    """Trap: 0.18215 is one network's number, and a shift, or means, are applied by some pipelines alone."""
    own, m, s = SCALES[name]
    theirs = written_by_diffusers(tmp_path, **own)
    codec, images = read_autoencoder(tmp_path), pixels()
    assert isinstance(codec, KLCodec) and codec.network.settings.name == "kl"
    mean, std = (torch.tensor(each).float()[:, None, None] for each in (m, s))
    with torch.no_grad():
        posterior = theirs.encode(from_pixels(images)).latent_dist
        torch.testing.assert_close(codec.encode(images), (posterior.mean - mean) / std, **CLOSE)
        torch.testing.assert_close(codec.moments(images)[1], posterior.std / std, **CLOSE)
        x0 = torch.randn(2, 3, 4, 6)
        torch.testing.assert_close(codec.images(x0), theirs.decode(x0 * std + mean).sample, **CLOSE)


def test_what_diffusers_said_is_folded_in_when_it_is_written_again(tmp_path: Path) -> None:
    written_by_diffusers(tmp_path / "theirs", **SCALES["xl"][0])
    codec, x0 = read_autoencoder(tmp_path / "theirs"), torch.randn(2, 3, 4, 6)
    write_autoencoder(tmp_path / "ours", codec)
    theirs = diffusers_class("AutoencoderKL").from_pretrained(tmp_path / "ours", low_cpu_mem_usage=False)
    with torch.no_grad():
        torch.testing.assert_close(theirs.decode(x0).sample, codec.images(x0), **CLOSE)


def test_a_codebook_of_diffusers_is_read(tmp_path: Path) -> None:
    theirs, images = written_by_diffusers(tmp_path, "vq", scaling_factor=0.5), pixels()
    codec = read_autoencoder(tmp_path)
    assert isinstance(codec, VQCodec)
    x = from_pixels(images)
    with torch.no_grad():
        torch.testing.assert_close(codec.encode(images), theirs.encode(x).latents * 0.5, **CLOSE)
        torch.testing.assert_close(codec.images(codec.encode(images)), theirs(x).sample, **CLOSE)
    quantize = codec.network.quantize
    assert quantize is not None
    quantize.update(codec.latents(codec.encode(images)), codec.indices(codec.encode(images)))
    assert bool(quantize.embedding.weight.isfinite().all()), "it can be trained on"


def test_a_decoder_that_overflows_half_precision_is_right(tmp_path: Path) -> None:
    """Trap: published decoders reach more than 65,504, the largest number of float16, and images are black. Whatever
    the file and the surroundings are in, ours computes in float32."""
    theirs, x0 = written_by_diffusers(tmp_path), torch.randn(1, 3, 4, 6)
    with torch.no_grad():
        theirs.decoder.conv_in.weight.fill_(0)
        theirs.decoder.conv_in.bias.copy_(torch.linspace(-6e4, 6e4, 8))
        theirs.decoder.mid_block.resnets[0].conv2.bias.copy_(torch.linspace(-6e4, 6e4, 8))
        theirs.half().save_pretrained(tmp_path)
        z = x0 / 0.18215
        assert not theirs.decode(z.half()).sample.isfinite().all(), "float16 cannot hold it"
        right = theirs.float().decode(z).sample
        with torch.autocast("cpu", torch.float16):
            found = read_autoencoder(tmp_path).images(x0)
    torch.testing.assert_close(found, right, atol=1e-4, rtol=1e-4)


def test_files_have_neither_sums_nor_counts_of_a_codebook(tmp_path: Path) -> None:
    write_autoencoder(tmp_path, codec_of("vq"))
    names = load_file(tmp_path / WEIGHTS).keys()
    assert {name for name in names if name.startswith("quantize")} == {"quantize.embedding.weight"}


def test_old_names_of_attention_are_read(tmp_path: Path) -> None:
    codec = codec_of("kl")
    write_autoencoder(tmp_path, codec)
    tensors = load_file(tmp_path / WEIGHTS)
    olds = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in tensors.items():
        for new, old in olds.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        renamed[name] = tensor
    assert renamed.keys() != tensors.keys()
    save_file(renamed, tmp_path / WEIGHTS)
    x0 = torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(read_autoencoder(tmp_path).images(x0), codec.images(x0), **CLOSE)


def test_what_is_written_is_settings_and_weights_alone(tmp_path: Path) -> None:
    codec = codec_of("kl")
    before = {name: tensor.clone() for name, tensor in codec.network.state_dict().items()}
    write_autoencoder(tmp_path, codec, sample_size=64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", WEIGHTS]
    assert json.loads((tmp_path / "config.json").read_text())["sample_size"] == 64
    after = codec.network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items()), "it was folded in a copy"


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("kl", {"_class_name": "AutoencoderTiny"}, "to be one of AutoencoderKL, VQModel"),
        ("kl", {"norm_eps": 1e-3}, "got norm_eps"),
        ("kl", {"out_channels": 4}, "in_channels and out_channels alike"),
        ("kl", {"up_block_types": ["UpDecoderBlock2D"]}, "block types as many as"),
        ("kl", {"down_block_types": ["AttnDownEncoderBlock2D"] * 3}, "down_block_types"),
        ("kl", {"scaling_factor": 0.0}, "scaling_factor"),
        ("kl", {"latents_mean": [1.0, 2.0]}, "latents_mean and latents_std"),
        ("kl", {"latents_mean": [0.5] * 3, "latents_std": [1.0] * 3, "shift_factor": 1.0}, "got both"),
        ("kl", {"block_out_channels": [6, 8, 8]}, "of shape"),
        ("kl", {"norm_num_groups": 3}, "divides"),
        ("kl", {"use_quant_conv": False}, "'quant_conv.bias' belongs to no layer"),
        ("vq", {"vq_embed_dim": 5}, "vq_embed_dim"),
        ("vq", {"norm_type": "spatial"}, "norm_type"),
        ("vq", {"num_vq_embeddings": 8}, "quantize.embedding.weight"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_one_line(
    kind: str, changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    write_autoencoder(tmp_path, codec_of(kind))
    edit(tmp_path / "config.json", **changes)
    assert expected in refusal(tmp_path)


def test_a_folder_without_weights_or_settings_is_refused(tmp_path: Path) -> None:
    assert "config.json" in refusal(tmp_path)
    write_autoencoder(tmp_path, codec_of("plain"))
    (tmp_path / WEIGHTS).unlink()
    assert "weights" in refusal(tmp_path)
