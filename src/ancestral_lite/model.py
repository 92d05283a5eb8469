"""A model as `ancestral export --onnx` writes it: the network by ONNX Runtime, all else by its metadata."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ancestral_lite.asking import Asking, ToldRows
from ancestral_lite.normals import SeededNoise
from ancestral_lite.plans import Array, LabelArray, NetworkCall, PlanTable, StepTaken, read_plan, sample

FORMAT, VERSION = "ancestral-onnx", "1"
MODEL, TEXT, DECODER = "model.onnx", "text.onnx", "decoder.onnx"
CHECKED = 8  # numbers of noise and output that a model holds of each of two seeds


class Request(NamedTuple):
    """What is asked of images: the network's inputs beside x and time, a row for each image, and one more, that
    guidance moves away from. A plan's labels are numbers of rows."""

    rows: ToldRows
    tells: bool  # whether anything is
    has_away: bool  # whether the network knows the last row

    def part(self, where: slice) -> "Request":
        """Of some of the images."""
        images = {name: np.concatenate([each[:-1][where], each[-1:]]) for name, each in self.rows.items()}
        return self._replace(rows=images)


class Model:
    """The model in a file, or in a folder of several. Raises ValueError, of one line, for what is none.

    plan: how it samples (docs/plans.md); about: shapes, classes and the rest (docs/onnx.md).
    """

    def __init__(self, path: Path | str, threads: int = 0) -> None:
        """`threads`: that compute; 0: as many as there are cores."""
        path = Path(path)
        path = path / MODEL if path.is_dir() else path
        self._session, facts = _opened(path, threads)
        try:
            self.plan: PlanTable = read_plan(facts["plan"])
            self.about: dict[str, Any] = json.loads(facts["about"])
            self._checked: dict[str, Any] = json.loads(facts["check"])
            self.asking = Asking(self.about)
            self.image, self.shape = (tuple(map(int, self.about[name])) for name in ("image", "x"))
            beside = [name for name in (TEXT, DECODER) if name in self.about["files"]]
        except (KeyError, TypeError, ValueError) as fault:
            raise ValueError(f"expected a model's metadata in {path}, got others ({fault}); export it again") from None
        self._beside: dict[str, Any] = {}
        for name in beside:
            file = path.with_name(name)
            self._beside[name], its_facts = _opened(file, threads)
            if its_facts.get("weights") != facts.get("weights"):
                raise ValueError(f"expected {file} to belong to {path}, got another model's; copy both again")

    def asked(
        self,
        count: int,
        classes: Sequence[str] | None = None,
        attributes: Mapping[str, float] | None = None,
        prompts: Sequence[str] = (),
        negative: str | None = None,
    ) -> Request:
        """What is asked of `count` images.

        Args:
            classes: names or numbers, in turn; None: all in turn; (): none.
            attributes: numbers by name, of all images; what is left out is not told.
            prompts: in turn; (): none.
            negative: what guidance moves away from: a text where texts are read, else a class, or attributes as in
                age=70; None: as the model was exported, in most cases nothing told.
        """
        if classes is None:
            classes = [f"={each}" for each in self.asking.classes]
        self.asking.check_told(classes, attributes or {}, prompts)
        negative = self.about["negative"] if negative is None else negative
        images = self.asking.rows(count, classes, attributes or {}, prompts)
        away = self.asking.away(negative)
        rows = {kind: np.concatenate([each, away[kind]]) for kind, each in images.items()}
        if TEXT in self._beside:
            told = self._beside[TEXT].run(None, {"tokens": rows.pop("tokens")})
            rows |= dict(zip(("states", "tokens"), told, strict=False))
        known = negative is not None or self.asking.knows_null
        return Request(rows, bool(classes or attributes or prompts), known)

    def network(self, asked: Request) -> NetworkCall:
        """The network for a plan whose labels are numbers of rows; None, as where nothing is told: the first."""

        def call(x: Array, time: NDArray[np.float32], labels: LabelArray) -> Array:
            which = np.zeros(len(x), np.int64) if labels is None else labels
            told = {name: each[which] for name, each in asked.rows.items()}
            return self._session.run(None, {"x": x.astype(np.float32, copy=False), "time": time, **told})[0]

        return call

    def steps(self, seeds: Sequence[int], asked: Request, guidance: float | None = None) -> Iterator[StepTaken]:
        """Every step of a batch, an image for each seed, of which as many are asked. `guidance`, None: as exported."""
        if guidance not in (None, 1):
            if not asked.tells:
                raise ValueError(f"expected guidance 1 where nothing is told, got {guidance:g}: nothing is followed")
            if not asked.has_away:
                raise ValueError(
                    f"expected guidance 1, got {guidance:g}: this model knows no image without; say negative"
                )
        plan = self.plan if guidance is None else guided(self.plan, guidance)
        labels = np.arange(len(seeds)) if asked.tells else None
        return sample(plan | {"null": len(seeds)}, self.network(asked), SeededNoise(seeds, self.shape), labels)

    def pixels(self, x0: Array) -> NDArray[np.uint8]:
        """The images (B, C, H, W) of x0, or of a state on the way to it."""
        if DECODER in self._beside:
            (x0,) = self._beside[DECODER].run(None, {"x0": x0.astype(np.float32, copy=False)})
        _, height, width = self.image
        return ((x0 + 1) * np.float32(127.5)).round().clip(0, 255).astype(np.uint8)[:, :, :height, :width]

    def apart(self) -> dict[str, float]:
        """How far noise and the network's first answer are from torch's, of which the model holds some numbers."""
        means = {each["name"]: each["mean"] for each in self.asking.attributes}
        asked = self.asked(2, None, means, [""] if self.asking.tokenizer else [])
        level, x = self.plan["levels"][0], SeededNoise(self._checked["seeds"], self.shape)()
        output = self.network(asked)(level["scale"] * x, np.full(2, level["time"], np.float32), np.arange(2))
        found = {"noise": _some(x), "output": _some(output)}
        return {name: float(np.abs(each - np.array(self._checked[name])).max()) for name, each in found.items()}


def guided(plan: PlanTable, guidance: float) -> PlanTable:
    """The plan with another guidance, where it guides; where it does not at all, everywhere."""
    nowhere = all(level["guidance"] == 1 for level in plan["levels"])
    levels = [level | {"guidance": guidance if nowhere or level["guidance"] != 1 else 1} for level in plan["levels"]]
    return plan | {"levels": levels}


def _some(numbers: Array) -> Array:
    each = numbers.reshape(len(numbers), -1)
    return each[:, :: max(1, each.shape[1] // CHECKED)][:, :CHECKED]


def _opened(path: Path, threads: int) -> tuple[Any, dict[str, str]]:
    """A session of ONNX Runtime, and what its file says of itself."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ValueError("expected onnxruntime to be installed; run: pip install onnxruntime") from None
    if not path.is_file():
        raise ValueError(f"expected a file that `ancestral export --onnx` has written, got none at {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # of types of its own
        said = " ".join(str(fault).split())[:200]
        raise ValueError(f"expected a file of ONNX, got {path}: {said}; copy it again") from None
    facts = session.get_modelmeta().custom_metadata_map
    if (kind := (facts.get("format"), facts.get("version"))) != (FORMAT, VERSION):
        raise ValueError(f"expected {FORMAT} of version {VERSION} in {path}, got {kind[0]!r} of {kind[1]!r}")
    return session, facts
