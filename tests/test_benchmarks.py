"""The benchmarks measure what they say: the peers are the same networks, ratios are of pairs. No times."""

import itertools
import json
import warnings
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ancestral.networks.unet import UNet
from ancestral.settings import UNetSettings
from benchmarks import ours
from benchmarks.__main__ import NAMES, main
from benchmarks.ceiling import Ceiling
from benchmarks.child import peak_mib, run_child
from benchmarks.choices import FORWARDS, RECIPES
from benchmarks.flops import forward_flops, step_flops
from benchmarks.machine import Machine
from benchmarks.markdown import markdown
from benchmarks.pairs import Case, Contestant, compare, spread, timed
from benchmarks.peers import diffusers, teaching
from benchmarks.plot import ratios
from benchmarks.recipe import recipe_forward, recipe_step
from benchmarks.record import file_for, written
from benchmarks.table import as_result, quantity, table
from benchmarks.workloads import WORKLOADS, paper, smallest

ROOT = Path(__file__).parents[1]
HERE = Machine("Intel(R) Xeon(R) CPU @ 2.0GHz", 2, 1, 8.0, None, "avx512-bf16", "3.11", "2.13")


@pytest.fixture(autouse=True)
def diffusers_warns_of_itself() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers  # noqa: F401


def test_the_teaching_network_has_its_published_size() -> None:
    with torch.device("meta"):
        network = teaching.TeachingNetwork()
    assert sum(parameter.numel() for parameter in network.parameters()) == 10_188_081
    assert network(torch.zeros(2, 1, 28, 28, device="meta"), torch.zeros(2, device="meta")).shape == (2, 1, 28, 28)


def test_the_teaching_networks_parts_are_where_they_were_published() -> None:
    """Attention after every residual: 2 layers in 3 levels down, 2 middles and 3 levels up; each carried by a 1x1."""
    network = teaching.TeachingNetwork()
    kinds = [type(module).__name__ for module in network.modules()]
    assert kinds.count("Attention") == 3 * 2 + 2 * 2 + 3 * 2
    assert kinds.count("Residual") == 3 * 2 + 2 * 3 + 3 * 2
    assert [m.stride for m in network.shrink if isinstance(m, torch.nn.Conv2d)] == [(2, 2), (2, 2)]
    assert all(m.num_groups == 8 for m in network.modules() if isinstance(m, torch.nn.GroupNorm))


@pytest.mark.parametrize("manner", diffusers.MANNERS, ids=lambda manner: manner.name)
@pytest.mark.parametrize("key", ["paper", "small"])
def test_diffusers_is_measured_on_the_same_function(key: str, manner: diffusers.Manner) -> None:
    """Last layers start at 0, and two networks that answer 0 would agree whatever they compute."""
    work = WORKLOADS[key](True)
    pipeline = work.pipeline()
    x = work.batch()
    mine = ours.forward_pass(pipeline, x)()
    theirs = diffusers.forward_pass(diffusers.unet(pipeline, manner), x, manner)()
    assert mine.std() > 1e-3
    bfloat16 = "bfloat16" in (ours.precision(pipeline), manner.precision(pipeline.device))
    torch.testing.assert_close(mine, theirs, atol=0.05 if bfloat16 else 1e-5, rtol=0.05 if bfloat16 else 1e-4)


def test_a_step_of_the_peers_changes_every_weight() -> None:
    work = paper(True)
    network = diffusers.unet(work.pipeline(), diffusers.SCRIPT)
    before = [parameter.clone() for parameter in network.parameters()]
    step = diffusers.training_step(network, work.batch(), diffusers.SCRIPT)
    losses = [step(), step()]  # the warm-up's first rate is 0
    # A bias of the keys adds the same to every score of a query, and softmax does not see it.
    names = [name for name, _ in network.named_parameters()]
    still = [name for name, a, b in zip(names, before, network.parameters(), strict=True) if torch.equal(a, b)]
    assert [name for name in still if "to_k.bias" not in name] == []
    assert all(0.5 < loss < 2 for loss in losses), "against unit noise an untrained network's loss is about 1"


def test_operations_of_the_papers_network_are_those_published() -> None:
    """6.22 GMAC forward; a backward pass does about twice that, all but the first convolution's share."""
    with torch.device("meta"):
        network = UNet(paper(False).config.network, 3, 3)
    forward = forward_flops(network, ours.call, (2, 3, 32, 32))
    assert forward / 2 / 2 == pytest.approx(6.22e9, rel=1e-3)
    assert step_flops(network, ours.call, (2, 3, 32, 32)) / forward == pytest.approx(3, abs=0.01)


def test_a_network_keeps_its_numbers_when_it_is_counted() -> None:
    network = UNet(UNetSettings(widths=(8,), layers=1, attention=(), norm_groups=4), 1, 1)
    assert forward_flops(network, ours.call, (1, 1, 8, 8)) > 0
    assert network.training and not any(p.is_meta or not p.requires_grad for p in network.parameters())


def test_ratios_are_of_one_round_not_of_medians() -> None:
    """A machine that slows fourfold in the middle of a run: both values change, no ratio does."""
    slow = [1.0, 1.0, 4.0, 4.0, 1.0, 1.0]

    def costs(factor: float) -> Contestant:
        values = iter([factor * each for each in slow])
        return Contestant(str(factor), lambda: next(values))

    ours_, theirs = compare(Case("", [costs(1.0), costs(3.0)]), rounds=5).measured
    assert (ours_.value.low, ours_.value.high) == (1, 4) and ours_.ratio is None
    assert theirs.ratio == spread([3.0])


def test_contestants_alternate_and_the_first_round_is_unseen() -> None:
    calls: list[str] = []

    def contestant(name: str) -> Contestant:
        return Contestant(name, lambda: float(calls.append(name) or len(calls)))

    result = compare(Case("", [contestant("a"), contestant("b")]), rounds=2)
    assert "".join(calls) == "ababba"
    assert all(who.value.low > 2 for who in result.measured)


def test_a_measure_repeats_until_the_clock_can_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=0.5)
    monkeypatch.setattr("benchmarks.pairs.time_on", lambda device: next(ticks))
    calls: list[int] = []
    seconds = timed(lambda: calls.append(1), shortest=2.0, per=5)()
    assert len(calls) > 2 and 0 < seconds * len(calls) * 5 <= 4


def test_another_benchmarks_results_are_kept(tmp_path: Path) -> None:
    result = compare(Case("case", [Contestant("a", lambda: 1.0), Contestant("b", lambda: 2.0)], goals={"b": 3.0}), 2)
    file = file_for(HERE, tmp_path, quick=False)
    written(file, HERE, [], {"one": [result]})
    record = written(file, HERE, [], {"two": [result]})
    assert record == json.loads(file.read_text()) and {*record["benchmarks"]} == {"one", "two"}
    assert as_result(record["benchmarks"]["one"]["results"][0]) == result
    assert file.name == "intel-xeon-2-cores-avx512-bf16.json" != file_for(HERE, tmp_path, quick=True).name


def test_table_and_chart_say_who_misses_a_goal() -> None:
    case = Case("case", [Contestant("a", lambda: 0.5, 4_000_000, "float32"), Contestant("b", lambda: 1.0)],
                goals={"b": 3.0}, at_most=0.6)  # fmt: skip
    result = compare(case, 2)
    console = Console(width=150, record=True, file=StringIO())
    console.print(table("title", [result], {"float32": 0.016}))
    text = console.export_text()
    assert "<= 600 ms, met" in text and ">= 3, missed" in text
    assert "0.002" in text and "0.008" in text and "50%" in text, "2 MMAC in half a second are half the ceiling"
    axes = ratios("title", [result]).axes[0]
    assert axes.get_xlim()[1] > 3, "the goal is in sight"


def test_the_page_shows_what_was_stored_without_empty_columns(tmp_path: Path) -> None:
    case = Case("case", [Contestant("a", lambda: 0.5, 4_000_000, "float32"), Contestant("b", lambda: 1.0)],
                goals={"b": 3.0})  # fmt: skip
    ceiling = [Ceiling("convolution", "float32", "3x3", rate) for rate in (0.016, 0.008)]
    record = written(file_for(HERE, tmp_path, quick=False), HERE, ceiling, {"one": [compare(case, 2)]})
    assert markdown(record).splitlines() == [
        "### one",
        "",
        "| case | who | median | times ours | goal | multiply-adds | of the ceiling |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| case | a | 500 ms |  |  | 0.0 G | 50% |",
        "|  | b | 1 s | **2** (2 to 2) | at least 3 |  |  |",
    ]
    plain = Case("case", [Contestant("a", lambda: 0.5)])
    assert "| case | who | median |" in markdown(written(tmp_path / "x.json", HERE, [], {"one": [compare(plain, 2)]}))


@pytest.mark.parametrize(("value", "text"), [(0.5, "500 ms"), (2e-5, "20 µs"), (2.0, "2 s"), (1234.5, "1234 s")])
def test_quantities(value: float, text: str) -> None:
    assert quantity(value, "s") == text


@pytest.mark.parametrize("name", RECIPES)
def test_every_choice_of_a_step_runs(name: str) -> None:
    recipe = RECIPES[name]
    if recipe.micro_batches <= smallest(True).batch_size:
        recipe_step(smallest(True), recipe)()


@pytest.mark.parametrize("name", [name for name in FORWARDS if "256" not in name])
def test_every_choice_of_a_call_runs(name: str) -> None:
    recipe_forward(smallest(True), FORWARDS[name])()


@pytest.mark.parametrize("name", ["checkpoint", pytest.param("run", marks=pytest.mark.slow)])
def test_a_benchmark_writes_tables_json_and_a_chart(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--rounds", "1", "--only", name, "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("*-quick.json")
    record = json.loads(file.read_text())
    assert record["machine"]["torch"] == torch.__version__
    assert {product["kind"] for product in record["ceiling"]} == {"matrix", "convolution", "its gradients"}
    assert all(product["gflops_per_second"] > 0 for product in record["ceiling"])
    for result in record["benchmarks"][name]["results"]:
        assert result["measured"][0]["name"] == ours.NAME and result["measured"][0]["ratio"] is None
        for who in result["measured"][1:]:
            assert 0 < who["ratio"]["low"] <= who["ratio"]["median"] <= who["ratio"]["high"]
    assert (tmp_path / f"{file.stem}-{name}.png").read_bytes().startswith(b"\x89PNG")
    assert ours.NAME in capsys.readouterr().out
    if name == "run":
        notes = [who["note"] for result in record["benchmarks"]["run"]["results"] for who in result["measured"]]
        assert "1000 steps, extrapolated from 2" in notes, "what was not run to its end says so"


def test_help_names_the_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in NAMES)


@pytest.mark.slow
def test_a_child_takes_the_steps_it_is_asked_for_and_its_memory_is_its_own() -> None:
    """Trap: what `getrusage` tells of a child begins at what its parent held."""
    ballast = torch.ones(600 * 2**20, dtype=torch.uint8)
    request = {"workload": "smallest", "recipe": {"memory": "channels-first"}, "quick": True, "steps": 1}
    found = run_child(request, {"OMP_NUM_THREADS": "1"})
    assert found["seconds"] > 0
    assert 50 < found["peak_mib"] < 600 < peak_mib()
    assert ballast[-1] == 1


def test_every_name_of_the_page_is_a_benchmark() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"| `{name}` |" not in page] == []
