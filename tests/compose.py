"""Writes a graph of any combination of features as YAML: each feature is a few lines."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Parts:
    """What a graph is made of. A feature that is neutral is there and does nothing."""

    family: Literal["sd1", "sdxl"] = "sd1"
    begin: Literal["text", "img2img", "inpaint"] = "text"
    scheduler: str = "euler"
    guidance: str = "plain"
    lora: bool = False
    control: bool = False
    image_prompt: bool = False
    free_u: bool = False
    neutral: bool = False

    def bare(self) -> "Parts":
        """Leave out whatever can be neutral: a white mask is picture to picture."""
        begin = "img2img" if self.begin == "inpaint" else self.begin
        return Parts(self.family, begin, self.scheduler)

    def scale(self, active: float, neutral: float) -> float:
        return neutral if self.neutral else active


@dataclass
class Lines:
    """The lines of a graph in the making, and the names that the next feature goes on from."""

    nodes: list[str]
    body: list[str] = field(default_factory=list)
    sequences: list[str] = field(default_factory=lambda: ["step: $schedule", "fresh: $noise.fresh"])
    carry: list[str] = field(default_factory=lambda: ["state: {from: $start, then: $next}"])
    unet: str = "$unet"

    def text(self) -> str:
        def block(lines: list[str], indent: int) -> str:
            return "\n".join(" " * indent + line for line in lines)

        loop = f"denoise:\n  for: {{{', '.join(self.sequences)}}}\n  carry:\n{block(self.carry, 4)}"
        loop += f"\n  nodes:\n{block(self.body, 4)}"
        nodes = block([*self.nodes, *loop.splitlines()], 2)
        return f"nodes:\n{nodes}\noutputs: {{image: $image}}\n"


def compose(parts: Parts, files: dict[str, str]) -> str:
    """Write the graph of these parts; `files` says where checkpoints and pictures are."""
    model = files[parts.family]
    lines = Lines(
        [
            f"unet: {{node: load_unet, model: {model}}}",
            f"vae: {{node: load_vae, model: {model}}}",
            f"config: {{node: load_scheduler_config, model: {model}}}",
        ]
    )
    if parts.lora:
        _lora(lines, parts, files)
    if parts.image_prompt:
        _image_prompt(lines, parts, files)
    if parts.free_u:
        ones = "[1, 1]" if parts.neutral else "[1.5, 1.6]"
        skip = "[1, 1]" if parts.neutral else "[0.9, 0.2]"
        lines.nodes.append(
            f"freed: {{node: free_u, model: {lines.unet}, backbone: {ones}, skip: {skip}}}"
        )
        lines.unet = "$freed"
    _text(lines, parts, model)
    _begin(lines, parts, files)
    cond, uncond = (_told(parts.family, name) for name in ("text", "no_text"))
    if parts.image_prompt:
        prompted = (f"{cond}, image_prompt: $seen", f"{uncond}, image_prompt: $unseen")
    else:
        prompted = (cond, uncond)
    if parts.control:
        file = files[f"{parts.family} control"]
        strength = parts.scale(0.7, 0)
        lines.nodes += [
            f"controls: {{node: load_controlnet, model: {file}, subfolder: ''}}",
            f"hint: {{node: load_image, path: {files['image']}}}",
        ]
        for name, told in (("hint_cond", cond), ("hint_uncond", uncond)):
            lines.body.append(
                f"{name}: {{node: controlnet, model: $controls, image: $hint, strength: {strength}, "
                f"sample: $state.sample, timestep: $step.timestep, {told}}}"
            )
        hints = ("$hint_cond", "$hint_uncond")
        prompted = tuple(f"{it}, control: {hint}" for it, hint in zip(prompted, hints, strict=True))
    cond, uncond = prompted
    lines.body.append(f"cond: {_call(lines.unet, cond)}")
    _guide(lines, parts, cond, uncond)
    _finish(lines, parts)
    return lines.text()


def _call(unet: str, told: str) -> str:
    return f"{{node: unet, model: {unet}, sample: $state.sample, timestep: $step.timestep, {told}}}"


def _told(family: str, name: str) -> str:
    if family == "sd1":
        return f"text: ${name}"
    return f"text: ${name}.text, pooled_text: ${name}.pooled, size: $size"


def _lora(lines: Lines, parts: Parts, files: dict[str, str]) -> None:
    weight = parts.scale(0.8, 0)
    lines.nodes += [
        f"lora: {{node: load_lora, model: {files[f'{parts.family} lora']}}}",
        f"changed: {{node: apply_lora, model: {lines.unet}, lora: $lora, weight: {weight}}}",
    ]
    lines.unet = "$changed"


def _image_prompt(lines: Lines, parts: Parts, files: dict[str, str]) -> None:
    scale = parts.scale(0.8, 0)
    lines.nodes += [
        f"eye: {{node: load_image_encoder, model: {files['encoder']}}}",
        f"learned: {{node: load_ip_adapter, model: {files[f'{parts.family} ip adapter']}}}",
        f"looking: {{node: apply_ip_adapter, model: {lines.unet}, adapter: $learned, scale: {scale}}}",
        f"shown: {{node: load_image, path: {files['image']}}}",
        "seen: {node: image_prompt, encoder: $eye, adapter: $learned, image: $shown}",
        "unseen: {node: image_prompt, encoder: $eye, adapter: $learned}",
    ]
    lines.unet = "$looking"


def _text(lines: Lines, parts: Parts, model: str) -> None:
    graph = "encode_prompt.yaml" if parts.family == "sd1" else "encode_prompt_sdxl.yaml"
    for name, prompt in (("text", "a red heart"), ("no_text", "blurry")):
        lines.nodes.append(f"{name}: {{graph: {graph}, model: {model}, prompt: {prompt}}}")


def _begin(lines: Lines, parts: Parts, files: dict[str, str]) -> None:
    partial = "" if parts.begin == "text" else ", strength: 0.7"
    lines.nodes.append(
        f"schedule: {{node: schedule, config: $config, scheduler: {parts.scheduler}, "
        f"steps: 3{partial}}}"
    )
    if parts.begin == "text":
        lines.nodes += [
            "noise: {node: noise, vae: $vae, schedule: $schedule, seed: 3, width: 32, height: 32}",
            "start: {node: start, schedule: $schedule, noise: $noise.initial}",
        ]
    else:
        lines.nodes += [
            f"picture: {{node: load_image, path: {files['image']}}}",
            "latents: {node: vae_encode, vae: $vae, image: $picture}",
            "noise: {node: noise_like, schedule: $schedule, latents: $latents, seed: 3}",
            "start: {node: start_from, schedule: $schedule, latents: $latents, "
            "noise: $noise.initial}",
        ]
    if parts.begin == "inpaint":
        mask = files["white" if parts.neutral else "mask"]
        lines.nodes += [
            f"mask: {{node: load_mask, path: {mask}}}",
            "kept: {node: noisy_after_steps, schedule: $schedule, latents: $latents, "
            "noise: $noise.initial}",
        ]
        lines.sequences.append("old: $kept")
    if parts.family == "sdxl":
        lines.nodes.append("size: {node: picture_size, vae: $vae, latents: $noise.initial}")


GUIDANCES = (
    "plain", "rescaled", "keyframes", "manifold", "interval", "perturbed", "skipped", "projected",
    "zero_star",
)  # fmt: skip
NEVER_NEUTRAL = ("manifold", "zero_star")


def _guide(lines: Lines, parts: Parts, cond: str, uncond: str) -> None:
    """Call the network without the text, and make one prediction of all."""
    kind, scale, name = parts.guidance, "5.0", "guided"
    call = _call(lines.unet, uncond)
    if kind == "interval":
        low, high = ("0", "1e9") if parts.neutral else ("0.3", "6")
        lines.nodes.append(
            f"inside: {{node: guidance_interval, schedule: $schedule, low: {low}, high: {high}}}"
        )
        lines.sequences.append("here: $inside")
        call = f"{call[:-1]}, when: $here, else: $cond}}"
    elif kind in ("keyframes", "manifold"):
        values = "[5.0, 5.0]" if parts.neutral else "[1.0, 9.0]"
        how = (
            f"keyframes, values: {values}, at: [0, 1]" if kind == "keyframes" else "manifold_scales"
        )
        lines.nodes.append(f"scale: {{node: {how}, schedule: $schedule}}")
        lines.sequences.append("now: $scale")
        scale = "$now"
    elif kind in ("rescaled", "perturbed", "skipped"):
        name = "plain"
    lines.body.append(f"uncond: {call}")
    if kind == "zero_star":
        lines.body.append("guided: {node: zero_star_guidance, cond: $cond, uncond: $uncond}")
    elif kind == "projected":
        lines.carry.append("push: {from: null, then: $direction}")
        momentum, parallel = parts.scale(-0.5, 0), parts.scale(0, 1)
        lines.body += [
            "direction: {node: guidance_direction, step: $step, cond: $cond, uncond: $uncond, "
            f"earlier: $push, momentum: {momentum}}}",
            "guided: {node: projected_guidance, step: $step, sample: $state.sample, cond: $cond, "
            f"direction: $direction, scale: 5.0, parallel: {parallel}}}",
        ]
    else:
        lines.body.append(
            f"{name}: {{node: guidance, cond: $cond, uncond: $uncond, scale: {scale}}}"
        )
    if kind == "rescaled":
        amount = parts.scale(0.7, 0)
        lines.body.append(
            f"guided: {{node: rescale_guidance, guided: $plain, cond: $cond, amount: {amount}}}"
        )
    if kind in ("perturbed", "skipped"):
        node = "perturb_attention" if kind == "perturbed" else "skip_layers"
        lines.nodes.append(f"worse: {{node: {node}, model: {lines.unet}}}")
        lines.body += [
            f"bad: {_call('$worse', cond)}",
            "guided: {node: perturbed_guidance, guided: $plain, cond: $cond, perturbed: $bad, "
            f"scale: {parts.scale(3, 0)}}}",
        ]


def _finish(lines: Lines, parts: Parts) -> None:
    """Take the step, decode, and put back what a mask keeps."""
    inpaint = parts.begin == "inpaint"
    step = "node: scheduler_step, step: $step, state: $state, prediction: $guided, noise: $fresh"
    lines.body.append(f"{'less' if inpaint else 'next'}: {{{step}}}")
    decoded = "node: vae_decode, vae: $vae, latents: $denoise.state.sample"
    lines.nodes.append(f"{'painted' if inpaint else 'image'}: {{{decoded}}}")
    if inpaint:
        lines.body.append("next: {node: keep, state: $less, latents: $old, mask: $mask}")
        lines.nodes.append("image: {node: paste, image: $painted, onto: $picture, mask: $mask}")
