"""Previews: a linear map from latents to colours, and what it shows of a picture on its way."""

import diffusers
import pytest
import torch
import torch.nn.functional as F

import nodes
from graph import load_text
from nodes.image import vae_decode, vae_encode
from nodes.kinds import SchedulerConfig
from nodes.load import load_vae
from nodes.models import AutoencoderTiny
from nodes.preview import LatentColours, fit_preview, preview
from nodes.schedule import clean_estimate, schedule, start_from
from runtime import Session

assert nodes.__all__  # importing registers the node types
CPU = torch.device("cpu")
LEVELS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
WATCHED = """
inputs: {prompt: , model: emoji-64, watched: }
nodes:
  unet:     {node: load_unet, model: $model}
  vae:      {node: load_vae, model: $model}
  config:   {node: load_scheduler_config, model: $model}
  text:     {graph: encode_prompt.yaml, model: $model, prompt: $prompt}
  schedule: {node: schedule, config: $config, scheduler: unipc, steps: 6}
  noise:    {node: noise, unet: $unet, vae: $vae, schedule: $schedule, seed: 1}
  start:    {node: start, schedule: $schedule, noise: $noise.initial}
  colours:  {node: fit_preview, vae: $vae}
  denoise:
    for:     {step: $schedule, fresh: $noise.fresh}
    carry:   {state: {from: $start, then: $next}}
    collect: {previews: $preview}
    nodes:
      prediction: {node: unet, model: $unet, sample: $state.sample, timestep: $step.timestep, text: $text}
      clean:      {node: clean_estimate, step: $step, sample: $state.sample, prediction: $prediction}
      preview:    {node: preview, colours: $colours, latents: $clean}
      saved:      {node: save_image, image: $preview, path: $watched}
      next:       {node: scheduler_step, step: $step, state: $state, prediction: $prediction, noise: $fresh}
  image: {node: vae_decode, vae: $vae, latents: $denoise.state.sample}
outputs: {image: $image, previews: $denoise.previews}
"""


def test_a_preview_in_a_loop_comes_nearer_to_the_picture(tmp_path):
    watched = tmp_path / "watched.png"
    found = Session("cpu", "float32")(
        load_text(WATCHED), prompt="two pandas on a yellow background", watched=str(watched)
    )
    previews, small = found["previews"], F.avg_pool2d(found["image"], 4)
    share = 1 - (previews[-1] - small).square().mean().item() / small.var().item()
    errors = [(one - previews[-1]).square().mean().sqrt().item() for one in previews]
    print(f"levels of 255 to the last: {[round(255 * error, 1) for error in errors]}, {share:.2f}")
    assert watched.exists()
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.01
    assert share > 0.6


@pytest.mark.slow
def test_the_fit_gives_plain_colours_back_for_any_autoencoder():
    torch.manual_seed(0)
    vae = AutoencoderTiny.from_config({"latent_channels": 16}).requires_grad_(False)
    colours = fit_preview(vae)
    assert colours.weights.shape == (3, 16)
    plain = torch.tensor([[0.8, 0.2, 0.5], [0.1, 0.9, 0.4]])[..., None, None].expand(-1, -1, 64, 64)
    drawn = preview(colours, vae_encode(vae, plain, CPU))
    assert drawn.shape == (2, 3, 8, 8)
    # The middle, as the edges are padded; even untrained convolutions keep colours apart.
    assert (drawn[:, :, 3:5, 3:5].mean((2, 3)) - plain[..., 0, 0]).abs().max() < 0.1


def test_a_preview_is_a_matrix_and_a_constant():
    colours = LatentColours(
        torch.tensor([[1.0, 0], [0, 1], [0.5, 0.5]]), torch.tensor([0.0, 0, 0.5])
    )
    latents = torch.tensor([0.5, -0.5]).reshape(1, 2, 1, 1).expand(1, 2, 4, 6)
    assert preview(colours, latents)[0, :, 2, 3].tolist() == [0.75, 0.25, 0.75]


def test_latents_of_another_family_have_no_colours():
    colours = LatentColours(torch.zeros(3, 4), torch.zeros(3))
    with pytest.raises(ValueError, match="fitted to latents of 4 channels, `latents` has 16"):
        preview(colours, torch.zeros(1, 16, 8, 8))


@pytest.mark.parametrize("scheduler", ["euler", "dpmpp_2m", "ddpm"])
@pytest.mark.parametrize("trained", ["epsilon", "v_prediction", "sample"])
def test_a_right_prediction_gives_the_clean_sample(scheduler, trained, relative):
    config = SchedulerConfig(LEVELS | {"prediction_type": trained, "clip_sample": False})
    steps = schedule(config, CPU, scheduler, 10)
    latents, noise = torch.randn(2, 2, 4, 8, 8).unbind()
    state = start_from(steps, latents, noise)
    alpha, sigma = (float(values[0]) for values in (steps.table.alphas, steps.table.sigmas))
    right = {"epsilon": noise, "v_prediction": alpha * noise - sigma * latents, "sample": latents}
    learned = torch.cat((right[trained], torch.randn_like(latents)), dim=1)
    assert relative(clean_estimate(steps[0], state.sample, right[trained]), latents) <= 1e-5
    assert relative(clean_estimate(steps[0], state.sample, learned), latents) <= 1e-5


def test_taesd_decodes_in_place_of_the_large_autoencoder(tmp_path, relative):
    theirs = diffusers.AutoencoderTiny(latent_channels=4)
    theirs.save_pretrained(tmp_path)  # as published, no folder within
    ours = load_vae(str(tmp_path), CPU, torch.float32)
    latents = torch.randn(2, 4, 8, 12)
    with torch.no_grad():
        expected = (theirs.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    assert relative(vae_decode(ours, latents), expected) <= 1e-5
