"""A pipeline: a process, a network and what its images are. It is what training leaves and what sampling needs.

At rest it is a diffusers folder that also holds `ancestral.json`: the settings and the names of the classes.
"""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ancestral import hub
from ancestral.building import VARIANCES, build_diffusion, build_grid, build_sampler, build_schedule, outputs
from ancestral.calling import Classes, Pictures, as_output, labels_of, output_of, sampling_of, seeds_of, settings_of
from ancestral.classifying import NoisyClassifier
from ancestral.compute import Choices, on_device, resolve
from ancestral.config import (
    ComputeSettings,
    Config,
    ImageSpec,
    NetworkSettings,
    ReverseVariance,
    SamplingSettings,
    merged,
    parse,
)
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.variances import Analytic
from ancestral.errors import CannotWrite, InputError
from ancestral.files import as_path, carry_over, put_in_place, read_json, write_whole
from ancestral.folders import OWN_FILE, check_takes_pipeline, is_pipeline_part
from ancestral.generate import NOTHING, Advance, FinishedPart, Keep, collected, finished, generating
from ancestral.guiding import Networks, guided
from ancestral.hub.scheduler import VARIANCE_TYPES
from ancestral.migrations import settings as migrated
from ancestral.names import meant
from ancestral.networks import own
from ancestral.networks.unet import UNet
from ancestral.networks.weights import first_not_finite, tensors_hash, weights_hash
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.rng import ImageNoise, generator
from ancestral.sampling.caching import Cached
from ancestral.sampling.denoiser import Denoiser, Finite, NetworkDenoiser, clipped
from ancestral.sampling.loop import Chain, Step
from ancestral.sampling.samplers import Sampler
from ancestral.tensors import Data, Labels, Pixels, Timesteps, is_finite
from ancestral.text import as_utf8, normal_form

ROUNDING = 1e-9
"""Of betas that two machines compute by one formula."""
VAST = 1e4
"""No image on its way from noise holds a number so large."""
VARIANCE_FILE = "variance.json"
"""The analytic variance and the hash of the weights it was measured with."""


class Pipeline:
    """Settings, the shape of an image, the process and the network, on one device.

    Attributes:
        config: the settings; `config.sampling` is how images are generated unless asked otherwise.
        spec: shape of an image and names of the classes.
        compute: how this machine is used; `use` changes it.
        analytic: the best variance of its reverse steps, where it was measured for these weights.
        weaker: another pipeline for the same images and schedule, to be guided by; nothing of it is saved.
        classify: a classifier of noisy images, likewise; it lends its classes to a network that knows none.
        processes: those that share the work of `generate`, each with a pipeline of the same weights.
    """

    analytic: Analytic | None = None
    weaker: "Pipeline | None" = None
    processes: Processes = SINGLE_PROCESS
    classify: NoisyClassifier | None = None

    def __init__(
        self, config: Config, spec: ImageSpec, network: nn.Module, device: torch.device | str | None = None
    ) -> None:
        self.config, self.spec = config, spec
        self.device = on_device(device)
        self.diffusion = build_diffusion(config.diffusion)
        self.network = network.to(self.device)
        if self.is_own:
            answers = outputs(config.diffusion, spec)
            own.check_answer(self.network, spec.shape, answers, self.num_classes, self.device)
        self.use(resolve(config.compute, self.network_settings, spec, self.device))

    @classmethod
    def fresh(
        cls,
        config: Config,
        spec: ImageSpec,
        device: torch.device | str | None = None,
        network: nn.Module | None = None,
    ) -> "Pipeline":
        """An untrained pipeline, its weights drawn from the seed of `config`.

        Args:
            network: one of one's own instead, with the weights that it has: a module of (x, time, labels), see
                docs/networks.md.

        Raises:
            InputError: no such device, or a network that does not answer as it should.
        """
        if network is not None:
            return cls(config, spec, network, device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(config.seed, "weights").initial_seed())
            network = _network(config, spec)
        return cls(config, spec, network, device)

    def use(self, choices: Choices) -> None:
        """Computes so from here on. The number of threads is the process's."""
        self.compute = choices
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if choices.threads is not None:
            torch.set_num_threads(choices.threads)

    @property
    def num_classes(self) -> int:
        """Real classes that the network knows; 0 where it knows none."""
        return len(self.spec.class_names)

    @property
    def knows_no_class(self) -> bool:
        """Whether the network can be asked for no class: it has none, or learned what the label `num_classes` means."""
        learned = self.spec.null_class != "none" and self.config.training.label_dropout > 0
        return learned or not self.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """What may be asked for: the network's classes, else those that a classifier lends it, else none."""
        return self.spec.class_names or (() if self.classify is None else self.classify.class_names)

    @property
    def is_own(self) -> bool:
        """Whether the network is one of the user's own, of which `config.network` says nothing."""
        return not isinstance(self.network, UNet)

    @property
    def network_settings(self) -> NetworkSettings | None:
        """What describes the network; None where it is one of the user's own."""
        return None if self.is_own else self.config.network

    def with_network(self, network: nn.Module) -> "Pipeline":
        """The same pipeline around another network of the same shape; what guides it and what was measured is left."""
        other = copy.copy(self)
        other.network = network.to(self.device)
        other.analytic = other.weaker = other.classify = None
        other.processes = SINGLE_PROCESS
        other.use(self.compute)
        return other

    def to(self, device: torch.device | str) -> "Pipeline":
        """This pipeline, from now on on another device.

        Raises:
            InputError: no such device.
        """
        self.device = on_device(device)
        self.network.to(self.device)
        self.use(resolve(self.config.compute, self.network_settings, self.spec, self.device))
        return self

    def __repr__(self) -> str:
        channels, height, width = self.spec.shape
        kind = {1: "grey", 3: "RGB"}.get(channels, f"of {channels} channels")
        classes = f"{len(self.class_names)} classes" if self.class_names else "no classes"
        weights, how = sum(parameter.numel() for parameter in self.network.parameters()), self.config.sampling
        generated = f"{how.sampler} by {how.steps} steps"
        return f"Pipeline({height}x{width} {kind}, {classes}, {weights:,} weights on {self.device}, {generated})"

    def __call__(
        self,
        num_images: int | None = None,
        labels: Classes = None,
        *,
        seed: int = 0,
        seeds: Iterable[object] | None = None,
        output: str = "pil",
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        **settings: Any,
    ) -> Pictures | Pixels | np.ndarray:
        """Generated images. `pipeline(4, labels=["cat", 3], steps=20, guidance=2)`.

        Args:
            num_images: None: as many as seeds, or as labels in a list, or one.
            labels: the class of all, or of each in turn: names, indices, or None for no class; a list, tensor or array
                of these.
            seed: of the first image; the next one's is 1 more.
            seeds: one for each image, in place of `seed`.
            output: "pil": a list of Pillow images, which a notebook shows as a grid; "tensor": (B, C, H, W) uint8, as
                `generate` gives it; "array": (B, H, W, C) uint8 of numpy.
            on_progress: as in `generate`.
            settings: any setting of sampling, over those of `config.sampling`: sampler, steps, eta, guidance, ...

        Raises:
            InputError: an unknown class, setting or output, or what does not fit this pipeline.
        """
        how, wanted = settings_of(self.config.sampling, settings), output_of(output)
        of = seeds_of(num_images, labels, seed, seeds)
        classes = self.labels(labels, len(of))
        if classes is None and settings.get("guidance", 1) not in (0, 1):
            raise InputError(f"expected labels with guidance {settings['guidance']}, got none: nothing is followed")
        return as_output(self.generate(of, classes, how, on_progress=on_progress), wanted)

    def labels(self, given: Classes, count: int) -> Labels | None:
        """(count,) the class of each image, however it is given; None where no class is asked for.

        Raises:
            InputError: as in a call.
        """
        return labels_of(given, count, self.class_index, self.num_classes)

    def denoiser(self, labels: Labels | None, settings: SamplingSettings) -> Denoiser:
        """The network with its labels bound, guided and clipped as `settings` say; with a cache, for one chain only.

        Args:
            labels: (B,) in 0..num_classes, where num_classes means no class, or None for no class at all, where the
                network knows what that is. Guided by a classifier: of its classes.

        Raises:
            InputError: labels or guidance that this pipeline was not trained for.
        """
        self._check(labels, settings)
        negative_label = self.num_classes if settings.negative is None else self.class_index(settings.negative)
        networks = Networks(
            bind=partial(self._bound, settings.cache),
            conditional=self.num_classes > 0,
            negative_label=negative_label,
            schedule=self.diffusion.schedule,
            weaker=None if self.weaker is None else partial(self.weaker._bound, settings.cache),
            classify=self.classify,
        )
        denoise = guided(networks, None if labels is None else labels.to(self.device), settings)
        schedule = self.diffusion.schedule
        return clipped(Finite(denoise, schedule, self._cause), schedule, settings.clip)

    def chain(self, seeds: Iterable[object], labels: Classes = None, settings: SamplingSettings | None = None) -> Chain:
        """What leads from noise to one image for each seed, all in one batch.

        Args:
            seeds: one per image. The same seed gives the same image in any batch.
            labels: the class of each image, as in a call; None: no class.
            settings: None: those of `config.sampling`.

        Raises:
            InputError: labels, guidance or steps that do not fit this pipeline.
        """
        settings, seeds = sampling_of(settings, self.config.sampling), seeds_of(None, None, 0, seeds)
        denoise = self.denoiser(self.labels(labels, len(seeds)), settings)
        noise = ImageNoise(seeds, self.spec.shape, self.device)
        x_T = noise().contiguous(memory_format=torch.channels_last)
        return Chain(denoise, self.sampler(settings), x_T, self.timesteps(settings), noise)

    def steps(
        self, seeds: Iterable[object], labels: Classes = None, settings: SamplingSettings | None = None
    ) -> Iterator[Step]:
        """The steps of that chain; the last one's `x_s` holds the images, in [-1, 1].

        Args:
            seeds, labels, settings: as in `chain`.

        Raises:
            InputError: labels, guidance or steps that do not fit this pipeline.
            NonFinite: at the first step that leads to NaN or infinity.
        """
        return self.chain(seeds, labels, settings).steps()

    def generate(
        self,
        seeds: Iterable[object],
        labels: Classes = None,
        settings: SamplingSettings | None = None,
        chunk: int | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Pixels:
        """Finished images, (B, C, H, W) uint8 on the CPU, `chunk` at a time. Arguments as in `chain`.

        Several `processes` deal the chunks among them, and each gets all images.

        Args:
            chunk: None: as many as this machine is to generate at once, `compute.chunk`.
            on_progress: called after each step with how many of this process's steps are done, and of how many.
        """
        events = self.generating(seeds, labels, settings, chunk=chunk)
        return collected(finished(events, on_progress)).images

    def generating(
        self,
        seeds: Iterable[object],
        labels: Classes,
        settings: SamplingSettings | None,
        keep: Keep = NOTHING,
        chunk: int | None = None,
    ) -> Iterator[Advance | FinishedPart]:
        """The same, each part as soon as it is there, with what is kept of the way. Arguments as in `generate`."""
        settings, of = sampling_of(settings, self.config.sampling), seeds_of(None, None, 0, seeds)
        classes, parts = self.labels(labels, len(of)), self.chunks(len(of), chunk)

        def steps_of(part: slice) -> Iterator[Step]:
            return self.steps(of[part], None if classes is None else classes[part], settings)

        return generating(steps_of, parts, settings.steps, keep, processes=self.processes)

    def chunks(self, count: int, chunk: int | None = None) -> list[slice]:
        """`count` images in stretches of `chunk`; None: of `compute.chunk`."""
        size = self.compute.chunk if chunk is None else chunk
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    def with_num_timesteps(self, num_timesteps: int) -> "Pipeline":
        """The same network, process and ends with another T.

        Raises:
            InputError: a network that is told an index of this T, or a schedule that is a list of betas.
        """
        if self.config.diffusion.time != "log-snr" or self.config.diffusion.schedule.name == "betas":
            raise InputError(
                f"expected T = {self.diffusion.num_timesteps}, got {num_timesteps}: only a network that is told the "
                "log-SNR (diffusion.time log-snr) knows other timesteps than its own"
            )
        changes = {"diffusion": {"schedule": {"num_timesteps": num_timesteps}}}
        config = merged(self.config, changes, f"T = {num_timesteps}")
        other = Pipeline(config, self.spec, self.network, self.device)
        other.use(self.compute)
        return other

    def with_variance(self, name: ReverseVariance | None) -> GaussianDiffusion:
        """The process with another variance of its reverse steps; None: with its own.

        Raises:
            InputError: the analytic one, which has not been measured.
        """
        if name is None:
            return self.diffusion
        chosen = self.analytic if name == "analytic" else VARIANCES[name]
        if chosen is None:
            raise InputError(
                "expected the analytic variance to have been measured for these weights; run `ancestral variance` first"
            )
        return replace(self.diffusion, variance=chosen)

    def sampler(self, settings: SamplingSettings) -> Sampler:
        """The sampler of `settings`, with the variance they name.

        Raises:
            InputError: a variance that has not been measured, or a cache that the sampler cannot have.
        """
        sampler = build_sampler(settings, self.with_variance(settings.variance))
        if settings.cache > 1 and sampler.calls > 1:
            raise InputError(
                f"expected cache 1 with the sampler {settings.sampler}, got {settings.cache}: within a step it looks "
                "ahead and back, and what is kept belongs to steps in a row"
            )
        return sampler

    def timesteps(self, settings: SamplingSettings) -> Timesteps:
        """The falling timesteps of `settings`, (steps + 1,)."""
        return build_grid(settings, self.sampler(settings), self.diffusion.schedule)

    def class_index(self, name: str) -> int:
        """The label of a class, by name or number; after = by name alone. Names count in any form of Unicode.

        Raises:
            InputError: no such class.
        """
        named = name.removeprefix("=")
        for form in (name, named):
            if (label := _place(form, self.class_names)) is not None:
                return label
        if named == name and name.isdecimal() and int(name) < len(self.class_names):
            return int(name)
        if not self.class_names:
            raise InputError(f"expected no class, got {name!r}: this pipeline was trained without labels")
        raise InputError(f"expected a class, got {name!r}; {meant(name, self.class_names)}")

    def weights_hash(self) -> str:
        """Names the weights that generated an image, by 16 hexadecimal digits."""
        return weights_hash(self.network)

    def save(self, folder: Path | str) -> None:
        """Writes the folder whole: beside the old one first, then in its place, so that a reader always finds one of
        them. It says nothing of this machine. A pipeline that was saved there before is replaced, and what else lies
        beside it is kept.

        Of a network of one's own it holds the weights and the name of its class.

        Raises:
            InputError: something else than a pipeline of this package's is there.
            CannotWrite: disk full, or folder gone or read-only.
        """
        folder = Path(os.path.abspath(as_path(folder)))  # noqa: PTH100 (dots are taken away, a link is not followed)
        check_takes_pipeline(folder)
        building = folder.with_name(f".{folder.name}.new")
        try:
            carry_over(building, folder, is_pipeline_part)  # of a save that was killed
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(parents=True)
            if self.is_own:
                own.write_own(building, self.network)
            else:
                hub.write_diffusers(building, self._as_diffusers())
            self.save_settings(building)
            if self.analytic is not None:
                self.save_variance(building)
            put_in_place(building, folder, is_pipeline_part)
        except (OSError, CannotWrite) as fault:
            shutil.rmtree(building, ignore_errors=True)
            why = fault.strerror if isinstance(fault, OSError) else fault
            raise CannotWrite(f"cannot write the pipeline folder {folder}: {why}") from None

    def save_settings(self, folder: Path) -> None:
        """Writes the settings and the names of the classes into the pipeline folder."""
        config = self.config.model_copy(update={"compute": ComputeSettings()})
        own = {"config": config.model_dump(mode="json"), "images": self.spec.model_dump(mode="json")}
        write_whole(folder / OWN_FILE, json.dumps(own, indent=2) + "\n")

    def save_variance(self, folder: Path) -> None:
        """Writes the analytic variance into the pipeline folder."""
        assert self.analytic is not None
        about = {"weights": self.weights_hash(), "images": self.analytic.num_images}
        content = {**about, "ratio": self.analytic.ratio.tolist()}
        write_whole(folder / VARIANCE_FILE, json.dumps(content) + "\n")

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: torch.device | str | None = None,
        compute: ComputeSettings | None = None,
        null_class: int | None = None,
        network: nn.Module | None = None,
    ) -> "Pipeline":
        """The pipeline in a folder that `save` or diffusers wrote, or in a run's `pipeline/`. Needs no settings.

        Args:
            compute: how this machine is used, of which the folder says nothing. None: the defaults.
            null_class: of a folder of diffusers with classes, the index that was trained to stand for no class, of
                which the folder says nothing. None: there is no such class, and guidance is refused.
            network: where the folder holds the weights of a network of one's own: such a network, which gets them.

        Raises:
            InputError: no pipeline there, or a damaged one, a null class that it does not have, or a network that is
                missing, or that the folder is not of.
            NonFinite: its weights are no numbers.
        """
        folder = _pipeline_folder(as_path(folder))
        if own.is_own(folder):
            return cls._load_own(folder, device, compute, network)
        if network is not None:
            raise InputError(f"expected no network for {folder}, which says itself what its network is; leave it out")
        contents = hub.read_diffusers(folder)
        if not (folder / OWN_FILE).exists():
            config, spec = _as_ours(contents, null_class)
        elif null_class is None:
            config, spec = _read_own(folder / OWN_FILE)
        else:
            raise InputError(f"expected no null class, got {null_class}: {folder / OWN_FILE} says which it is")
        _check_agreement(folder, config, spec, contents)
        stored = contents.network
        if isinstance(spec.null_class, int):
            stored = stored.with_row_last(spec.null_class)
        config = config.model_copy(update={"compute": compute or ComputeSettings()})
        network = _network(config, spec)
        network.load_state_dict(stored.tensors)
        pipeline = cls(config, spec, network, device)
        pipeline.analytic = _read_variance(folder / VARIANCE_FILE, pipeline)
        return pipeline

    @classmethod
    def _load_own(
        cls,
        folder: Path,
        device: torch.device | str | None,
        compute: ComputeSettings | None,
        network: nn.Module | None,
    ) -> "Pipeline":
        if network is None:
            raise own.missing_own(folder)
        config, spec = _read_own(folder / OWN_FILE)
        own.fill_own(folder, network)
        pipeline = cls(config.model_copy(update={"compute": compute or ComputeSettings()}), spec, network, device)
        pipeline.analytic = _read_variance(folder / VARIANCE_FILE, pipeline)
        return pipeline

    def _bound(self, cache: int, labels: Labels | None) -> Denoiser:
        """The network with its labels bound, in the precision that this machine is fast in."""
        network = self.network.eval()

        def call(x: Data, time: Tensor) -> Data:
            told = x.new_full((len(x),), self.num_classes, dtype=torch.int64) if labels is None else labels
            output: Tensor = network(x, time, told if self.num_classes else None)
            return output

        if cache > 1:
            if not isinstance(network, UNet):
                raise InputError(f"expected cache 1, got {cache}: only the U-Net here hands its features out")
            call = Cached(partial(network.with_deep, labels=labels), cache)

        def in_precision(x: Data, time: Tensor) -> Data:
            with self.compute.autocast(self.device):
                return call(x, time)

        return NetworkDenoiser(self.diffusion, in_precision)

    def _cause(self, x_t: Data) -> str:
        """What has probably made a prediction at x_t that is not finite."""
        networks: dict[str, nn.Module] = {"": self.network}
        networks |= {} if self.weaker is None else {"weaker network's ": self.weaker.network}
        networks |= {} if self.classify is None else {"classifier's ": self.classify.network}
        for whose, network in networks.items():
            if (name := first_not_finite(network.state_dict())) is not None:
                return f"the {whose}weights are no numbers, {name} first; take others, of before training diverged"
        if not is_finite(x_t) or x_t.abs().max() > VAST:
            return "x_t had grown beyond all images: take more steps, less guidance, or clip static"
        if self.compute.precision == "bfloat16":
            return "a product in bfloat16 overflowed; set --compute.precision float32"
        return "a product overflowed float32; take less guidance or other weights"

    def _check(self, labels: Labels | None, settings: SamplingSettings) -> None:
        if settings.guidance_by == "classifier":
            self._check_classifier(labels)
        elif labels is not None and not self.num_classes:
            raise InputError("expected no labels: this pipeline was trained without classes")
        elif labels is None and not self.knows_no_class:
            raise InputError(
                "expected a class for every image, got none: this network knows no null class; name one with --classes"
            )
        elif labels is not None and not bool(((labels >= 0) & (labels < self.num_classes + self.knows_no_class)).all()):
            null = f" ({self.num_classes}: no class)" if self.knows_no_class else ""
            raise InputError(f"expected labels in 0..{self.num_classes - 1}{null}")
        if settings.guidance_by == "autoguidance" and self.weaker is None:
            raise InputError("expected a weaker pipeline to be guided by, got none; name one with --weaker FOLDER")
        if settings.guidance_by != "classifier-free" or settings.guidance == 1:
            return
        if not self.num_classes:
            raise InputError(
                f"expected guidance 1 without classes, got {settings.guidance}: there is nothing to guide by"
            )
        if settings.negative is None and not self.knows_no_class:
            raise InputError(
                f"expected guidance 1, got {settings.guidance:g}: this network knows no null class to guide by; it was "
                "trained with label_dropout 0, or elsewhere (--null-class N says which class stands for none)"
            )

    def _check_classifier(self, labels: Labels | None) -> None:
        """That there is a classifier, and a class of its own for every image."""
        if self.classify is None:
            raise InputError(
                "expected a classifier of noisy images to be guided by, got none; train one with "
                "`ancestral train-classifier`"
            )
        if self.num_classes and self.classify.class_names != self.spec.class_names:
            raise InputError(
                "expected a classifier of this pipeline's classes, got one of others; train one for this run"
            )
        if labels is None:
            raise InputError("expected a class to be guided to by the classifier, got none")
        classes = len(self.class_names)
        if not bool(((labels >= 0) & (labels < classes)).all()):
            raise InputError(f"expected labels in 0..{classes - 1}: a classifier guides every image to a class")

    def _as_diffusers(self) -> hub.DiffusersFolder:
        channels, height, width = self.spec.shape
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        diffusion, betas = self.config.diffusion, tuple(self.diffusion.schedule.betas.tolist())
        out_channels = outputs(diffusion, self.spec)
        network = hub.NetworkFolder(
            self.config.network, channels, out_channels, height, width, self.spec.num_class_embeds, tensors
        )
        if isinstance(self.spec.null_class, int):
            network = network.with_last_row_at(self.spec.null_class)
        clip = self.config.sampling.clip
        return hub.DiffusersFolder(
            network, hub.ScheduleDescription(betas, diffusion.prediction, diffusion.variance, clip, diffusion.time)
        )


def stored(folder: Path) -> tuple[str, SamplingSettings]:
    """The hash of the weights in a folder that `save` wrote, and how they are sampled; no network is made of them.

    Raises:
        InputError: no pipeline there, or a damaged one.
    """
    config, _ = _read_own(folder / OWN_FILE)
    return tensors_hash(hub.read_diffusers(folder).network.tensors), config.sampling


def _place(name: str, names: Sequence[str]) -> int | None:
    """Where a name stands among others, as it is or as it was typed under another locale; None: nowhere."""
    forms = [normal_form(each) for each in names]
    return next((forms.index(form) for form in (normal_form(name), normal_form(as_utf8(name))) if form in forms), None)


def _pipeline_folder(folder: Path) -> Path:
    """`folder`, or the pipeline inside it where it is a run."""
    if not folder.is_dir():
        raise InputError(f"expected a run or pipeline folder, got {folder}, which is no folder; check the path")
    if (folder / "pipeline").is_dir():
        return folder / "pipeline"
    if (folder / "config.json").is_file() and (folder / "lock").is_file():
        raise InputError(f"the run {folder} has saved no pipeline yet; let it train up to its first checkpoint")
    return folder


def _network(config: Config, spec: ImageSpec) -> UNet:
    null_class = spec.null_class != "none"
    return UNet(config.network, spec.channels, outputs(config.diffusion, spec), len(spec.class_names), null_class)


def _check_agreement(folder: Path, config: Config, spec: ImageSpec, contents: hub.DiffusersFolder) -> None:
    """That the settings say of the network and the noise what the rest of the folder says.

    Raises:
        InputError: files of two pipelines in one folder.
    """
    network, schedule = contents.network, contents.schedule
    ours = {
        "network": config.network,
        "images": spec.shape,
        "output channels": outputs(config.diffusion, spec),
        "class embeddings": spec.num_class_embeds,
        "prediction": config.diffusion.prediction,
        "variance": VARIANCE_TYPES[config.diffusion.variance],
    }
    theirs = {
        "network": network.settings,
        "images": (network.in_channels, network.height, network.width),
        "output channels": network.out_channels,
        "class embeddings": network.num_class_embeds,
        "prediction": schedule.prediction,
        "variance": VARIANCE_TYPES[schedule.variance],
    }
    betas, stored = build_schedule(config.diffusion.schedule).betas, torch.tensor(schedule.betas, dtype=torch.float64)
    same_betas = betas.shape == stored.shape and torch.allclose(betas, stored, rtol=ROUNDING, atol=ROUNDING)
    wrong = [name for name, value in ours.items() if value != theirs[name]] + ["betas"] * (not same_betas)
    if wrong:
        raise InputError(
            f"expected {OWN_FILE} and the other files in {folder} to describe one pipeline, got two that differ in "
            f"{', '.join(wrong)}; copy the whole folder again"
        )


def _read_own(path: Path) -> tuple[Config, ImageSpec]:
    own = migrated(read_json(path))
    missing = {"config", "images"} - own.keys()
    if missing:
        raise InputError(f"{path} is damaged (it says no {min(missing)}); copy the pipeline folder again")
    return parse(Config, own["config"], str(path)), parse(ImageSpec, own["images"], str(path))


def _read_variance(path: Path, pipeline: Pipeline) -> Analytic | None:
    """What `save_variance` wrote, or None where there is none or it was measured with other weights.

    Raises:
        InputError: a damaged file.
    """
    if not path.exists():
        return None
    remedy = "remove it, and measure again by `ancestral variance`"
    try:
        found = read_json(path)
    except InputError as fault:
        raise InputError(f"{path} is damaged ({fault}); {remedy}") from None
    ratio = found.get("ratio")
    if not isinstance(ratio, list) or len(ratio) != pipeline.diffusion.num_timesteps or not all(map(_is_share, ratio)):
        raise InputError(f"{path} is damaged (no T shares); {remedy}")
    measured = Analytic(torch.tensor(ratio, dtype=torch.float64))
    return measured if found.get("weights") == pipeline.weights_hash() else None


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_ours(contents: hub.DiffusersFolder, null_class: int | None) -> tuple[Config, ImageSpec]:
    """Settings that say what a folder of diffusers holds; its classes are named by their index there."""
    network, described = contents.network, contents.schedule
    steps = len(described.betas)
    diffusion = {
        "schedule": {"name": "betas", "num_timesteps": steps, "betas": described.betas},
        "prediction": described.prediction,
        "variance": described.variance,
    }
    chain = steps if described.sampler == "ancestral" else min(50, steps)
    sampling = {"sampler": described.sampler, "steps": chain, "clip": described.clip}
    training = {"minutes": 30, "loss": "hybrid" if described.variance == "learned" else "simple"}
    config = parse(Config, {"diffusion": diffusion, "training": training, "sampling": sampling}, "the diffusers folder")
    spec = ImageSpec(
        channels=network.in_channels,
        height=network.height,
        width=network.width,
        class_names=tuple(str(index) for index in range(network.num_class_embeds or 0) if index != null_class),
        null_class=_null_class(network.num_class_embeds, null_class),
    )
    return config.model_copy(update={"network": network.settings}), spec


def _null_class(num_class_embeds: int | None, asked: int | None) -> int | Literal["last", "none"]:
    """What `ImageSpec.null_class` says of a folder of diffusers.

    Raises:
        InputError: an index that is no class of the folder's, or its only one.
    """
    count = num_class_embeds or 0
    if asked is None:
        return "none" if count else "last"
    if count < 2:
        raise InputError(f"expected no null class, got {asked}: this network has {count or 'no'} class embeddings")
    if not 0 <= asked < count:
        raise InputError(f"expected a null class in 0..{count - 1}, got {asked}")
    return "last" if asked == count - 1 else asked
