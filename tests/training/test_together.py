"""Several processes train one network: the same steps however many, bit for bit when stopped, agreed in trouble.

Each function without `test_` is what every process runs (ranks.py); it returns what JSON can hold.
"""

import errno
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from ranks import in_processes, start_processes
from runs import ATTENDS, TRANSFORMER, TWO_LEVELS, fresh, tiny
from safetensors.torch import load_file
from test_resume import assert_same_run

from ancestral.compute import Choices
from ancestral.data.imageset import Parts
from ancestral.data.loader import Loader
from ancestral.errors import CannotWrite, Diverged, InputError, Lost
from ancestral.pipeline import Pipeline
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.training.checkpoint import load_checkpoint, newest_checkpoint
from ancestral.training.denoiser import Denoising
from ancestral.training.logs import read_log
from ancestral.training.loop import Progress, train
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer

EPOCH = 20
"""Training images: with batches of 8 an epoch ends within step 3, and again with step 5."""
SHORT = {"steps": 6, "checkpoint_every_steps": 3, "log_every_steps": 2}
STOPS = [1, 2, 3, 5]
"""The first step, before and at a checkpoint, and at the end of an epoch."""
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two levels": {"network": TWO_LEVELS},
    "bf16": {"compute": {"precision": "bfloat16"}},
    "parts": {"compute": {"micro_batch": 2}},
    "muon": {"training": {"optimizer": "muon"}},
    "transformer": {
        "network": {**TRANSFORMER, "dropout": 0.0},
        "training": {"optimizer": "muon", "augment": 0.5, "ema_snapshots": 4},
    },
    "linear attention": {"network": {**ATTENDS, "dropout": 0.0}, "training": {"optimizer": "muon"}},
    "importance": {"training": {"loss": "vlb", "timesteps": "importance", "ema_snapshots": 4}},
    "text": {
        "network": {**TWO_LEVELS, "dropout": 0.0},
        "text": {"name": "learned", "width": 16, "layers": 1, "length": 8},
        "training": {"optimizer": "muon", "sample_every_steps": 2, "ema_snapshots": 4},
        "sampling": {"cache": 2},
    },
    "text transformer": {
        "network": {**TRANSFORMER, "dropout": 0.0},
        "text": {"name": "learned", "width": 16, "layers": 1, "length": 8, "masked": True},
        "training": {"sample_every_steps": 2},
        "sampling": {"guidance": 2},
    },
}


def small(changes: dict[str, Any] | None = None) -> tuple[Pipeline, Parts]:
    pipeline, parts = fresh(tiny(changes))
    return pipeline, parts._replace(train=parts.train.sliced(0, EPOCH))


def steps(
    processes: Processes,
    folder: Path,
    parallel: str = "ddp",
    changes: dict[str, Any] | None = None,
    stop: int | None = None,
    said: list[str] | None = None,
) -> list[Progress]:
    """Trains, to the end or until it is asked to stop at step `stop`, inside that step."""
    pipeline, parts = small(changes)
    asked = False

    def wish() -> bool:
        return asked

    say: Callable[[str], None] = (lambda text: None) if said is None else said.append
    run = train(pipeline, parts, RunFolder(folder), say, wish, processes, parallel)  # type: ignore[arg-type]
    seen: list[Progress] = []
    asked = stop == 1
    for progress in run:
        seen.append(progress)
        asked = stop is not None and progress.step >= stop - 1 and processes.rank == processes.world_size - 1
        if progress.stop:
            break
    run.close()  # type: ignore[attr-defined]
    return seen


def settled(folder: Path) -> dict[str, torch.Tensor]:
    """The weights and averages of the newest checkpoint, and those of snapshots."""
    newest = newest_checkpoint(folder / "checkpoints", pytest.fail)
    assert newest is not None
    tensors, _ = load_checkpoint(newest)
    tensors |= {path.stem: load_file(path) for path in (folder / "averages").glob("*")}
    groups = sorted(tensors.keys() - {"optimizer", "timesteps"})
    return {f"{group} {name}": tensors[group][name] for group in groups for name in tensors[group]}


def apart(one: Path, other: Path) -> float:
    """The largest difference of a weight, over the largest weight of its tensor."""
    ours, theirs = settled(one), settled(other)
    assert ours.keys() == theirs.keys()
    return max(float((ours[k] - theirs[k]).abs().max() / theirs[k].abs().max().clamp(min=1e-3)) for k in ours)


# stopping costs nothing


def resume_matrix(
    processes: Processes, folder: Path, parallel: str, variants: list[str], stops: list[int]
) -> list[int]:
    """For each variant an uninterrupted run, and runs that one process asked to stop, then started again."""
    stopped = []
    for variant in variants:
        changes = {**VARIANTS[variant]}
        changes["training"] = {**changes.get("training", {}), **SHORT}
        steps(processes, folder / variant / "whole", parallel, changes)
        for stop in stops:
            run = folder / variant / f"stopped-{stop}"
            stopped.append(steps(processes, run, parallel, changes, stop)[-1].step)
            steps(processes, run, parallel, changes)
    return stopped


@pytest.mark.parametrize(
    ("world", "parallel", "variants", "stops"),
    [
        (2, "ddp", ["importance"], [5]),
        (2, "fsdp", ["plain"], [3]),
        pytest.param(
            2, "fsdp", ["text", "transformer", "linear attention", "text transformer"], [3], marks=pytest.mark.slow
        ),
        pytest.param(1, "ddp", ["bf16", "parts", "muon"], STOPS, marks=pytest.mark.slow),
        pytest.param(2, "ddp", ["plain", "importance", "bf16", "parts"], STOPS, marks=pytest.mark.slow),
        pytest.param(3, "ddp", ["plain"], STOPS, marks=pytest.mark.slow),
        pytest.param(2, "fsdp", ["two levels", "bf16", "parts", "muon", "importance"], STOPS, marks=pytest.mark.slow),
        pytest.param(3, "fsdp", ["plain"], STOPS, marks=pytest.mark.slow),
    ],
)
def test_runs_of_several_processes_go_on_as_if_never_stopped(
    tmp_path: Path, world: int, parallel: str, variants: list[str], stops: list[int]
) -> None:
    """Bit for bit; asked by the last process only, in the middle of a step, and all stop after that step. At three
    processes a sum depends on where DDP has put its terms."""
    stopped = in_processes(world, resume_matrix, tmp_path, parallel, variants, stops, seconds=600)
    assert all(each == stops * len(variants) for each in stopped)
    for variant in variants:
        for stop in stops:
            assert_same_run(tmp_path / variant / "whole", tmp_path / variant / f"stopped-{stop}")


# all were told the same


def told_otherwise(processes: Processes, folder: Path) -> str:
    """What a process says whose learning rate, seed and images depend on its rank."""
    rank = processes.rank
    pipeline, parts = small({"training": {"lr": 1e-3 * (1 + rank)}, "seed": rank})
    parts = parts._replace(train=parts.train.sliced(0, EPOCH - rank))
    with pytest.raises(InputError) as caught:
        next(train(pipeline, parts, RunFolder(folder), lambda text: None, processes=processes))
    return str(caught.value)


def test_processes_that_were_told_otherwise_all_say_what(tmp_path: Path) -> None:
    """Trap: their gradients were averaged all the same, and nothing looked wrong."""
    one, other = in_processes(2, told_otherwise, tmp_path / "run")
    assert one == other and "\n" not in one and not (tmp_path / "run").exists()
    assert all(part in one for part in ("process 1 has training.lr 0.002, not 0.001", "seed 1, not 0", "images"))


# the same steps however many


def draws(processes: Processes, folder: Path, batch_size: int) -> list[list[float]]:
    """What the network is given of this process's share of the first steps: x_t, t, labels and how it was changed."""
    pipeline, parts = small({"training": {"batch_size": batch_size, "augment": 0.5}})
    trainer = Trainer(Denoising(pipeline), parts.train, processes)
    seen: list[list[float]] = []
    trainer.network.register_forward_pre_hook(
        lambda _, given: seen.extend(
            [float(x) for x in tensor.flatten()] for tensor in (*given[:2], given[2].labels, given[2].augmentation)
        )
    )
    for _ in range(4):
        trainer.advance()
    return seen


@pytest.mark.parametrize("world", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_the_shares_are_the_batch_of_one_process(tmp_path: Path, world: int) -> None:
    """Images, noise, t, labels, which are hidden, augmentation: 8 images are dealt as 4 + 4 and as 3 + 3 + 2."""
    whole = draws(SINGLE_PROCESS, tmp_path, 8)
    assert len(whole) == 16
    shares = in_processes(world, draws, tmp_path, 8)
    for k, numbers in enumerate(whole):
        assert [x for share in shares for x in share[k]] == numbers


def train_once(processes: Processes, folder: Path, name: str, parallel: str, changes: dict[str, Any]) -> int:
    return len(steps(processes, folder / name, parallel, changes))


EXACT = {"network": {"dropout": 0.0}, "compute": {"precision": "float32"}}
"""What laws of rounding need: no dropout, whose masks belong to a process, and float32 on every machine. In bfloat16 a
gradient of shares is off by a thousandth, and Adam's first steps make a tenth of a weight of it."""


SOAKED = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("plain", "parts", "importance", "text", "linear attention", "muon")
]


@pytest.mark.parametrize("variant", ["transformer", *SOAKED])
def test_one_process_two_and_three_and_rows_take_the_same_steps(tmp_path: Path, variant: str) -> None:
    """Uneven shares included: a mean of the means of 4 and 3 images is off by a hundred times as much.

    Adam's first steps divide rounding by rounding where a gradient is next to nothing, so some weights are as far apart
    as a small share of a step.
    """
    changes = {**EXACT, **VARIANTS[variant], "compute": {**EXACT["compute"], **VARIANTS[variant].get("compute", {})}}
    changes["training"] = {**changes.get("training", {}), "batch_size": 7, "steps": 6}
    train_once(SINGLE_PROCESS, tmp_path, "one", "ddp", changes)
    for world, parallel in ((2, "ddp"), (3, "ddp"), (2, "fsdp")):
        in_processes(world, train_once, tmp_path, f"{parallel}{world}", parallel, changes)
        assert apart(tmp_path / "one", tmp_path / f"{parallel}{world}") < 2e-3
        logs = [read_log(tmp_path / name / "log.jsonl") for name in ("one", f"{parallel}{world}")]
        for ours, theirs in zip(*([each for each in log if "loss" in each] for log in logs), strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
            assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


def gradient(processes: Processes, folder: Path, parallel: str, batch_size: int, precision: str) -> list[float]:
    """Norm and some entries of the first step's gradient, in parts of 2 images."""
    compute = {"precision": precision, "micro_batch": 2}
    training = {"batch_size": batch_size, "lr": 1e-9, "clip_norm": None}
    network = {**TWO_LEVELS, "dropout": 0.0}
    pipeline, parts = small({**EXACT, "network": network, "training": training, "compute": compute})
    trainer = Trainer(Denoising(pipeline), parts.train, processes, parallel)  # type: ignore[arg-type]
    entries: list[float] = []

    def keep(*_: object) -> None:
        weight = trainer.engine.weights["conv_out.weight"]
        whole = weight.grad if trainer.engine.rows is None else trainer.engine.rows.gather(weight, weight.grad)
        entries.extend(float(x) for x in whole.flatten())

    trainer.optimizers[0].register_step_pre_hook(keep)
    trainer.advance()
    return [trainer.record()["grad_norm"], *entries]


@pytest.mark.parametrize(("precision", "rounding"), [("float32", 1e-6), ("bfloat16", 4e-3)])
@pytest.mark.parametrize(
    ("world", "parallel"), [(3, "fsdp"), *(pytest.param(n, "ddp", marks=pytest.mark.slow) for n in (2, 3))]
)
def test_the_gradient_is_that_of_the_whole_batch_however_uneven_the_shares(
    tmp_path: Path, world: int, parallel: str, precision: str, rounding: float
) -> None:
    """In bfloat16 up to its own rounding, 1 in 256: a mean of means is off by four to eight times as much."""
    whole = torch.tensor(gradient(SINGLE_PROCESS, tmp_path, "ddp", 7, precision))
    for each in in_processes(world, gradient, tmp_path, parallel, 7, precision):
        assert float((torch.tensor(each) - whole).abs().max()) < rounding * float(whole.abs().max())


def test_a_run_goes_from_one_process_to_two_and_back(tmp_path: Path) -> None:
    def budget(count: int) -> dict[str, Any]:
        return {**EXACT, "training": {"steps": count}}

    train_once(SINGLE_PROCESS, tmp_path, "one", "ddp", budget(12))
    said: list[str] = []
    steps(SINGLE_PROCESS, tmp_path / "mixed", changes=budget(12), stop=4)
    in_processes(2, stop_at, tmp_path, "mixed", budget(12), 8)
    assert [each.step for each in steps(SINGLE_PROCESS, tmp_path / "mixed", changes=budget(12), said=said)] == [
        9,
        10,
        11,
        12,
    ]
    assert any("from here on equal up to rounding" in text for text in said)
    assert apart(tmp_path / "one", tmp_path / "mixed") < 2e-3
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("one", "mixed")]
    assert [record["step"] for record in logs[0]] == [record["step"] for record in logs[1]]


def stop_at(processes: Processes, folder: Path, name: str, changes: dict[str, Any], stop: int) -> int:
    return steps(processes, folder / name, "ddp", changes, stop)[-1].step


# checkpoints by rows


def test_rows_of_two_processes_are_read_by_one_and_by_three(tmp_path: Path) -> None:
    changes = {**EXACT, "training": {"steps": 6}}
    in_processes(2, train_once, tmp_path, "rows", "fsdp", changes)
    saved = tmp_path / "rows" / "checkpoints" / "step-00000006"
    files = {path.name for path in saved.iterdir()}
    assert {"model-00001-of-00002.safetensors", "ema-00002-of-00002.safetensors"} <= files
    assert json.loads((saved / "manifest.json").read_text())["format"] == 2
    pieces = [load_file(saved / f"model-0000{k}-of-00002.safetensors") for k in (1, 2)]
    shapes = {name: tensor.shape for name, tensor in small(changes)[0].network.state_dict().items()}
    for name, shape in shapes.items():
        held = [len(piece[name]) for piece in pieces]
        assert sum(held) == shape[0] and held[0] == -(-shape[0] // 2), "each holds half"
    longer = {**EXACT, "training": {"steps": 8}}
    train_once(SINGLE_PROCESS, tmp_path, "whole", "ddp", longer)
    assert train_once(SINGLE_PROCESS, tmp_path, "rows", "ddp", longer) == 2
    assert apart(tmp_path / "whole", tmp_path / "rows") < 2e-3
    longest = {**EXACT, "training": {"steps": 10}}
    assert in_processes(3, train_once, tmp_path, "rows", "fsdp", longest) == [2, 2, 2]
    ours = load_file(tmp_path / "rows/pipeline/unet/diffusion_pytorch_model.safetensors")
    assert {name: tensor.shape for name, tensor in ours.items()} == shapes, "the pipeline is whole"
    last = settled(tmp_path / "rows")
    assert all(torch.equal(last[f"ema {name}"], tensor) for name, tensor in ours.items())


@pytest.mark.parametrize("damage", ["missing", pytest.param("flipped", marks=pytest.mark.slow)])
def test_a_damaged_file_of_rows_is_damage(tmp_path: Path, damage: str) -> None:
    in_processes(2, train_once, tmp_path, "rows", "fsdp", {"training": {"steps": 10, "checkpoint_every_steps": 5}})
    file = tmp_path / "rows/checkpoints/step-00000010/optimizer-00002-of-00002.safetensors"
    if damage == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    said: list[str] = []
    newest = newest_checkpoint(tmp_path / "rows/checkpoints", said.append)
    assert newest is not None and newest.name == "step-00000005" and "damaged" in said[0]


def failing_save(processes: Processes, folder: Path) -> str:
    """The second process's disk is full at the second save."""
    saved = 0
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        nonlocal saved
        saved += Path(target).name.startswith("model-")
        if saved == 2 and processes.rank == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with patch.object(os, "replace", full):
        try:
            steps(processes, folder, "fsdp")
        except CannotWrite as fault:
            return str(fault)
    return ""


def test_where_one_cannot_write_its_rows_all_say_so_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    said = in_processes(2, failing_save, tmp_path)
    assert said[0] == said[1] and "No space left" in said[0]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]
    assert newest_checkpoint(tmp_path / "checkpoints", pytest.fail) is not None


# divergence


def poisoned(processes: Processes, folder: Path, parallel: str, bad: list[int], on_divergence: str) -> dict[str, Any]:
    """The last process's images are no numbers at some steps: counted as the loader is asked, so going back helps."""
    asked = 0
    batch = Loader.batch

    def poison(loader: Any, step: int) -> Any:
        nonlocal asked
        asked += 1
        found = batch(loader, step)
        hurt = asked in bad and processes.rank == processes.world_size - 1
        return found._replace(pixels=found.pixels * math.nan) if hurt else found

    said: list[str] = []
    changes = {"training": {"steps": 16, "on_divergence": on_divergence, "log_every_steps": 1}}
    with patch.object(Loader, "batch", poison):
        try:
            steps(processes, folder, parallel, changes, said=said)
        except Diverged as fault:
            return {"fault": str(fault), "said": said}
    return {"fault": "", "said": said}


@pytest.mark.parametrize("parallel", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp"])
def test_bad_images_on_one_process_are_skipped_by_all(tmp_path: Path, parallel: str) -> None:
    results = in_processes(2, poisoned, tmp_path, parallel, [3, 7, 8], "stop")
    assert [each["fault"] for each in results] == ["", ""]
    records = read_log(tmp_path / "log.jsonl")
    assert [records[step - 1]["skipped"] for step in (2, 3, 6, 8, 16)] == [0, 1, 1, 3, 3]
    assert records[2]["loss"] is None and records[15]["loss"] is not None


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_ten_in_a_row_stop_all_and_the_first_names_the_images_of_the_last(tmp_path: Path, parallel: str) -> None:
    results = in_processes(2, poisoned, tmp_path, parallel, [*range(6, 40)], "stop")
    faults = [each["fault"] for each in results]
    assert all("10 steps in a row were not finite, up to step 14" in fault for fault in faults)
    expected = Trainer(*small_trainer()).loader.batch(14).indices[4:].tolist()
    assert all(f"training images {', '.join(map(str, expected))};" in fault for fault in faults), "the last half's"
    assert newest_checkpoint(tmp_path / "checkpoints", pytest.fail) is not None


def small_trainer() -> tuple[Denoising, Any]:
    pipeline, parts = small()
    return Denoising(pipeline), parts.train


def test_all_go_back_together(tmp_path: Path) -> None:
    results = in_processes(2, poisoned, tmp_path, "ddp", [*range(7, 17)], "rollback")
    assert [each["fault"] for each in results] == ["", ""]
    assert any("going back from step" in text for text in results[0]["said"]) and not results[1]["said"]
    state = json.loads((tmp_path / "checkpoints/step-00000016/state.json").read_text())
    assert state["rollbacks"] == 1 and state["step"] == 16


# a process that is gone


def killed(processes: Processes, folder: Path) -> str:
    """The second process dies at step 7."""
    pipeline, parts = small()
    try:
        for progress in train(pipeline, parts, RunFolder(folder), lambda text: None, processes=processes):
            if progress.step == 7 and processes.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
    except Lost as fault:
        return str(fault)
    return ""


def test_the_others_are_told_when_one_is_killed_and_a_new_start_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    first, second = start_processes(2, killed, tmp_path / "killed")
    with first, second:
        assert "another process of this command is gone" in first.communicate(timeout=120)[0]
        second.communicate(timeout=60)
    assert second.returncode == -signal.SIGKILL
    in_processes(2, train_once, tmp_path, "whole", "ddp", {})
    in_processes(2, train_once, tmp_path, "killed", "ddp", {})
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


# work that is dealt


def dealt(processes: Processes, folder: Path, count: int) -> list[Any]:
    def work(k: int) -> dict[str, torch.Tensor]:
        return {"k": torch.full((k % 3,), k), "by": torch.tensor(processes.rank)}

    turns = [range(first, min(first + 3, count)) for first in range(0, count, 3)]
    mine = [work(k) for turn in turns for k in processes.my_items(turn)] + [{}]
    results = [each for i, turn in enumerate(turns) for each in processes.all_gather_tensors(mine[i], len(turn))]
    by = [int(each["by"]) for each in results]
    texts = [*processes.map(range(count), lambda k: f"{k} ü" * (k % 2))]
    return [[each["k"].tolist() for each in results], by, texts, processes.broadcast(f"from {processes.rank}")]


@pytest.mark.parametrize("count", [0, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 6))])
def test_pieces_are_dealt_in_turn_and_all_have_all_of_them(tmp_path: Path, count: int) -> None:
    results = in_processes(3, dealt, tmp_path, count)
    assert results[0] == results[1] == results[2]
    assert results[0][0] == [[k] * (k % 3) for k in range(count)]
    assert results[0][1] == [k % 3 for k in range(count)]
    assert results[0][2] == [f"{k} ü" * (k % 2) for k in range(count)] and results[0][3] == "from 0"


def precision_of(processes: Processes, folder: Path) -> list[Any]:
    own = Choices(precision="bfloat16", chunk=4) if processes.is_main else Choices(threads=1)
    computed = small()[0].with_compute(own).with_processes(processes).compute
    return [computed.precision, computed.chunk, computed.threads]


def test_all_generate_as_the_main_one_has_chosen_each_on_threads_of_its_own(tmp_path: Path) -> None:
    """Trap: machines that measured otherwise, of which each generates its images in a precision of its own."""
    assert in_processes(2, precision_of, tmp_path) == [["bfloat16", 4, None], ["bfloat16", 4, 1]]
