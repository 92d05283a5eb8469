"""A pipeline: a process, a network and what its images are. It is what training leaves and what sampling needs.

At rest it is a diffusers folder that also holds `ancestral.json`: the settings and the names of the classes.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ancestral import hub
from ancestral.building import VARIANCES, build_diffusion, build_grid, build_sampler, outputs
from ancestral.classifying import NoisyClassifier
from ancestral.compute import Choices, decided
from ancestral.config import ComputeSettings, Config, ImageSpec, SamplingSettings, merged, parse
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.variances import Analytic
from ancestral.errors import CannotWrite, InputError
from ancestral.files import write_whole
from ancestral.guiding import Networks, guided
from ancestral.networks.unet import UNet
from ancestral.networks.weights import weights_hash
from ancestral.processes import ALONE, Processes
from ancestral.rng import ImageNoise, generator
from ancestral.sampling.caching import Cached
from ancestral.sampling.denoiser import Denoiser, NetworkDenoiser, clipped
from ancestral.sampling.loop import Step, sample, without_gradients
from ancestral.sampling.samplers import Sampler
from ancestral.tensors import Data, Labels, Pixels, Timesteps, to_pixels

OWN_FILE = "ancestral.json"
VARIANCE_FILE = "variance.json"
"""The analytic variance and the hash of the weights it was measured with."""


class Pipeline:
    """Settings, the shape of an image, the process and the network, on one device.

    Attributes:
        config: the settings; `config.sampling` is how images are drawn unless asked otherwise.
        spec: shape of an image and names of the classes.
        compute: how this machine is used; `use` changes it.
        analytic: the best variance of its reverse steps, where it was measured for these weights.
        weaker: another pipeline for the same images and schedule, to be guided by; nothing of it is saved.
        classify: a classifier of noisy images, likewise; it lends its classes to a network that knows none.
        processes: those that share the work of `draw`, each with a pipeline of the same weights.
    """

    analytic: Analytic | None = None
    weaker: "Pipeline | None" = None
    processes: Processes = ALONE
    classify: NoisyClassifier | None = None

    def __init__(
        self, config: Config, spec: ImageSpec, network: UNet, device: torch.device | str | None = None
    ) -> None:
        self.config, self.spec = config, spec
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.diffusion = build_diffusion(config.diffusion)
        self.network = network.to(self.device)
        self.use(decided(config.compute, config.network, spec, self.device))

    @classmethod
    def fresh(cls, config: Config, spec: ImageSpec, device: torch.device | str | None = None) -> "Pipeline":
        """An untrained pipeline, its weights drawn from the seed of `config`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(config.seed, "weights").initial_seed())
            network = UNet(config.network, spec.channels, outputs(config.diffusion, spec), len(spec.class_names))
        return cls(config, spec, network, device)

    def use(self, choices: Choices) -> None:
        """Computes so from here on. The number of threads is the process's."""
        self.compute = choices
        self.network.to(memory_format=choices.memory_format)  # type: ignore[call-overload]
        if choices.threads is not None:
            torch.set_num_threads(choices.threads)

    @property
    def num_classes(self) -> int:
        """Real classes that the network knows; 0 where it knows none. The index `num_classes` stands for no class."""
        return len(self.spec.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What may be asked for: the network's classes, else those that a classifier lends it, else none."""
        return self.spec.class_names or (() if self.classify is None else self.classify.class_names)

    def with_network(self, network: nn.Module) -> "Pipeline":
        """The same pipeline around another network of the same shape."""
        assert isinstance(network, UNet)
        other = Pipeline(self.config, self.spec, network, self.device)
        other.use(self.compute)
        return other

    def denoiser(self, labels: Labels | None, settings: SamplingSettings) -> Denoiser:
        """The network with its labels bound, guided and clipped as `settings` say; with a cache, for one chain only.

        Args:
            labels: (B,) in 0..num_classes, where num_classes means no class, or None for no class at all. Guided by a
                classifier: of its classes.

        Raises:
            InputError: labels or guidance that this pipeline was not trained for.
        """
        self._check(labels, settings)
        away = self.num_classes if settings.negative is None else self.class_index(settings.negative)
        networks = Networks(
            bind=partial(self._bound, settings.cache),
            conditional=self.num_classes > 0,
            away=away,
            schedule=self.diffusion.schedule,
            in_one_call=self.compute.guidance == "one-call",
            weaker=None if self.weaker is None else partial(self.weaker._bound, settings.cache),
            classify=self.classify,
        )
        denoise = guided(networks, None if labels is None else labels.to(self.device), settings)
        return clipped(denoise, self.diffusion.schedule, settings.clip)

    def steps(
        self, seeds: Sequence[int], labels: Labels | None = None, settings: SamplingSettings | None = None
    ) -> Iterator[Step]:
        """The steps that draw one image for each seed, all in one batch; the last step's `x` holds them in [-1, 1].

        Args:
            seeds: one per image. The same seed gives the same image in any batch.
            labels: (B,) class of each image, None: no class.
            settings: None: those of `config.sampling`.

        Raises:
            InputError: labels, guidance or steps that do not fit this pipeline.
        """
        settings = settings or self.config.sampling
        denoise = self.denoiser(labels, settings)
        noise = ImageNoise(seeds, self.spec.shape, self.device)
        x_T = noise().contiguous(memory_format=self.compute.memory_format)
        sampler, timesteps = self.sampler(settings), self.timesteps(settings)
        yield from without_gradients(sample(denoise, sampler, x_T, timesteps, noise))

    def draw(
        self,
        seeds: Sequence[int],
        labels: Labels | None = None,
        settings: SamplingSettings | None = None,
        chunk: int | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Pixels:
        """Finished images, (B, C, H, W) uint8 on the CPU, drawn `chunk` at a time. Arguments as in `steps`.

        Several `processes` deal the chunks among them, and each gets all images.

        Args:
            chunk: None: as many as this machine is to draw at once, `compute.chunk`.
            on_progress: called after each step with how many of this process's steps are done, and of how many.
        """
        parts, done = self.chunks(len(seeds), chunk), 0
        total = len(self.processes.mine(parts)) * (settings or self.config.sampling).steps

        def drawn(part: slice) -> dict[str, Tensor]:
            nonlocal done
            x = None
            for step in self.steps(seeds[part], None if labels is None else labels[part], settings):
                x, done = step.x, done + 1
                on_progress(done, total)
            assert x is not None, "a chain has steps"
            return {"pixels": to_pixels(x)}

        return torch.cat([each["pixels"] for each in self.processes.dealt_tensors(parts, drawn)]).contiguous()

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

    def with_variance(self, name: Literal["beta", "beta_tilde", "analytic"] | None) -> GaussianDiffusion:
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
        """The label of a class, by name or number.

        Raises:
            InputError: no such class.
        """
        if name in self.class_names:
            return self.class_names.index(name)
        if name.isdecimal() and int(name) < len(self.class_names):
            return int(name)
        if not self.class_names:
            raise InputError(f"expected no class, got {name!r}: this pipeline was trained without labels")
        raise InputError(f"expected a class out of {', '.join(self.class_names)}, got {name!r}")

    def weights_hash(self) -> str:
        """Names the weights that drew an image, by 16 hexadecimal digits."""
        return weights_hash(self.network)

    def save(self, folder: Path) -> None:
        """Writes the folder whole: beside the old one first, then in its place. It says nothing of this machine.

        Raises:
            CannotWrite: disk full, or folder gone or read-only.
        """
        building, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
        try:
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(parents=True)
            hub.write_diffusers(building, self._as_diffusers())
            self.save_settings(building)
            if self.analytic is not None:
                self.save_variance(building)
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                folder.rename(old)
            building.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as fault:
            raise CannotWrite(f"cannot write the pipeline folder {folder}: {fault.strerror}") from None

    def save_settings(self, folder: Path) -> None:
        """Writes the settings and the names of the classes into the pipeline folder."""
        config = self.config.model_copy(update={"compute": ComputeSettings()})
        own = {"config": config.model_dump(mode="json"), "images": self.spec.model_dump(mode="json")}
        write_whole(folder / OWN_FILE, json.dumps(own, indent=2) + "\n")

    def save_variance(self, folder: Path) -> None:
        """Writes the analytic variance into the pipeline folder."""
        assert self.analytic is not None
        content = {"weights": self.weights_hash(), "ratio": self.analytic.ratio.tolist()}
        write_whole(folder / VARIANCE_FILE, json.dumps(content) + "\n")

    @classmethod
    def load(
        cls, folder: Path | str, device: torch.device | str | None = None, compute: ComputeSettings | None = None
    ) -> "Pipeline":
        """The pipeline in a folder that `save` or diffusers wrote, or in a run's `pipeline/`. Needs no settings.

        Args:
            compute: how this machine is used, of which the folder says nothing. None: the defaults.

        Raises:
            InputError: no pipeline there, or a damaged one.
        """
        folder = _pipeline_folder(Path(folder))
        contents = hub.read_diffusers(folder)
        config, spec = _read_own(folder / OWN_FILE) if (folder / OWN_FILE).is_file() else _as_ours(contents)
        stored = contents.network
        if config.network != stored.settings or spec.shape != (stored.in_channels, stored.height, stored.width):
            raise InputError(
                f"{folder / OWN_FILE} and unet/config.json describe different networks; copy the folder again"
            )
        if stored.out_channels != outputs(config.diffusion, spec):
            raise InputError(
                f"{folder / OWN_FILE} describes {outputs(config.diffusion, spec)} output channels, unet/config.json "
                f"{stored.out_channels}; copy the folder again"
            )
        if len(spec.class_names) != stored.num_classes:
            raise InputError(
                f"{folder / OWN_FILE} names {len(spec.class_names)} classes, the network {stored.num_classes}"
            )
        config = config.model_copy(update={"compute": compute or ComputeSettings()})
        network = UNet(config.network, spec.channels, stored.out_channels, stored.num_classes)
        network.load_state_dict(stored.tensors)
        pipeline = cls(config, spec, network, device)
        pipeline.analytic = _read_variance(folder / VARIANCE_FILE, pipeline)
        return pipeline

    def _bound(self, cache: int, labels: Labels | None) -> Denoiser:
        """The network with its labels bound, in the precision that this machine is fast in."""
        network = self.network.eval()
        call: Callable[[Data, Tensor], Data] = partial(network, labels=labels)
        if cache > 1:
            call = Cached(partial(network.with_deep, labels=labels), cache)

        def in_precision(x: Data, time: Tensor) -> Data:
            with self.compute.autocast(self.device):
                return call(x, time)

        return NetworkDenoiser(self.diffusion, in_precision)

    def _check(self, labels: Labels | None, settings: SamplingSettings) -> None:
        if settings.guidance_by == "classifier":
            self._check_classifier(labels)
        elif labels is not None and not self.num_classes:
            raise InputError("expected no labels: this pipeline was trained without classes")
        elif labels is not None and not bool(((labels >= 0) & (labels <= self.num_classes)).all()):
            raise InputError(f"expected labels in 0..{self.num_classes - 1} ({self.num_classes}: no class)")
        if settings.guidance_by == "weaker" and self.weaker is None:
            raise InputError("expected a weaker pipeline to be guided by, got none; name one with --weaker FOLDER")
        if settings.guidance_by != "no-class" or settings.guidance == 1:
            return
        if not self.num_classes:
            raise InputError(
                f"expected guidance 1 without classes, got {settings.guidance}: there is nothing to guide by"
            )
        if settings.negative is None and not self.config.training.label_dropout:
            raise InputError(
                "expected guidance 1: this pipeline was trained with label_dropout 0, so it knows no null class"
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
        classes = self.num_classes + 1 if self.num_classes else None
        diffusion, betas = self.config.diffusion, tuple(self.diffusion.schedule.betas.tolist())
        out_channels = outputs(diffusion, self.spec)
        network = hub.NetworkFolder(self.config.network, channels, out_channels, height, width, classes, tensors)
        clip = self.config.sampling.clip
        return hub.DiffusersFolder(
            network, hub.ScheduleDescription(betas, diffusion.prediction, diffusion.variance, clip, diffusion.time)
        )


def _pipeline_folder(folder: Path) -> Path:
    """`folder`, or the pipeline inside it where it is a run."""
    if not folder.is_dir():
        raise InputError(f"expected a run or pipeline folder, got {folder}, which is no folder")
    if (folder / "pipeline").is_dir():
        return folder / "pipeline"
    if (folder / "config.json").is_file() and (folder / "lock").is_file():
        raise InputError(f"the run {folder} has saved no pipeline yet; let it train up to its first checkpoint")
    return folder


def _read_own(path: Path) -> tuple[Config, ImageSpec]:
    try:
        own = json.loads(path.read_text(encoding="utf-8"))
        config, images = own["config"], own["images"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(f"{path} is damaged ({fault}); copy the pipeline folder again") from None
    return parse(Config, config, str(path)), parse(ImageSpec, images, str(path))


def _read_variance(path: Path, pipeline: Pipeline) -> Analytic | None:
    """What `save_variance` wrote, or None where there is none or it was measured with other weights.

    Raises:
        InputError: a damaged file.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        weights, ratio = found["weights"], torch.tensor(found["ratio"], dtype=torch.float64)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(f"{path} is damaged ({fault}); remove it, and measure again by `ancestral variance`") from None
    if ratio.shape != (pipeline.diffusion.num_timesteps,) or not bool(ratio.isfinite().all()):
        raise InputError(f"{path} is damaged (no T numbers); remove it, and measure again by `ancestral variance`")
    return Analytic(ratio) if weights == pipeline.weights_hash() else None


def _as_ours(contents: hub.DiffusersFolder) -> tuple[Config, ImageSpec]:
    """Settings that say what a folder of diffusers holds; its classes are named by number."""
    network, described = contents.network, contents.schedule
    steps = len(described.betas)
    diffusion = {
        "schedule": {"name": "betas", "num_timesteps": steps, "betas": described.betas},
        "prediction": described.prediction,
        "variance": described.variance,
    }
    sampling = {"sampler": "ancestral", "steps": steps, "clip": described.clip}
    training = {"minutes": 30, "loss": "hybrid" if described.variance == "learned" else "simple"}
    config = parse(Config, {"diffusion": diffusion, "training": training, "sampling": sampling}, "the diffusers folder")
    names = tuple(map(str, range(network.num_classes)))
    spec = ImageSpec(channels=network.in_channels, height=network.height, width=network.width, class_names=names)
    return config.model_copy(update={"network": network.settings}), spec
