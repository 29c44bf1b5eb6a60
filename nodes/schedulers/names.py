"""Names: what users call samplers, in diffusers and elsewhere, and what each means."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .families import FAMILIES


class Scheduler(NamedTuple):
    """A name that users know: the class behind it, one line about it, what it sets there."""

    family: str
    description: str
    sets: Mapping[str, Any] = {}


_MULTI, _SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_SECOND, _THIRD = ({"algorithm_type": "dpmsolver++", "solver_order": order} for order in (2, 3))
_SDE_2, _SDE_3 = ({**each, "algorithm_type": "sde-dpmsolver++"} for each in (_SECOND, _THIRD))

_NAMED: dict[str, tuple[Any, ...]] = {
    "ddpm": ("DDPMScheduler", "Ancestral sampling, as trained; many steps."),
    "ddim": ("DDIMScheduler", "First order, deterministic unless eta is set."),
    "ddim_inverse": ("DDIMInverseScheduler", "From a picture back to its noise."),
    "pndm plms": ("PNDMScheduler", "Fourth-order multistep on the noise (PLMS).",
                  {"skip_prk_steps": True}),
    "ipndm": ("IPNDMScheduler", "Fourth-order multistep, steps taken for equally long."),
    "euler": ("EulerDiscreteScheduler", "First order, on fractional timesteps."),
    "euler_ancestral euler_a": ("EulerAncestralDiscreteScheduler",
                                "Euler with fresh noise at every step."),
    "lms": ("LMSDiscreteScheduler", "Fourth-order linear multistep."),
    "heun": ("HeunDiscreteScheduler", "Second order, two calls a step."),
    "dpm_2 dpm2": ("KDPM2DiscreteScheduler", "Midpoint steps, two calls a step."),
    "dpm_2_ancestral dpm_2_a dpm2_a": ("KDPM2AncestralDiscreteScheduler",
                                       "Midpoint steps with fresh noise."),
    "dpmpp_2m": (_MULTI, "DPM-Solver++, second-order multistep; 20 to 30 steps.", _SECOND),
    "dpmpp_3m": (_MULTI, "DPM-Solver++, third-order multistep.", _THIRD),
    "dpmpp_3m_exact": (_MULTI, "DPM-Solver++ 3M with the whole quadratic term.",
                       {**_THIRD, "exact_third_order": True}),
    "dpmpp_2m_sde": (_MULTI, "DPM-Solver++ 2M with fresh noise.", _SDE_2),
    "dpmpp_3m_sde": (_MULTI, "DPM-Solver++ 3M with fresh noise.", _SDE_3),
    "dpmpp_2s": (_SINGLE, "DPM-Solver++ in groups of two calls.", _SECOND),
    "dpmpp_3s": (_SINGLE, "DPM-Solver++ in groups of three calls.", _THIRD),
    "dpmpp_sde": ("DPMSolverSDEScheduler", "Two ancestral steps from one sample."),
    "deis": ("DEISMultistepScheduler", "Multistep on the noise in log(sigma / alpha)."),
    "unipc": ("UniPCMultistepScheduler", "Predictor and corrector; 10 to 25 steps."),
    "uni_pc": ("UniPCMultistepScheduler", "UniPC of third order with B(h) = h, as in ComfyUI.",
               {"solver_order": 3, "solver_type": "bh1"}),
    "uni_pc_bh2": ("UniPCMultistepScheduler", "UniPC of third order, as in ComfyUI.",
                   {"solver_order": 3, "solver_type": "bh2"}),
    "sa_solver": ("SASolverScheduler", "Stochastic Adams predictor and corrector."),
    "lcm": ("LCMScheduler", "Latent consistency models; 2 to 8 steps."),
    "tcd": ("TCDScheduler", "Trajectory consistency models; 2 to 8 steps."),
    "edm_euler": ("EDMEulerScheduler", "Euler for preconditioned denoisers."),
    "edm_dpmpp_2m": ("EDMDPMSolverMultistepScheduler",
                     "DPM-Solver++ 2M for preconditioned denoisers."),
    "flow_euler": ("FlowMatchEulerDiscreteScheduler", "Euler for flow matching."),
    "flow_heun": ("FlowMatchHeunDiscreteScheduler", "Heun for flow matching."),
}  # fmt: skip

SCHEDULERS = {name: Scheduler(*row) for names, row in _NAMED.items() for name in names.split()}
SCHEDULERS |= {
    f"{name}_{kind}": Scheduler(
        entry.family,
        f"{entry.description[:-1]}, on {kind} levels.",
        {**entry.sets, f"use_{kind}_sigmas": True},
    )
    for name, entry in SCHEDULERS.items()
    for kind in ("karras", "exponential", "beta")
    if f"use_{kind}_sigmas" in FAMILIES[entry.family].fields
}
SCHEDULERS |= {
    name: Scheduler(name, f"The class {name} as its config has it.") for name in FAMILIES
}


def plain_name(name: str) -> str:
    """Return a name as the table has it: "DPM++ 2M Karras" is dpmpp_2m_karras."""
    plain = name.lower().replace("++", "pp").replace(" ", "_").replace("-", "_")
    return plain if plain in SCHEDULERS else name
