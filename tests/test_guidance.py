"""Guidance: against the development oracle where it has the method, else against the formula."""

import diffusers
import pytest
import torch
from diffusers.guiders import AdaptiveProjectedGuidance, ClassifierFreeZeroStarGuidance
from diffusers.guiders.guider_utils import rescale_noise_cfg
from diffusers.hooks import HookRegistry, LayerSkipConfig, apply_layer_skip

import nodes
from graph import load
from nodes.denoise import unet
from nodes.guidance import (
    guidance,
    guidance_direction,
    guidance_interval,
    manifold_scales,
    perturbed_guidance,
    projected_guidance,
    rescale_guidance,
    zero_star_guidance,
)
from nodes.kinds import SchedulerConfig
from nodes.load import load_unet
from nodes.region import keyframes
from nodes.schedule import clean_estimate, schedule, scheduler_step, split_after, start
from nodes.variants import free_u, perturb_attention, skip_layers
from runtime import Session

assert nodes.__all__  # importing registers the node types
CPU = torch.device("cpu")
PROMPT = "two strawberries on a blue background"
LEVELS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
DDIM = LEVELS | {"_class_name": "DDIMScheduler", "set_alpha_to_one": True, "clip_sample": False}


def steps(count, scheduler="ddim", **config):
    return schedule(SchedulerConfig(DDIM | config), CPU, scheduler, count)


def predictions(count=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4, 6, 8, generator=generator) for _ in range(count)]


def test_rescaling_gives_the_spread_of_the_unguided(relative):
    guided, cond = predictions()
    guided = 4 * guided
    assert (
        relative(rescale_guidance(guided, cond, 0.7), rescale_noise_cfg(guided, cond, 0.7)) < 1e-6
    )
    spread = rescale_guidance(guided, cond, 1.0).std((1, 2, 3))
    torch.testing.assert_close(spread, cond.std((1, 2, 3)))
    assert torch.equal(rescale_guidance(guided, cond, 0.0), guided)


def test_zero_star_is_the_oracles(relative):
    cond, uncond = predictions()
    theirs = ClassifierFreeZeroStarGuidance(6.0, zero_init_steps=0)
    theirs.set_state(0, 4, None)
    assert relative(zero_star_guidance(cond, uncond, 6.0), theirs.forward(cond, uncond).pred) < 1e-5
    torch.testing.assert_close(zero_star_guidance(cond, cond, 6.0), cond)


def test_a_velocity_of_zero_is_a_step_left_out():
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
    whole = schedule(SchedulerConfig(flow), CPU, steps=4)
    state = start(whole, predictions()[0])
    still = scheduler_step(whole[0], state, torch.zeros_like(state.sample))
    torch.testing.assert_close(still.sample, state.sample)
    tail = split_after(whole, 1).tail
    torch.testing.assert_close(start(tail, predictions()[0]).sample, still.sample)


@pytest.mark.parametrize(("parallel", "limit"), [(0.0, None), (0.3, 2.0), (1.0, 100.0)])
def test_projection_is_the_oracles_where_predictions_are_clean(relative, parallel, limit):
    """The oracle projects what is predicted, whatever that is; the paper the clean estimate."""
    theirs = AdaptiveProjectedGuidance(
        5.0, adaptive_projected_guidance_momentum=-0.4, eta=parallel,
        adaptive_projected_guidance_rescale=limit or 0.0, use_original_formulation=True,
    )  # fmt: skip
    theirs.set_state(0, 4, None)
    theirs.prepare_inputs({})  # where it forgets the momentum of a run before
    plan, sample = steps(3, prediction_type="sample"), predictions()[0]
    direction = None
    for step, shift in zip(plan, (1.0, 2.0, 3.0), strict=True):
        cond, uncond = (shift + part for part in predictions())
        direction = guidance_direction(step, cond, uncond, direction, -0.4)
        found = projected_guidance(step, sample, cond, direction, 6.0, parallel, limit)
        assert relative(found, theirs.forward(cond, uncond).pred) < 1e-5


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_projection_keeps_the_clean_estimate_as_long_as_it_was(relative, kind):
    sample, cond, uncond = predictions(3)
    step = steps(5, prediction_type=kind)[1]
    direction = guidance_direction(step, cond, uncond)
    plain = projected_guidance(step, sample, cond, direction, 6.0, parallel=1.0)
    assert relative(plain, guidance(cond, uncond, 6.0)) < 1e-5
    across = projected_guidance(step, sample, cond, direction, 6.0)
    before, after = (clean_estimate(step, sample, it) for it in (cond, across))
    share = (before * (after - before)).sum((1, 2, 3)) / before.square().sum((1, 2, 3))
    assert share.abs().max() < 1e-5


def test_an_interval_is_that_of_the_noise():
    plan = steps(20)
    levels = plan.table.sigmas / plan.table.alphas
    inside = guidance_interval(plan, 0.28, 5.42)
    assert inside == [bool(0.28 < level <= 5.42) for level in levels]
    assert (inside[0], inside[10], inside[-1]) == (False, True, False)
    parts = split_after(plan, 7)
    assert [*guidance_interval(parts.head), *guidance_interval(parts.tail)] == inside


def test_cfg_plus_plus_renoises_without_the_text(relative):
    plan, (sample, cond, uncond) = steps(6), predictions(3)
    scales = manifold_scales(plan, 0.6)
    table = plan.table
    for number, (step, scale) in enumerate(zip(plan, scales, strict=True)):
        state = start(plan, sample)._replace(sample=sample)
        found = scheduler_step(step, state, guidance(cond, uncond, scale)).sample
        clean = clean_estimate(step, sample, guidance(cond, uncond, 0.6))
        last = number == len(plan) - 1
        alpha, sigma = (1, 0) if last else (table.alphas[number + 1], table.sigmas[number + 1])
        assert relative(found, alpha * clean + sigma * uncond) < 1e-4
    assert manifold_scales(split_after(plan, 2).tail, 0.6) == scales[2:]
    with pytest.raises(ValueError, match="`schedule` has steps of two calls: take ddim, euler or"):
        manifold_scales(steps(4, "pndm"))


def test_keyframes_are_joined_by_straight_lines():
    plan = steps(5)
    assert keyframes(plan, [1, 9], [0, 1]) == [1, 3, 5, 7, 9]
    assert keyframes(plan, [2, 4, 0], [0.25, 0.5, 0.75]) == [2, 2, 4, 0, 0]
    assert keyframes(plan, [7], [0.5]) == [7] * 5
    assert keyframes(split_after(plan, 3).tail, [1, 9], [0, 1]) == [7, 9]
    assert keyframes(steps(1), [1, 9], [0, 1]) == [1]
    with pytest.raises(ValueError, match="there are 1 values and 2 times in `at`"):
        keyframes(plan, [1], [0, 1])
    for at in ([0.5, 0.5], [-1, 0], [0, 2]):
        with pytest.raises(ValueError, match="`at` must rise from 0 or more to 1 or less, found"):
            keyframes(plan, [1, 2], at)


@pytest.fixture(scope="module")
def theirs(tiny_stable_diffusion):
    found = diffusers.UNet2DConditionModel.from_pretrained(tiny_stable_diffusion / "unet")
    return found.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ours(tiny_stable_diffusion):
    return load_unet(str(tiny_stable_diffusion), CPU, torch.float32)


def ask(network):
    generator = torch.Generator().manual_seed(5)
    sample = torch.randn(2, 4, 12, 20, generator=generator)
    text = torch.randn(2, 9, 32, generator=generator)
    with torch.no_grad():
        if isinstance(network, diffusers.UNet2DConditionModel):
            return network(sample, torch.tensor(401.0), text).sample
        return unet(network, sample, torch.tensor(401.0), text)


def test_layers_are_skipped_and_attention_perturbed_as_by_the_oracle(theirs, ours, relative):
    plain, places = ask(ours), ["mid_block.attentions.0", "up_blocks.1.attentions.2"]
    perturbed = {"skip_attention": False, "skip_attention_scores": True, "skip_ff": False}
    for change, skipped in ((skip_layers, {}), (perturb_attention, perturbed)):
        for place in places:
            apply_layer_skip(theirs, LayerSkipConfig([0], f"{place}.transformer_blocks", **skipped))
        expected = ask(theirs)
        registry = HookRegistry.check_if_exists_or_initialize(theirs)
        registry.remove_hook("layer_skip_hook", recurse=True)
        assert relative(ask(change(ours, places)), expected) < 1e-5
        assert relative(plain, expected) > 1e-3
    assert torch.equal(ask(ours), plain)  # the network itself stays as it was


def test_free_u_is_the_oracles(theirs, ours, relative):
    theirs.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)
    expected = ask(theirs)
    theirs.disable_freeu()
    found = free_u(ours)
    assert relative(ask(found), expected) < 1e-5
    assert relative(ask(free_u(ours, (1.0, 1.0), (1.0, 1.0))), ask(ours)) < 1e-5
    assert relative(ask(ours), expected) > 1e-3
    assert found.conv_in is ours.conv_in


def test_a_part_that_is_not_there_is_named(ours):
    with pytest.raises(ValueError, match=r"`at` names mid_blok, which .* did you mean mid_block\?"):
        perturb_attention(ours, ["mid_blok"])
    with pytest.raises(ValueError, match=r"no attention of pixels to pixels stands at conv_in"):
        perturb_attention(ours, ["conv_in"])
    with pytest.raises(ValueError, match=r"no transformer block stands at down_blocks.3"):
        skip_layers(ours, ["down_blocks.3"])


def test_unconditional_networks_are_perturbed_too(tiny_ddpm):
    network = load_unet(str(tiny_ddpm), CPU, torch.float32, subfolder="")
    sample = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain, worse = (
        unet(it, sample, torch.tensor(9.0))
        for it in (network, perturb_attention(network, ["mid_block", "down_blocks.1"]))
    )
    assert (plain - worse).abs().max() > 1e-4
    guided = perturbed_guidance(plain, plain, worse, 2.0)
    torch.testing.assert_close(guided, 3 * plain - 2 * worse)


@pytest.fixture
def run(tmp_path):
    def run(graph, **inputs):
        return Session("cpu", "float32")(graph, output=str(tmp_path / "out.png"), **inputs)["image"]

    return run


@pytest.mark.slow
def test_perturbed_attention_draws_the_oracles_picture(tiny_stable_diffusion, run, relative):
    parts = diffusers.StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion).components
    theirs = diffusers.StableDiffusionPAGPipeline(
        **parts, pag_applied_layers=["mid"], requires_safety_checker=False
    )
    theirs.set_progress_bar_config(disable=True)
    theirs.scheduler = diffusers.EulerDiscreteScheduler.from_config(theirs.scheduler.config)
    expected = theirs(
        PROMPT, num_inference_steps=4, width=64, height=48, guidance_scale=5.0, pag_scale=3.0,
        generator=torch.Generator().manual_seed(7), output_type="pt",
    ).images  # fmt: skip
    found = run(
        load("perturbed-attention"), model=str(tiny_stable_diffusion), prompt=PROMPT, steps=4,
        width=64, height=48, scheduler="euler", seed=7,
    )  # fmt: skip
    assert relative(found, expected) <= 1e-4


@pytest.mark.slow
def test_a_schedule_of_one_scale_is_plain_guidance(tiny_stable_diffusion, run):
    inputs = {"model": str(tiny_stable_diffusion), "prompt": PROMPT, "steps": 3, "width": 64}
    plain = run(load("sd15"), guidance_scale=6.0, **inputs)
    assert torch.equal(run(load("guidance-schedule"), scales=[6.0], at=[0], **inputs), plain)
    rising = run(load("guidance-schedule"), scales=[1.0, 6.0], at=[0, 1], **inputs)
    assert (rising - plain).abs().max() > 1e-3
