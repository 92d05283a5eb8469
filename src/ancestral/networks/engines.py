"""A network's call by another engine than torch, ONNX Runtime or OpenVINO: on a CPU, without gradients.

The network is traced once for the size of its images and the kinds of what it is told, as an ONNX graph, which is
compiled once for each number of images. Both are kept in the cache, each behind a digest of itself: what is damaged is
made again, and what has not been used for longest goes where all take more than `MOST_BYTES`. Weights may be changed in
place between two bindings (`by_engine`), not within one.
"""

import io
import json
import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ancestral.compute import EngineName, PrecisionName
from ancestral.condition import Condition
from ancestral.errors import InputError
from ancestral.files import cache_folder, made_once
from ancestral.machine import processor
from ancestral.networks.graphs import OPSET, REAL, network_graph
from ancestral.networks.interface import Backbone
from ancestral.networks.weights import weights_hash
from ancestral.tensors import Data

Call = Callable[[Data, Tensor, Condition], Data]  # as a network is called
Infer = Callable[[Sequence[np.ndarray]], np.ndarray]  # the inputs, in order -> the output, which may be overwritten
MOST_BYTES = 2**30  # that are kept on disk
MOST_COMPILED = 4  # numbers of images that a network is held ready for, each with weights of its own


class Wanted(NamedTuple):
    """What one compiled form of a network is for."""

    engine: EngineName
    precision: PrecisionName
    threads: int
    told: tuple[tuple[str, tuple[int, ...]], ...]  # fields of `Condition`, and their shape without B
    shape: tuple[int, ...]  # (B, C, H, W)


class Compiled:
    """Of one network with weights as they are now: its forms that are ready, the last used at the end."""

    def __init__(self, network: Backbone) -> None:
        self.stamp, self.weights = _stamp(network), weights_hash(network)
        self.forms: dict[Wanted, Infer] = {}
        self.lock = threading.Lock()

    def form(self, network: Backbone, wanted: Wanted) -> Infer:
        with self.lock:
            infer = self.forms.pop(wanted, None) or self._made(network, wanted)
            self.forms[wanted] = infer
            while len(self.forms) > MOST_COMPILED:
                self.forms.pop(next(iter(self.forms)))
            return infer

    def _made(self, network: Backbone, wanted: Wanted) -> Infer:
        about = [self.weights, type(network).__name__, network.settings.model_dump(mode="json"), network.told]
        traced = json.dumps([*about, wanted.told, REAL, wanted.shape[1:], OPSET, torch.__version__, version("onnx")])

        def graph() -> bytes:
            return kept(traced, lambda: network_graph(network, dict(wanted.told), wanted.shape[1:]).SerializeToString())

        try:
            return ENGINES[wanted.engine](graph, wanted, traced)
        except InputError:
            raise
        except Exception as fault:  # each engine has a type of its own
            said = " ".join(str(fault).split())[:200] or type(fault).__name__
            raise InputError(
                f"expected {wanted.engine} to take this network, got: {said}; set --compute.engine torch"
            ) from fault


_compiled: WeakKeyDictionary[nn.Module, Compiled] = WeakKeyDictionary()


def by_engine(network: Backbone, engine: EngineName, precision: PrecisionName) -> Call:
    """The network as it is now, called by `engine` on so many threads as torch computes with."""
    compiled = _compiled.get(network)
    if compiled is None or compiled.stamp != _stamp(network):
        compiled = _compiled[network] = Compiled(network)
    ready = compiled

    def call(x: Data, time: Tensor, condition: Condition) -> Data:
        assert not (x.requires_grad and torch.is_grad_enabled()), "no engine but torch has gradients"
        told = {name: each for name, each in condition._asdict().items() if each is not None}
        shapes = tuple((name, (*each.shape[1:],)) for name, each in told.items())
        wanted = Wanted(engine, precision, torch.get_num_threads(), shapes, (*x.shape,))
        given = [x.float(), time.float().expand(x.shape[0]), *told.values()]
        output = ready.form(network, wanted)([each.contiguous().numpy() for each in given])
        return torch.from_numpy(output).clone(memory_format=torch.channels_last)

    return call


def _onnxruntime(graph: Callable[[], bytes], wanted: Wanted, about: str) -> Infer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wanted.threads
    options.add_free_dimension_override_by_name("batch", wanted.shape[0])
    options.add_session_config_entry("session.force_spinning_stop", "1")  # torch computes next, on the same cores
    session = onnxruntime.InferenceSession(graph(), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def infer(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return session.run(None, dict(zip(names, arrays, strict=True)))[0]

    return infer


def _openvino(graph: Callable[[], bytes], wanted: Wanted, about: str) -> Infer:
    import openvino

    core, batch = openvino.Core(), wanted.shape[0]
    how = {
        "INFERENCE_NUM_THREADS": wanted.threads,
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[wanted.precision],
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }

    def compiled() -> bytes:
        model = core.read_model(io.BytesIO(graph()))
        model.reshape({each.any_name: [batch, *each.partial_shape[1:]] for each in model.inputs})
        return core.compile_model(model, "CPU", how).export_model().getvalue()

    blob = kept(json.dumps([about, how, batch, version("openvino"), processor()]), compiled)
    request, lock = core.import_model(blob, "CPU", how).create_infer_request(), threading.Lock()

    def infer(arrays: Sequence[np.ndarray]) -> np.ndarray:
        with lock:
            return request.infer([*arrays], share_inputs=True)[0]

    return infer


ENGINES: dict[str, Callable[[Callable[[], bytes], Wanted, str], Infer]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def kept(about: str, make: Callable[[], bytes]) -> bytes:
    """What `make` gives, which `about` says all of; from the cache where it is there and whole."""
    return made_once(cache_folder() / "engines" / sha256(about.encode()).hexdigest()[:32], make, MOST_BYTES)


def _stamp(network: nn.Module) -> tuple[tuple[int, int], ...]:
    """Other numbers once a weight is another tensor or was changed in place."""
    weights = (*network.parameters(), *network.buffers())
    return tuple((each.data_ptr(), 0 if each.is_inference() else each._version) for each in weights)
