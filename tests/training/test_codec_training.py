"""The task of an autoencoder: its gradients by hand, what a resume needs, and the faults that are known of it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from test_resume import assert_same_run
from torch import Tensor

from ancestral.compute import Choices
from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.errors import InputError
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.networks.latents import latent_moments
from ancestral.processes import SINGLE_PROCESS
from ancestral.settings import CodecConfig, DataSettings, merged, parse
from ancestral.tensors import from_pixels
from ancestral.training.checkpoint import load_checkpoint
from ancestral.training.codec import CodecTask, reconstructed
from ancestral.training.codec_losses import kl_nats, laplace_nats
from ancestral.training.logs import read_log
from ancestral.training.loop import train
from ancestral.training.run import CodecRunFolder, RunFolder
from ancestral.training.step import Trainer

CPU = torch.device("cpu")
WEIGHTS = "codec/diffusion_pytorch_model.safetensors"
TINY: dict[str, Any] = {
    "data": DataSettings(source="digits", validation=0.01),
    "codec": {"name": "kl", "widths": (8, 16), "channels": 2, "norm_groups": 4, "perceptual": 0.5},
    "training": {
        "steps": 6,
        "batch_size": 8,
        "warmup_images": 0,
        "log_every_steps": 2,
        "validate_every_steps": 4,
        "sample_every_steps": 6,
        "checkpoint_every_steps": 3,
        "ema_decay": 0.5,
    },
}
KINDS = {
    "plain": {"name": "plain", "perceptual": 0.0},
    "kl": {},
    "kl with a discriminator": {"adversarial": 0.5, "adversarial_start": 0.3},
    "vq": {"name": "vq", "codes": 16, "perceptual": 0.0},
}
AT_ONCE = ("kl with a discriminator", "vq")
"""Of these, those that have state of their own beside weights; the others in the soak."""


def tiny(codec: dict[str, Any] | None = None, **training: Any) -> CodecConfig:
    tree = {**TINY, "codec": {**TINY["codec"], **(codec or {})}, "training": {**TINY["training"], **training}}
    return parse(CodecConfig, tree, "the test")


@pytest.fixture(scope="module")
def parts() -> Parts:
    return load(tiny().data)


def task_of(config: CodecConfig, parts: Parts) -> CodecTask:
    return CodecTask(config, parts.train, CPU, Choices())


def quiet(text: str) -> None:
    pass


def ran(config: CodecConfig, parts: Parts, folder: Path, steps: int | None = None) -> None:
    """To the end, or closed after so many steps."""
    progress = train(task_of(config, parts), parts, CodecRunFolder(folder), quiet)
    if steps is None:
        assert len([*progress]) > 0
        return
    assert [next(progress).step for _ in range(steps)][-1] > 0
    progress.close()


def noisy(task: CodecTask) -> None:
    """A decoder that answers something: a new one answers 0, where filters have no gradient."""
    torch.manual_seed(0)
    torch.nn.init.normal_(task.autoencoder.decoder.conv_out.weight, std=0.1)


@pytest.mark.parametrize(
    "kind", [each if each in AT_ONCE else pytest.param(each, marks=pytest.mark.slow) for each in KINDS]
)
def test_a_codec_goes_on_bit_for_bit(kind: str, parts: Parts, tmp_path: Path) -> None:
    """Between two lines of the log. Trap: a codebook whose sums and counts are no part of a checkpoint."""
    config = tiny(KINDS[kind])
    ran(config, parts, tmp_path / "whole")
    ran(config, parts, tmp_path / "run", steps=3)
    ran(config, parts, tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole", WEIGHTS)
    tensors, _ = load_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert {"codec", "model", "ema", "optimizer"} == {*tensors}
    assert ("quantize.counts" in tensors["model"]) == (kind == "vq")
    assert any(name.startswith("discriminator.") for name in tensors["model"]) == ("discriminator" in kind)
    names = {*read_log(tmp_path / "run" / "log.jsonl")[0]}
    assert ("kl_bits_per_image" in names) == kind.startswith("kl") and "reconstruction_nats" in names
    assert (tmp_path / "run" / "samples" / "step-00000006.png").is_file()


@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
def test_the_loss_is_the_bound_in_nats_of_each_number(kl_weight: float, parts: Parts) -> None:
    """Trap: two reductions beside each other. With no perceptual term and a weight of 1 it is -ELBO / D, and its
    gradient that of -ELBO / D."""
    task = task_of(tiny({"perceptual": 0.0, "kl_weight": kl_weight}), parts)
    noisy(task)
    trainer = Trainer(task, parts.train)
    batch, random = trainer.loader.batch(0), task.randomness(0)
    losses, weights = task.losses(task.autoencoder, batch, random)
    x = from_pixels(batch.pixels)
    posterior = task.autoencoder.posterior(x)
    y = task.autoencoder.decoded(posterior.sample(random.eps))
    bound = (laplace_nats(x, y, torch.ones(1)) + kl_weight * kl_nats(posterior)) / 64
    torch.testing.assert_close(losses, bound)
    parameters = [*task.autoencoder.parameters()]
    found, wanted = (torch.autograd.grad(each.mean(), parameters) for each in (losses, bound))
    torch.testing.assert_close(found, wanted)
    assert weights.tolist() == [1.0] * 8 and losses.dtype == torch.float32


def test_the_loss_of_codes_has_the_mean_square_of_the_distance_to_them(parts: Parts) -> None:
    task = task_of(tiny({**KINDS["vq"], "commitment": 0.3}), parts)
    noisy(task)
    trainer = Trainer(task, parts.train)
    batch, random = trainer.loader.batch(0), task.randomness(0)
    losses, _ = task.losses(task.autoencoder, batch, random)
    x = from_pixels(batch.pixels)
    coded = task.autoencoder(x)
    assert coded.quantized is not None
    distance = (coded.encoded - coded.quantized.latents.detach()).square().flatten(1).mean(1)
    wanted = laplace_nats(x, coded.images, torch.ones(1)) / 64 + 0.3 * distance
    torch.testing.assert_close(losses, wanted)
    parameters = [*task.autoencoder.parameters()]
    torch.testing.assert_close(*(torch.autograd.grad(each.mean(), parameters) for each in (losses, wanted)))


def test_the_likelihood_has_the_scale_of_recent_errors(parts: Parts) -> None:
    """Trap: a scale of 1, or a parameter that no optimiser holds: nats are then those of nobody's errors."""
    task = task_of(tiny({"perceptual": 0.0}), parts)
    noisy(task)
    trainer = Trainer(task, parts.train)
    batch, random = trainer.loader.batch(0), task.randomness(0)
    x = from_pixels(batch.pixels)
    with torch.no_grad():
        errors = (x - task.autoencoder(x, random.eps).images).abs().mean(dim=(0, 2, 3))
    trainer.advance()
    torch.testing.assert_close(task.recent_errors.means.float(), errors)
    with torch.no_grad():
        losses, _ = task.losses(task.autoencoder, batch, random)
        coded = task.autoencoder(x, random.eps)
        bound = (laplace_nats(x, coded.images, errors) + kl_nats(coded.posterior)) / 64
    torch.testing.assert_close(losses, bound)


def test_in_bfloat16_weights_norms_and_the_last_layer_are_float32(parts: Parts) -> None:
    """Trap: weights of losses that overflow or round away in half precision, and images of half of the levels."""
    config = tiny({"adversarial": 0.5, "adversarial_start": 0.0})
    tasks = [CodecTask(config, parts.train, CPU, Choices(precision=each)) for each in ("float32", "bfloat16")]
    for task in tasks:
        noisy(task)
        trainer = Trainer(task, parts.train)
        trainer.advance()
        batch, random = trainer.loader.batch(1), task.randomness(1)
        losses, _ = task.losses(task.autoencoder, batch, random)
        assert losses.dtype == torch.float32
        networks = [each.network for each in task.modules] + [trainer.ema.network]
        assert {weight.dtype for network in networks for weight in network.parameters()} == {torch.float32}
        with task.compute.autocast(CPU):
            images = task.autoencoder(from_pixels(batch.pixels)).images
        assert not torch.equal(images, images.bfloat16().float()), "they have no more levels than bfloat16"
    one, other = (task.norms for task in tasks)
    assert not torch.equal(one.sums, other.sums), "it was computed in bfloat16"
    torch.testing.assert_close(other.means, one.means, rtol=0.05, atol=0)


def test_terms_are_heard_as_loud_as_their_weights_say(parts: Parts) -> None:
    """The gradient at the decoder's last weight is that of the reconstruction plus 0.5 and 0.25 of it in length, along
    the perceptual one and the discriminator's. Trap: a weight that is itself differentiated, or not in float32."""
    task = task_of(tiny({"perceptual": 0.5, "adversarial": 0.25, "adversarial_start": 0.1}, steps=1000), parts)
    noisy(task)
    last = task.autoencoder.decoder.conv_out.weight
    trainer = Trainer(task, parts.train)
    batch, random = trainer.loader.batch(0), task.randomness(0)

    def gradient(step: int) -> Tensor:
        task.before(step, 0.5)
        return torch.autograd.grad(task.losses(task.autoencoder, batch, random)[0].mean(), last)[0]

    alone = gradient(1)  # nothing has been weighed yet
    task.after(random, torch.zeros(8), torch.tensor(True), SINGLE_PROCESS)
    scale = task.norms
    task.recent_errors = replace(task.recent_errors, counts=torch.zeros(1, dtype=torch.float64))  # the same likelihood
    together = gradient(2)
    assert alone.norm() == pytest.approx(float(scale.means[0]), rel=1e-4)
    x, y = from_pixels(batch.pixels), task.autoencoder(from_pixels(batch.pixels), random.eps).images
    assert task.discriminator is not None
    perceptual, adversarial = task.perceive(x, y), -task.discriminator(y).flatten(1).mean(1)
    wanted = alone
    for weight, term in ((0.5, perceptual), (0.25, adversarial)):
        (along,) = torch.autograd.grad(term.mean(), last, retain_graph=True)
        wanted = wanted + weight * alone.norm() * along / (along.norm() + 1e-4)
    torch.testing.assert_close(together, wanted, rtol=1e-3, atol=1e-4)
    assert not task.norms.sums.requires_grad and task.norms.sums.dtype == torch.float64


def test_no_gradient_of_one_network_reaches_the_other(parts: Parts) -> None:
    """Trap: reconstructions that are not detached where the discriminator learns, and a discriminator that keeps the
    gradient of the step that listens to it."""
    task = task_of(tiny({"adversarial": 0.5, "adversarial_start": 0.0}), parts)
    trainer = Trainer(task, parts.train)
    noisy(task)
    assert task.discriminator is not None
    codec, critic = ([*network.parameters()] for network in (task.autoencoder, task.discriminator))
    task.before(0, 0.0)
    batch, random = trainer.loader.batch(0), trainer._randomness()
    for module, own, other in zip(trainer.modules, (codec, critic), (critic, codec), strict=True):
        trainer._gradient(module, batch, random)
        assert all(each.grad is not None for each in own)
        assert all(each.grad is None for each in other), "the other network has a gradient"
        trainer._clear()
    trainer.advance()
    assert all(each.grad is None and each.requires_grad for each in (*codec, *critic))
    task.discriminator_losses(task.discriminator, batch, random)[0].sum().backward()
    assert all(each.grad is None for each in codec), "also where nobody holds it fixed"


def test_a_discriminator_that_is_not_heard_does_not_learn(parts: Parts) -> None:
    """Trap: one that is heard from the first step on."""
    task = task_of(tiny({"adversarial": 0.5, "adversarial_start": 0.5}), parts)
    trainer = Trainer(task, parts.train)
    assert task.discriminator is not None
    before = task.discriminator.conv_in.weight.clone()
    heard = []
    while trainer.fraction < 1:
        trainer.advance()
        heard.append((task.is_heard, bool((task.discriminator.conv_in.weight != before).any())))
    assert heard == [(False, False)] * 3 + [(True, True)] * 3
    assert task.norms.counts[2] > 0


def test_a_step_that_is_not_taken_moves_neither_codes_nor_means(parts: Parts) -> None:
    task = task_of(tiny(KINDS["vq"]), parts)
    trainer = Trainer(task, parts.train)
    trainer.advance()
    assert task.autoencoder.quantize is not None
    codes = task.autoencoder.quantize.embedding.weight.clone()
    sums, window = task.recent_errors.sums.clone(), task.window.clone()

    def spoilt(_: object, __: object, found: Any) -> Any:
        return found._replace(images=found.images * math.nan)

    handle = task.autoencoder.register_forward_hook(spoilt)
    trainer.advance()
    handle.remove()
    assert int(trainer.non_finite.skipped) == 1
    now = task.autoencoder.quantize.embedding.weight
    assert torch.equal(codes, now) and torch.equal(sums, task.recent_errors.sums) and torch.equal(window, task.window)
    trainer.advance()
    assert not torch.equal(codes, task.autoencoder.quantize.embedding.weight)


def test_codes_start_where_images_are(parts: Parts) -> None:
    """Trap: codes around 0 that all images are far from, of which one is used. Those of the first batch are in use."""
    task = task_of(tiny(KINDS["vq"]), parts)
    torch.nn.init.constant_(task.autoencoder.quant_conv.bias, 5.0)
    trainer = Trainer(task, parts.train)
    trainer.advance()
    assert task.autoencoder.quantize is not None
    pixels = torch.tensor(parts.test.pixels(slice(0, 64))).permute(0, 3, 1, 2)
    indices = task.autoencoder.quantize.indices(task.autoencoder.encoded(from_pixels(pixels)))
    assert len(indices.unique()) >= 8


def test_a_code_that_nothing_is_near_to_is_revived_until_late(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ancestral.training.codec.REVIVAL_STEPS", 2)
    task = task_of(tiny(KINDS["vq"], steps=10), parts)
    trainer, found = Trainer(task, parts.train), []
    trainer.advance()
    assert task.autoencoder.quantize is not None
    count, total, code = (each[0] for each in task.autoencoder.quantize.buffers())
    while trainer.fraction < 1:
        code.fill_(1000), total.fill_(10), count.fill_(0.01)
        trainer.advance()
        found.append(float(code.abs().max()) < 100)
    assert found == [True, False] * 4 + [False], "at every second step, but in the last fifth of the budget"


def test_held_out_images_move_nothing_and_are_given_a_bound(parts: Parts) -> None:
    task = task_of(tiny(KINDS["vq"]), parts)
    trainer = Trainer(task, parts.train)
    trainer.advance()
    batch, random = trainer.loader.batch(1), task.randomness(1)
    with torch.inference_mode():
        losses, _ = task.losses(trainer.ema.network, batch, random)
    assert task.coded == [] and not task.sums.any() and losses.shape == (8,)


def test_parts_of_a_batch_are_the_batch(parts: Parts) -> None:
    """Trap: a scale and weights that depend on how a batch is cut."""
    whole = task_of(tiny({"adversarial": 0.5, "adversarial_start": 0.0}), parts)
    cut = CodecTask(whole.config, parts.train, CPU, Choices(micro_batch=3))
    for task in (whole, cut):
        trainer = Trainer(task, parts.train)
        for _ in range(4):
            trainer.advance()
    torch.testing.assert_close(whole.norms.sums, cut.norms.sums, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(whole.recent_errors.sums, cut.recent_errors.sums, rtol=1e-4, atol=1e-7)
    for a, b in zip(whole.autoencoder.parameters(), cut.autoencoder.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_is_the_average_with_its_statistics(kind: str, parts: Parts, tmp_path: Path) -> None:
    """Latents have mean 0 and deviation 1 over the images trained on: of vq one deviation for all channels."""
    config = tiny(KINDS[kind], steps=3)
    ran(config, parts, tmp_path)
    codec = read_autoencoder(tmp_path / "codec")
    pixels = torch.tensor(parts.train.pixels()).permute(0, 3, 1, 2)
    mean, std = (each.double() for each in codec.moments(pixels))
    variance = mean.var(dim=(0, 2, 3), correction=0) + std.square().mean(dim=(0, 2, 3))
    torch.testing.assert_close(mean.mean(dim=(0, 2, 3)), torch.zeros(2).double(), rtol=0, atol=1e-4)
    found = variance.mean().expand(2) if kind == "vq" else variance
    torch.testing.assert_close(found, torch.ones(2).double(), rtol=1e-3, atol=0)
    task = task_of(config, parts)
    trainer = Trainer(task, parts.train)
    trainer.restore(*load_checkpoint(tmp_path / "checkpoints" / "step-00000003"))
    made = reconstructed(trainer.ema.network, pixels[:4])  # type: ignore[arg-type]
    torch.testing.assert_close(codec.images(codec.encode(pixels[:4])), made, rtol=1e-3, atol=1e-3)
    mu, _ = latent_moments(trainer.ema.network, pixels[:4])  # type: ignore[arg-type]
    assert mu.shape == (4, 2, 4, 4)


def test_a_codec_that_is_not_the_checkpoints_is_written_anew(parts: Parts, tmp_path: Path) -> None:
    config, said = tiny(), list[str]()
    ran(config, parts, tmp_path)
    file = tmp_path / WEIGHTS
    before = load_tensors(file.read_bytes())  # not mapped: the file is cut off
    file.write_bytes(b"cut off")
    longer = tiny(steps=7)
    assert len([*train(task_of(longer, parts), parts, CodecRunFolder(tmp_path), said.append)]) == 1
    assert any("was not that of the checkpoint" in line for line in said), said
    after = load_tensors(file.read_bytes())
    assert after.keys() == before.keys() and not torch.equal(
        after["decoder.conv_in.weight"], before["decoder.conv_in.weight"]
    )
    said.clear()
    assert len([*train(task_of(longer, parts), parts, CodecRunFolder(tmp_path), said.append)]) == 0
    assert not any("was not that of the checkpoint" in line for line in said), said
    for name in ("encoder.conv_in.bias", "decoder.conv_in.bias"):
        file.write_bytes(save_tensors({**after, name: after[name] + 1}))
        assert len([*train(task_of(longer, parts), parts, CodecRunFolder(tmp_path), said.append)]) == 0
        assert torch.equal(load_tensors(file.read_bytes())[name], after[name]) and said.pop()


def test_any_size_and_transparency(parts: Parts) -> None:
    """Images whose sides no factor divides are continued by reflection, and what was continued counts for nothing."""
    pixels = torch.randint(0, 256, (16, 9, 11, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    odd = replace(parts.train.sliced(0, 16), images=pixels.numpy(), labels=None, class_names=())
    config = tiny({"widths": (8, 8, 8), "adversarial": 0.5, "adversarial_start": 0.0})
    task = CodecTask(config, odd, CPU, Choices())
    assert task.spec.shape == (2, 3, 3) and task.autoencoder.image_channels == 4
    trainer = Trainer(task, odd)
    for _ in range(2):
        trainer.advance()
    assert int(trainer.non_finite.skipped) == 0
    assert reconstructed(task.autoencoder, trainer.loader.batch(0).pixels).shape == (8, 4, 9, 11)
    assert task.grid(trainer.ema.network, odd).shape == (40, 4, 9, 11)


def test_settings_of_noise_are_refused() -> None:
    base = tiny()
    for changes, name in (
        ({"training": {"timesteps": "stratified"}}, "training.timesteps"),
        ({"training": {"label_dropout": 0.5}}, "training.label_dropout"),
        ({"training": {"ema_snapshots": 16}}, "training.ema_snapshots"),
        ({"compute": {"engine": "torch"}}, "compute.engine"),
    ):
        with pytest.raises(InputError, match=name):
            merged(base, changes, "the test")


def test_a_run_of_another_kind_is_refused(parts: Parts, tmp_path: Path) -> None:
    ran(tiny(), parts, tmp_path, steps=1)
    with pytest.raises(InputError, match="got a codec run"):
        RunFolder(tmp_path).read_config()
    other = tiny({"channels": 3})
    with pytest.raises(InputError, match=r"codec\.channels = 2"):
        next(train(task_of(other, parts), parts, CodecRunFolder(tmp_path), quiet))
