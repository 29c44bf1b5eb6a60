"""The safety checker against the development oracle's, on random weights."""

import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image as Picture
from transformers import CLIPConfig, CLIPImageProcessor

from nodes.safety import check_safety, load_safety_checker
from nodes.vision import as_clip_sees

CPU = torch.device("cpu")
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 56, "patch_size": 14,
}  # fmt: skip


@pytest.fixture(scope="module")
def checkers(tmp_path_factory):
    torch.manual_seed(0)
    theirs = StableDiffusionSafetyChecker(CLIPConfig(vision_config=VISION, projection_dim=12))
    for parameter in theirs.parameters():
        if parameter.ndim == 2 and parameter.shape[1] == 12:
            parameter.data = torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("checker")
    theirs.save_pretrained(folder / "safety_checker")
    return theirs.eval(), folder


def pictures(count):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (72, 100), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("special", [0.6, -0.6], ids=["stricter for none", "stricter for all"])
def test_the_oracle_flags_the_same_pictures(checkers, special):
    theirs, folder = checkers
    images = pictures(24)
    seen = as_clip_sees(images, 56)
    # Limits between the pictures, so that some are flagged and some are not.
    with torch.no_grad():
        found = theirs.visual_projection(theirs.vision_model(seen).pooler_output)
    normalise = torch.nn.functional.normalize
    cosines = normalise(found) @ normalise(theirs.concept_embeds).T
    theirs.concept_embeds_weights.data = cosines.quantile(0.97, dim=0)
    theirs.special_care_embeds_weights.data = torch.full((3,), special)
    theirs.save_pretrained(folder / "safety_checker")
    expected, flags = theirs(seen, images.clone())

    ours = load_safety_checker(str(folder), CPU, torch.float32)
    checked = check_safety(ours, images)
    assert checked.flagged.tolist() == flags
    assert 0 < sum(flags) < 24
    assert checked.image.equal(expected)
    print(f"{sum(flags)} of 24 flagged")


@pytest.mark.parametrize("size", [(72, 100), (100, 72), (300, 200), (56, 56)], ids=str)
def test_clip_sees_what_its_processor_gives(size):
    side = {"shortest_edge": 56}
    processor = CLIPImageProcessor(size=side, crop_size={"height": 56, "width": 56})
    coarse = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(2))
    # Soft, as the processor rounds and clips between height and width what edges overshoot.
    image = torch.nn.functional.interpolate(coarse, size, mode="bilinear").mul(255).round()
    picture = Picture.fromarray(image[0].byte().permute(1, 2, 0).numpy())
    expected = processor(picture, return_tensors="pt")["pixel_values"]
    difference = (as_clip_sees(image / 255, 56) - expected).abs().max().item() * 0.27 * 255
    print(f"largest difference {difference:.2f} levels of 255")
    assert difference <= 2


def test_a_file_of_before_transformers_5_loads_too(checkers, tmp_path):
    from safetensors.torch import load_file, save_file

    _, folder = checkers
    old = tmp_path / "safety_checker"
    old.mkdir()
    (old / "config.json").write_text((folder / "safety_checker" / "config.json").read_text())
    tensors = load_file(folder / "safety_checker" / "model.safetensors")
    nested = "vision_model.vision_model."
    renamed = {
        name if name.startswith(nested) else name.replace("vision_model.", nested): tensor
        for name, tensor in tensors.items()
    }
    assert renamed != tensors
    save_file(
        renamed | {f"{nested}embeddings.position_ids": torch.arange(17)[None]},
        old / "model.safetensors",
    )
    images = pictures(6)
    one, other = (
        check_safety(load_safety_checker(str(path), CPU, torch.float32), images).flagged
        for path in (folder, tmp_path)
    )
    assert one.equal(other)
