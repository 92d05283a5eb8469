"""The weights in a folder of diffusers: the files that hold them, and their tensors.

    diffusion_pytorch_model.safetensors                     all of them,
    diffusion_pytorch_model.safetensors.index.json          or the name of the shard that each is in:
    diffusion_pytorch_model-00001-of-00002.safetensors
    diffusion_pytorch_model.fp16.safetensors                the same in another precision, whole or in shards
    diffusion_pytorch_model.safetensors.index.fp16.json     (or ...fp16.safetensors.index.json)

Where several are there the first precision is read, and of one precision the whole file.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ancestral.errors import InputError, NonFinite
from ancestral.files import read_json
from ancestral.networks.weights import first_not_finite

STEM = "diffusion_pytorch_model"
WEIGHTS = f"{STEM}.safetensors"
PRECISIONS = ("", ".fp32", ".fp16", ".bf16")
"""What a file's name says of how its weights are kept, best first; other variants are other weights."""
NAMES_IN_OLD_FILES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
Shapes = Mapping[str, Sequence[int]]


def current_name(name: str) -> str:
    """`name` with attention's layers as they are called now."""
    owner, _, kind = name.rpartition(".")
    above, _, layer = owner.rpartition(".")
    return f"{above}.{NAMES_IN_OLD_FILES.get(layer, layer)}.{kind}" if "attentions" in above.split(".") else name


def read_tensors(
    folder: Path, shapes: Shapes, stem: str = STEM, named: Callable[[str], str | None] = current_name
) -> dict[str, Tensor]:
    """The tensors of a network as float32, refused before loading if names, shapes or types differ. `stem`: how the
    names of the files begin. `named`: what one is called now that a file calls so; None: it is of no use."""
    paths, told = _files(folder, stem)
    with ExitStack() as opened:
        try:
            files = {path: opened.enter_context(safe_open(path, framework="pt")) for path in paths}
            places = _places(files, told, named)
            for name in sorted(shapes.keys() ^ places.keys()):
                problem = "is missing" if name in shapes else "belongs to no layer"
                raise InputError(f"expected {paths[0]} to fit its config.json, got weights where {name!r} {problem}")
            for name, shape in shapes.items():
                path, stored = places[name]
                found = files[path].get_slice(stored)
                if (got := list(found.get_shape())) != list(shape):
                    raise InputError(f"expected {name} in {path} of shape {shape} as its config.json says, got {got}")
                if (kind := found.get_dtype()) not in FLOAT_TYPES:
                    raise InputError(f"expected {name} in {path} of a type among {', '.join(FLOAT_TYPES)}, got {kind}")
            tensors = {name: files[places[name][0]].get_tensor(places[name][1]).float() for name in shapes}
        except (OSError, SafetensorError) as fault:
            names = " and ".join(path.name for path in paths[:2])
            raise InputError(
                f"expected {names} in {folder} to be whole safetensors, got: {fault}; copy the folder again"
            ) from None
    if (bad := first_not_finite(tensors)) is not None:
        raise NonFinite(
            f"expected finite weights, got NaN or infinity in {bad} of {places[bad][0]}; training diverged or half "
            "precision overflowed: take other weights"
        )
    return tensors


def _files(folder: Path, stem: str) -> tuple[list[Path], dict[str, str] | None]:
    """The files that hold all tensors, and which of them an index says that each is in; None: there is no index."""
    for precision in PRECISIONS:
        whole = folder / f"{stem}{precision}.safetensors"
        if whole.is_file():
            return [whole], None
        for index in (folder / f"{stem}.safetensors.index{precision}.json", folder / f"{whole.name}.index.json"):
            if index.is_file():
                return shards(index)
    raise InputError(f"expected the weights {folder / stem}.safetensors, {what_is_there(folder)}")


def shards(index: Path) -> tuple[list[Path], dict[str, str]]:
    """The files that an index names, all of them beside it."""
    told = read_json(index).get("weight_map")
    if not isinstance(told, dict) or not told or not all(map(_is_shard, told.values())):
        raise InputError(f"expected weight_map in {index} to name safetensors files beside it, a tensor each")
    paths = [index.with_name(name) for name in sorted(set(told.values()))]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InputError(f"expected the shard {missing[0]}, which {index} names, got none; copy the whole folder")
    return paths, told


def _is_shard(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and not {"/", "\\", "\0"} & {*name}


def _places(
    files: Mapping[Path, Any], told: Mapping[str, str] | None, named: Callable[[str], str | None]
) -> dict[str, tuple[Path, str]]:
    """The file of each tensor and the name it has there, by its current name."""
    places: dict[str, tuple[Path, str]] = {}
    for path, file in files.items():
        for stored in file.keys():  # noqa: SIM118 (not a dict)
            if (name := named(stored)) is None:
                continue
            if name in places:
                raise InputError(f"expected {name!r} once, got it in {places[name][0]} and in {path}; copy it again")
            if told is not None and told.get(stored) != path.name:
                raise InputError(f"expected {stored!r} where the index says, got it in {path}; copy the folder again")
            places[name] = (path, stored)
    return places


def what_is_there(folder: Path) -> str:
    """What stands in place of weights that can be read, and what to do about it."""
    found = sorted(path.name for path in folder.iterdir() if path.suffix not in (".json", ".md"))
    if not found:
        return "got none; copy the whole folder"
    remedy = "save them so, without variant=..., and shards with their index"
    return f"got {', '.join(found[:3])}; only safetensors are read, since loading pickles can run code: {remedy}"
