"""Plans: every sampler on every grid, pipelines and edits with the same seeds, and files that are none.

That plan and sampler agree, guided, clipped and inpainted, is a law of the self-test.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pipelines import answering, untrained

import ancestral_lite as lite
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import rectified
from ancestral.diffusion.variances import beta_tilde
from ancestral.editing.inpaint import Rounds, outside_box
from ancestral.edits import inpaint
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import GRIDS, PARAMETERIZATIONS, build_sampler
from ancestral.sampling.plan import Plan, compile_plan
from ancestral.selftest.checks import largest
from ancestral.selftest.plans import apart
from ancestral.selftest.samplers import KINDS
from ancestral.settings import SamplingSettings
from ancestral.tensors import to_pixels

STRAIGHT = GaussianDiffusion(rectified(40), PARAMETERIZATIONS["v"], beta_tilde, "flow")
"""Nothing of x0 is left where chains begin."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_is_the_sampler_on_every_grid(kind: str) -> None:
    settings = SamplingSettings(sampler=kind)
    sampler = build_sampler(settings, STRAIGHT)
    for grid in GRIDS.values():
        assert largest(apart(STRAIGHT, sampler, settings, grid(STRAIGHT.schedule, 6))) < 1e-10


SEEDS = (3, 17, 2**40)
LABELS = torch.tensor([0, 2, 1])


def small() -> Pipeline:
    changes = {"training": {"minutes": 1, "label_dropout": 0.1}, "compute": {"precision": "float32"}}
    return answering(untrained((1, 8, 8), ("a", "b", "c"), changes))


def network_of(pipeline: Pipeline) -> lite.NetworkCall:
    """Its network for a runner."""

    @torch.inference_mode()
    def network(x: lite.Array, time: lite.Array, labels: lite.LabelArray) -> lite.Array:
        condition = pipeline.condition(torch.as_tensor(labels), len(x))
        return pipeline.network(torch.from_numpy(x), torch.from_numpy(time), condition).numpy()

    return network


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "unipc-2", "guidance": 3.0, "guidance_rescale": 0.5, "negative": "b"},
        {"sampler": "ancestral", "guidance": 2.0, "guidance_interval": (0.3, 3.0), "clip": "dynamic"},
    ],
)
def test_a_seed_gives_the_pipelines_image_without_torch(settings: dict[str, Any]) -> None:
    """In float32: rounding alone is between them, and one level of a pixel at the most."""
    pipeline, how = small(), SamplingSettings(steps=8, **settings)
    plan = lite.read_plan(pipeline.plan(how).to_json())
    theirs = [*lite.sample(plan, network_of(pipeline), lite.SeededNoise(SEEDS, (1, 8, 8)), LABELS.numpy())]
    ours = [*pipeline.steps(SEEDS, LABELS, how)]
    assert [(step.t, step.s) for step in ours] == [(step.t, step.s) for step in theirs]
    end = torch.from_numpy(theirs[-1].x_s)
    assert end.dtype == torch.float32 and float((ours[-1].x_s - end).abs().max()) < 1e-4
    assert int((to_pixels(end).int() - to_pixels(ours[-1].x_s).int()).abs().max()) <= 1


def test_a_seed_gives_the_filling_of_an_edit_and_keeps_pixels_to_the_bit() -> None:
    pipeline, how, keep = small(), SamplingSettings(sampler="dpm++2m", steps=6), outside_box(8, 8, 2, 2, 6, 7)
    image = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    plan = lite.read_plan(pipeline.plan(how).to_json())
    given = lite.SeededNoise(SEEDS, (1, 8, 8)), image.numpy(), keep.numpy(), LABELS.numpy(), 3, 2
    *_, found = lite.inpaint(plan, network_of(pipeline), *given)
    *_, wanted = inpaint(pipeline, image, keep, SEEDS, LABELS, how, Rounds(3, jump=2))
    assert float((wanted.x_s - torch.from_numpy(found.x_s)).abs().max()) < 1e-4
    assert torch.equal(torch.from_numpy(found.x_s)[:, :, keep], image.expand(3, 1, 8, 8)[:, :, keep])


GOOD = json.loads(small().plan(SamplingSettings(sampler="dpm++2m", steps=5)).to_json())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda plan: plan.update(version=2), "version: expected one of 1, got 2"),
        (lambda plan: plan.update(format="onnx"), "format: expected one of ancestral-plan"),
        (lambda plan: plan.update(steps=[]), "steps: expected at least 1 value"),
        (lambda plan: plan["levels"].pop(), "expected a level for every timestep, got none for 1"),
        (lambda plan: plan["levels"][0].update(x0=[1, 2, 3]), "levels: expected at most 2 values"),
        (lambda plan: plan["steps"].pop(1), "expected steps that fall, each from where the one before has ended"),
        (lambda plan: plan["steps"][1]["moves"][0]["x"].update({"x0.-1": 1.0}), "vectors that are there, got 'x0.-1'"),
        (lambda plan: plan["steps"][1]["moves"][0]["calls"][0]["x"].update({"x0.0": 1.0}), "got 'x0.0'"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_in_one_line(change: Callable[[Any], object], said: str) -> None:
    assert Plan.from_json(json.dumps(GOOD))
    changed = copy.deepcopy(GOOD)
    change(changed)
    with pytest.raises(InputError) as refused:
        Plan.from_json(json.dumps(changed), "plan.json")
    assert str(refused.value).startswith("plan.json: ") and said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "settings", [{"cache": 2}, {"guidance": 2.0, "guidance_by": "autoguidance"}, {"clip": "dynamic"}]
)
def test_what_a_plan_cannot_say_is_refused(settings: dict[str, Any]) -> None:
    how = SamplingSettings(**{"clip": "none", **settings})
    with pytest.raises(InputError, match=f"expected {[*settings][-1]}"):
        compile_plan(STRAIGHT, build_sampler(how, STRAIGHT), torch.tensor([40, 20, 0]), how, None, 0)
