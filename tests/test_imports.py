"""The direction of imports, what may be imported when, and that nothing can execute what it reads.

All of it is read out of the source by `ast`, so no module has to be importable. The checkers are functions of a
module's name and text, and are tried on made-up text that breaks each rule.
"""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

ROWS = (
    {"text", "names", "migrations", "progress", "windows"},
    {"errors", "tensors", "rng", "synonyms"},
    {"files", "machine", "contracts", "colors", "prompts"},
    {"models"},
    {"settings", "folders", "gaussian", "outputs", "processes", "condition", "codec", "native", "bfloat16"},
    {"presets", "compute", "run_states", "text_reader"},
    {"tokenizer"},
    {"diffusion"},
    {"sampling", "networks", "data", "viz"},
    {"hub", "editing", "image_inputs", "oracles"},
    {"pipeline"},
    {"training", "edits"},
    {"evaluation"},
    {"report", "tuning", "selftest", "share"},
    {"jobs"},
    {"web"},
    {"cli"},
    {"__main__"},
)
"""Lowest first. A part is a module or a folder of the package; it imports lower rows, or its own folder."""
ROW = {part: number for number, row in enumerate(ROWS) for part in row}

KNOWS_NOTHING_OF = {
    "networks": {"diffusion"},
    "data": {"diffusion"},
    "viz": {"diffusion"},
    "editing": {"networks", "data", "viz"},
    "oracles": {"networks", "data", "viz", "settings", "files", "folders", "processes"},
    "presets": {"errors", "tensors", "rng", "files", "gaussian"},
}
"""Lower parts that a part must do without all the same."""
WITHOUT_TORCH = {
    *("progress", "windows", "text", "names", "migrations", "synonyms", "contracts", "errors", "colors", "machine"),
    *("settings", "files", "models", "folders", "outputs", "presets", "run_states", "native", "prompts"),
}
"""What the command line needs to answer --help: quick to import."""
HEAVY = {
    *("matplotlib", "sklearn", "scipy", "diffusers", "transformers", "tensorboard", "torch.utils.tensorboard"),
    *("torch_fidelity", "constriction"),
}
"""Imported inside the function that needs it, or for the type checker alone."""
EXECUTES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "runpy"}
"""Modules that run what they read, or are made to run text."""
RUNS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.hub.load"}
"""Functions that do. A network's own `.eval()` is none of them."""
READS_TENSORS_ONLY = {"ancestral.hub.published"}
"""The one place that opens a published .pth file, with the reader that refuses everything but tensors."""


def part_of(module: str) -> str:
    """The part of the package that a dotted name lies in: ancestral.data.images -> data; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def dotted(node: ast.expr) -> str:
    """a.b.c as text; "" for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names that one statement or call imports; `from a import b` is a.b, whatever b is."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            yield from (f"{'.' * level}{module or ''}.{alias.name}" for alias in names)
        case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if dotted(func).endswith("import_module"):
            yield name


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: none inside functions or `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and dotted(child.test).endswith("TYPE_CHECKING"):
            yield from at_import_time(ast.Module(child.orelse, []))
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import_time(child)


def is_or_in(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def wrong_rows(module: str, text: str) -> list[str]:
    """Imports of `module` that go up, sideways, by a relative name, or to a part that no row lists."""
    own, faults = part_of(module), []
    if own == "":
        return []  # the package's own names are imported when they are first used
    for name in (name for node in ast.walk(ast.parse(text)) for name in imported(node)):
        if name.startswith("."):
            faults.append(f"{module}: {name} is relative")
        elif is_or_in(name, {"ancestral"}) and part_of(name) != own:
            there = part_of(name)
            allowed = ROW.get(there, len(ROWS)) < ROW[own] and there not in KNOWS_NOTHING_OF.get(own, set())
            faults += [] if allowed else [f"{module}: {own} may not import {name}"]
    return faults


def wrong_weight(module: str, text: str) -> list[str]:
    """Heavy packages, or torch in a light module, that importing `module` imports."""
    forbidden = HEAVY | ({"torch", "numpy"} if part_of(module) in WITHOUT_TORCH | {""} else set())
    names = [name for node in at_import_time(ast.parse(text)) for name in imported(node)]
    return [f"{module}: {name} is imported outside a function" for name in names if is_or_in(name, forbidden)]


def executes(module: str, text: str) -> list[str]:
    """Whatever in `module` could run what it reads."""
    faults = []
    for node in ast.walk(ast.parse(text)):
        faults += [f"{module}: imports {name}" for name in imported(node) if is_or_in(name, EXECUTES | RUNS)]
        if isinstance(node, ast.Call) and dotted(node.func) in RUNS | {f"builtins.{name}" for name in RUNS}:
            harmless = module in READS_TENSORS_ONLY and says(node, "weights_only", True)
            faults += [] if harmless else [f"{module}: calls {dotted(node.func)}"]
        if isinstance(node, ast.Call) and not says(node, "allow_pickle", False):
            faults += [f"{module}: allows pickle" for keyword in node.keywords if keyword.arg == "allow_pickle"]
    return faults


def says(call: ast.Call, argument: str, value: bool) -> bool:
    """Whether `call` is given that literal value of a named argument."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == argument]
    return any(isinstance(node, ast.Constant) and node.value is value for node in given)


def modules() -> list[tuple[str, str]]:
    """(dotted name, text) of every module of the package."""
    paths = sorted((SOURCE / "ancestral").rglob("*.py"))
    names = [".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return [(name, path.read_text(encoding="utf-8")) for name, path in zip(names, paths, strict=True)]


MODULES = modules()


def test_every_part_stands_in_exactly_one_row() -> None:
    parts = {part_of(name) for name, _ in MODULES} - {""}
    assert parts <= ROW.keys(), "a new part of the package wants a row"
    assert len(ROW) == sum(map(len, ROWS))
    assert {"diffusion", "sampling", "networks", "training", "pipeline"} <= parts, "the source was not found"


@pytest.mark.parametrize("check", [wrong_rows, wrong_weight, executes])
def test_the_package_keeps_the_rule(check) -> None:
    assert [fault for name, text in MODULES for fault in check(name, text)] == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("ancestral.diffusion.losses", "from ancestral.sampling.loop import sample"),
        ("ancestral.diffusion.losses", "import ancestral.pipeline as p"),
        ("ancestral.diffusion.losses", "def f():\n    from ancestral import hub"),
        ("ancestral.sampling.loop", "from ancestral.networks.unet import UNet"),
        ("ancestral.networks.unet", "from ancestral.diffusion.process import network_time"),
        ("ancestral.training.run", "from ancestral.evaluation import evaluate"),
        ("ancestral.training.run", "import importlib\nimportlib.import_module('ancestral.cli.main')"),
        ("ancestral.training.run", "if TYPE_CHECKING:\n    from ancestral.report import page"),
        ("ancestral.web.server", "from ancestral.cli.main import main"),
        ("ancestral.presets", "from ancestral.errors import InputError"),
        ("ancestral.settings", "from ancestral.presets import PRESETS"),
        ("ancestral.hub", "from ancestral import Pipeline"),
        ("ancestral.hub", "from .networks import unet"),
    ],
)
def test_an_import_in_the_wrong_direction_is_found(module: str, text: str) -> None:
    assert wrong_rows(module, text)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("ancestral.training.checkpointer", "if TYPE_CHECKING:\n    from ancestral.training.step import Trainer"),
        ("ancestral.pipeline", "from ancestral import hub\nfrom ancestral.settings import Config\nimport torch"),
        ("ancestral.__main__", "from ancestral.cli.main import main"),
        ("ancestral", "def __getattr__(name):\n    from ancestral.pipeline import Pipeline"),
    ],
)
def test_an_import_in_the_right_direction_is_not(module: str, text: str) -> None:
    assert wrong_rows(module, text) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("ancestral.viz.plots", "import matplotlib.pyplot as plt"),
        ("ancestral.viz.plots", "try:\n    from sklearn import svm\nexcept ImportError:\n    pass"),
        ("ancestral.viz.plots", "class A:\n    from torch.utils.tensorboard import SummaryWriter"),
        ("ancestral.viz.plots", "if TYPE_CHECKING:\n    pass\nelse:\n    import diffusers"),
        ("ancestral.settings", "import torch"),
        ("ancestral", "from torch import Tensor"),
    ],
)
def test_a_heavy_import_is_found(module: str, text: str) -> None:
    assert wrong_weight(module, text)


def test_a_heavy_import_inside_a_function_is_fine() -> None:
    text = "import torch\nif TYPE_CHECKING:\n    import matplotlib\ndef f():\n    import sklearn"
    assert wrong_weight("ancestral.viz.plots", text) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from torch import load",
        "def f(path):\n    return torch.load(path, weights_only=True)",
        "value = eval('1')",
        "exec(text)",
        "np.load(path, allow_pickle=flag)",
        "import builtins\nbuiltins.eval('1')",
    ],
)
def test_what_executes_its_input_is_found(text: str) -> None:
    assert executes("ancestral.hub", text)


def test_the_exception_for_published_weights_is_narrow() -> None:
    with_tensors, with_anything = "torch.load(path, weights_only=True)", "torch.load(path, weights_only=False)"
    assert executes("ancestral.hub.published", with_tensors) == []
    assert executes("ancestral.hub.published", with_anything)
    assert executes("ancestral.hub", with_tensors)


def test_a_network_in_evaluation_mode_executes_nothing() -> None:
    text = "network.eval()\nnp.load(path, allow_pickle=False)\nre.compile('a')\nfrom safetensors.torch import load"
    assert executes("ancestral.hub", text) == []


def test_the_public_names_are_those_that_type_checkers_see() -> None:
    """`ancestral.X` is found lazily by a table; a name in one list and not in the other is broken for somebody."""
    text = (SOURCE / "ancestral" / "__init__.py").read_text(encoding="utf-8")
    for_checkers = {
        (node.module, alias.name)
        for outer in ast.parse(text).body
        if isinstance(outer, ast.If)
        for node in outer.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    package = import_module("ancestral")
    assert for_checkers == {(home, name) for name, home in package._HOME.items()}
    assert all(getattr(package, name) is getattr(import_module(home), name) for home, name in for_checkers)
    assert {name for _, name in for_checkers} <= set(dir(package))
