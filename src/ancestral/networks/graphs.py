"""Modules as ONNX graphs: any number of images, no trace of where they were made, weights by their own names.

A graph is traced. torch's other exporter takes ten times as long, and writes where each line of the source lies. What
comes out is made small: constants that are equal are kept once, and what flows between nodes is numbered.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ancestral.condition import Condition
from ancestral.networks.interface import Backbone
from ancestral.networks.rounding import Stored

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

OPSET = 20  # from 21 on group normalisation is one operator, which engines compute slower than its parts
SideNames = Mapping[str, tuple[str, str]]
"""What height and width are called, of the inputs and outputs whose size is free."""
NOT_STORED = Stored(torch.empty(0))
REAL = ("attributes", "weights", "states", "augmentation")  # fields of `Condition` that are no whole numbers


def network_graph(
    network: Backbone, told: Mapping[str, Sequence[int]], shape: Sequence[int], any_size: bool = False
) -> "ModelProto":
    """The network on images of a shape (C, H, W), or of any height and width, that is told fields of a condition, each
    of a shape without B. Inputs: x, time and those; output: output."""
    others = {
        name: torch.zeros(2, *each, dtype=torch.float32 if name in REAL else torch.int64) for name, each in told.items()
    }
    given = {"x": torch.zeros(2, *shape), "time": torch.zeros(2), **others}
    sides = {name: ("height", "width") for name in ("x", "output") if any_size}
    return onnx_graph(_Told(network, [*told]), given, ["output"], sides)


class _Told(nn.Module):
    """A network as a function of tensors alone."""

    def __init__(self, network: Backbone, told: Sequence[str]) -> None:
        super().__init__()
        self.network, self.told = network, told

    def forward(self, x: Tensor, time: Tensor, *told: Tensor) -> Tensor:
        return self.network(x, time, Condition(**dict(zip(self.told, told, strict=True))))


def onnx_graph(
    module: nn.Module, given: Mapping[str, Tensor], outputs: Sequence[str], sides: SideNames | None = None
) -> "ModelProto":
    """`module` on as many images as are given at a time; `given`: an example of each of its inputs, of two images.

    Weights are called as `module` calls them, without the name of its only child.
    """
    import onnx

    file, named = io.BytesIO(), sides or {}
    axes = {name: {0: "batch", **dict(zip((2, 3), named.get(name, ()), strict=False))} for name in (*given, *outputs)}
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an exporter that is called old, and of sizes that are meant to stay
        torch.onnx.export(
            module.eval(),
            tuple(given.values()),
            file,  # type: ignore[arg-type]  # which it takes
            dynamo=False,
            opset_version=OPSET,
            input_names=[*given],
            output_names=[*outputs],
            dynamic_axes=axes,
            do_constant_folding=False,  # which would take the names of weights
        )
    model = onnx.load_model_from_string(file.getvalue())
    model.graph.ClearField("value_info")
    _make_small(model.graph)
    return model


def store(model: "ModelProto", weights: Mapping[str, Stored]) -> None:
    """Keeps the weights of a graph as they are stored, each to be expanded to float32 before it is used: an engine does
    so once, when it reads the graph."""
    from onnx import TensorProto, helper, numpy_helper

    graph, first, kept = model.graph, list["NodeProto"](), list["TensorProto"]()
    for tensor in graph.initializer:
        name, (numbers, scale) = tensor.name, weights.get(tensor.name, NOT_STORED)
        if numbers.dtype == torch.float32:
            kept.append(tensor)
            continue
        kept.append(numpy_helper.from_array(numbers.contiguous().numpy(), f"{name}.numbers"))
        if scale is None:
            first.append(helper.make_node("Cast", [f"{name}.numbers"], [name], to=TensorProto.FLOAT))
            continue
        kept.append(numpy_helper.from_array(scale.contiguous().numpy(), f"{name}.scale"))
        first.append(helper.make_node("Cast", [f"{name}.numbers"], [f"{name}.whole"], to=TensorProto.FLOAT))
        first.append(helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name]))
    _replace(graph.initializer, kept)
    _replace(graph.node, [*first, *graph.node])


def _make_small(graph: "GraphProto") -> None:
    names = {each.name: each.name for each in (*graph.input, *graph.output)}
    constants, nodes = dict[bytes, str](), list["NodeProto"]()
    for tensor in graph.initializer:
        names[tensor.name] = tensor.name = tensor.name.partition(".")[2]
    for node in graph.node:
        if node.op_type == "Constant":
            (value,) = node.attribute
            names[node.output[0]] = constants.setdefault(value.t.SerializeToString(), f"constant.{len(constants)}")
            continue
        assert not any(each.HasField("g") for each in node.attribute), "nodes alone"
        node.ClearField("name")
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        for output in node.output:
            names.setdefault(output, str(len(names)))
        for ends in (node.input, node.output):
            _replace(ends, [names[end] if end else "" for end in ends])
        nodes.append(node)
    for content, name in constants.items():
        graph.initializer.add().ParseFromString(content)
        graph.initializer[-1].name = name
    _replace(graph.node, nodes)


def _replace(field: Any, values: Sequence[object]) -> None:
    """Makes `values` what a repeated field holds."""
    del field[:]
    field.extend(values)
