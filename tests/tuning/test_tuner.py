"""Tuning a real, tiny pipeline: what it leaves alone, and that the work it times is the work there is."""

from collections.abc import Callable

import pytest
import torch
from pipelines import TINY

from ancestral import compute
from ancestral.compute import Choices
from ancestral.pipeline import Pipeline
from ancestral.settings import ComputeSettings, Config, ImageSpec, SamplingSettings, TrainingSettings
from ancestral.training.memory import peak_bytes
from ancestral.tuning import tune
from ancestral.tuning.choosing import CannotCompute
from ancestral.tuning.price import images_that_fit
from ancestral.tuning.tuner import (
    CALLS,
    KEPT,
    Stopwatch,
    as_in_training,
    bytes_of_an_image,
    generating,
    replica,
    training,
)

TRAINING = TrainingSettings(steps=1, batch_size=4, warmup_images=0)
SAMPLING = SamplingSettings(steps=5)
CONFIG = Config(network=TINY, training=TRAINING, sampling=SAMPLING)
SPEC = ImageSpec(channels=1, height=8, width=8, class_names=("cat", "dog"))
CPU = torch.device("cpu")
Work = Callable[[Pipeline], Callable[[], float]]


def pipeline(config: Config = CONFIG) -> Pipeline:
    return Pipeline.fresh(config, SPEC, CPU)


def quiet(text: str) -> None:
    pass


def test_tuning_changes_neither_the_pipeline_nor_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = pipeline()
    before = made.weights_hash(), made.compute, made.config, torch.get_num_threads(), torch.get_rng_state()
    modes = [(p.requires_grad, p.stride()) for p in made.network.parameters()], made.network.training
    found = tune(made, 0.005, quiet)
    assert found.comparisons and {c.choice for c in found.comparisons} >= {"micro_batch", "chunk"}
    assert before[:-1] == (made.weights_hash(), made.compute, made.config, torch.get_num_threads())
    assert torch.equal(before[-1], torch.get_rng_state())
    assert modes == ([(p.requires_grad, p.stride()) for p in made.network.parameters()], made.network.training)
    assert not compute.tuned_file(TINY, SPEC, CPU).exists(), "storing is the caller's"


def test_threads_and_random_numbers_are_put_back_whatever_happens() -> None:
    before = torch.get_num_threads(), torch.get_rng_state(), torch.backends.cudnn.benchmark
    with pytest.raises(ZeroDivisionError), as_in_training(CPU):
        torch.set_num_threads(before[0] + 1)
        torch.manual_seed(int(torch.rand(1)) // 0)
    assert torch.get_num_threads() == before[0] and torch.equal(torch.get_rng_state(), before[1])
    assert torch.backends.cudnn.benchmark == before[2]


def test_settings_are_held_and_a_stored_choice_is_no_setting() -> None:
    """Trap: tuning again starts from what was found before, and never finds back."""
    compute.save_tuned(Choices(chunk=16, micro_batch=1), TINY, SPEC, CPU)
    try:
        made = pipeline(CONFIG.model_copy(update={"compute": ComputeSettings(micro_batch=2)}))
        assert made.compute.chunk == 16
        found = tune(made, 1e-9, quiet)
        assert found.usual == compute.defaults(CPU, SPEC).model_copy(update={"micro_batch": 2})
        assert "micro_batch" not in {c.choice for c in found.comparisons}
    finally:
        compute.remove_tuned(TINY, SPEC, CPU)


def test_it_says_what_it_does_and_how_long_it_may_go_on() -> None:
    said: list[str] = []
    tune(pipeline(), 0.005, said.append)
    assert said and all(line.endswith(" left") for line in said)


def test_a_training_step_is_the_trainers_and_moves_the_copy_only() -> None:
    made = pipeline()
    copied = replica(made, Choices(micro_batch=2))
    before = copied.weights_hash()
    assert training(copied)() == TRAINING.batch_size
    assert copied.weights_hash() != before == made.weights_hash()
    assert copied.compute.micro_batch == 2


def calls_of(made: Pipeline) -> list[int]:
    """The batch of each call of the network."""
    sizes: list[int] = []
    made.network.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    return sizes


def test_generating_calls_the_network_on_a_chunk_and_counts_its_part_of_the_images() -> None:
    copied = replica(pipeline(), Choices(chunk=6))
    sizes = calls_of(copied)
    assert generating(copied)() == pytest.approx(6 * CALLS / SAMPLING.steps)
    assert sizes == [6] * CALLS


@pytest.mark.parametrize("work", [training, generating])
def test_the_order_in_memory_is_that_of_what_is_computed_not_only_of_the_weights(work: Work) -> None:
    """Trap: a convolution of images that lie channels-last answers so, whatever its weights are."""
    colours = ImageSpec(channels=3, height=8, width=8)
    copied = replica(Pipeline.fresh(CONFIG, colours, CPU), Choices())
    orders: list[bool] = []
    for module in copied.network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, args, out: orders.append(out.is_contiguous()))
    work(copied)()
    assert {*orders} == {False}


def test_a_chain_shorter_than_what_is_timed_is_taken_whole() -> None:
    short = CONFIG.model_copy(update={"sampling": SamplingSettings(steps=1)})
    copied = replica(pipeline(short), Choices(chunk=3))
    assert generating(copied)() == 3


def test_a_run_whose_budget_is_used_up_can_be_measured() -> None:
    """Trap: a learning rate of 0 and a budget that ends after the first step."""
    falling = TRAINING.model_copy(update={"lr_schedule": "linear"})
    copied = replica(pipeline(CONFIG.model_copy(update={"training": falling})), Choices())
    step, hashes = training(copied), [copied.weights_hash()]
    for _ in range(3):
        step()
        hashes.append(copied.weights_hash())
    assert len({*hashes}) == 4


def test_no_more_networks_are_kept_than_are_compared() -> None:
    watch = Stopwatch(pipeline())
    for chunk in (1, 2, 1, 3, 1):
        assert watch("generating", Choices(chunk=chunk)) > 0
        assert len(watch.actions) <= KEPT
    assert {choices.chunk for _, choices in watch.actions} == {1, 3}


def out_of_memory(*of_a_call: object) -> None:
    raise torch.OutOfMemoryError("tried to allocate\n 20.00 GiB")


def test_what_torch_refuses_is_told_with_the_choices_that_asked_for_it() -> None:
    made = pipeline()
    made.network.register_forward_pre_hook(out_of_memory)
    with pytest.raises(CannotCompute, match=r"tried to allocate 20\.00 GiB") as fault:
        Stopwatch(made)("generating", Choices(chunk=7))
    assert fault.value.choices.chunk == 7 and "\n" not in str(fault.value)


def test_peak_bytes_are_those_of_the_tensors_alive_at_once() -> None:
    megabyte = 2**18  # of float32

    def one_after_another() -> None:
        for _ in range(5):
            torch.ones(megabyte)

    def together() -> None:
        first = torch.ones(megabyte)
        second = first + 1
        second.view(512, -1).add_(first.view(512, -1))  # a view and a change in place hold nothing new

    def in_inference_mode() -> None:
        with torch.inference_mode():
            together()

    assert peak_bytes(one_after_another) in (2**20, 2**21)  # the next is made before the last is let go, or after
    assert peak_bytes(together) == peak_bytes(in_inference_mode) == 2**21


def test_generating_an_image_takes_its_states_and_hardly_more_than_the_tensors_alive_at_once() -> None:
    least = 8 * 8 * 8 * 4  # a state of the first level, in bytes
    assert least <= bytes_of_an_image(pipeline()) <= 100 * least


def test_fewer_images_fit_where_one_takes_more() -> None:
    assert images_that_fit(10**30, CPU) == 1
    assert 5 < images_that_fit(10**5, CPU) / images_that_fit(10**6, CPU) < 20
