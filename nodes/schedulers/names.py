"""Names: what users call samplers, and what each means."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .families import FAMILIES


class Scheduler(NamedTuple):
    """A name that users know: the class behind it, one line about it, what it sets there."""

    family: str
    description: str
    sets: Mapping[str, Any] = {}


_MULTI, _SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_PLAIN: dict[str, Any] = {"algorithm_type": "dpmsolver++", "solver_order": 2}
_SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}

SCHEDULERS: dict[str, Scheduler] = {
    "ddpm": Scheduler("DDPMScheduler", "Ancestral sampling, as trained; many steps."),
    "ddim": Scheduler("DDIMScheduler", "First order, deterministic unless eta is set."),
    "ddim_inverse": Scheduler("DDIMInverseScheduler", "From a picture back to its noise."),
    "pndm": Scheduler(
        "PNDMScheduler", "Fourth-order multistep on the noise (PLMS).", {"skip_prk_steps": True}
    ),
    "euler": Scheduler("EulerDiscreteScheduler", "First order, on fractional timesteps."),
    "euler_ancestral": Scheduler(
        "EulerAncestralDiscreteScheduler", "Euler with fresh noise at every step."
    ),
    "lms": Scheduler("LMSDiscreteScheduler", "Fourth-order linear multistep."),
    "heun": Scheduler("HeunDiscreteScheduler", "Second order, two calls a step."),
    "dpm_2": Scheduler("KDPM2DiscreteScheduler", "Midpoint steps, two calls a step."),
    "dpm_2_ancestral": Scheduler(
        "KDPM2AncestralDiscreteScheduler", "Midpoint steps with fresh noise."
    ),
    "dpmpp_2m": Scheduler(_MULTI, "DPM-Solver++, second-order multistep; 20 to 30 steps.", _PLAIN),
    "dpmpp_3m": Scheduler(
        _MULTI, "DPM-Solver++, third-order multistep.", _PLAIN | {"solver_order": 3}
    ),
    "dpmpp_2m_sde": Scheduler(_MULTI, "DPM-Solver++ 2M with fresh noise.", _SDE),
    "dpmpp_3m_sde": Scheduler(
        _MULTI, "DPM-Solver++ 3M with fresh noise.", _SDE | {"solver_order": 3}
    ),
    "dpmpp_2s": Scheduler(_SINGLE, "DPM-Solver++ in groups of two calls.", _PLAIN),
    "dpmpp_3s": Scheduler(
        _SINGLE, "DPM-Solver++ in groups of three calls.", _PLAIN | {"solver_order": 3}
    ),
    "dpmpp_sde": Scheduler("DPMSolverSDEScheduler", "Two ancestral steps from one sample."),
    "deis": Scheduler("DEISMultistepScheduler", "Multistep on the noise in log(sigma / alpha)."),
    "unipc": Scheduler("UniPCMultistepScheduler", "Predictor and corrector; 10 to 25 steps."),
    "sa_solver": Scheduler(
        "SASolverScheduler",
        "Stochastic Adams predictor and corrector.",
        {"algorithm_type": "data_prediction"},
    ),
    "lcm": Scheduler("LCMScheduler", "Latent consistency models; 2 to 8 steps."),
    "tcd": Scheduler("TCDScheduler", "Trajectory consistency models; 2 to 8 steps."),
    "edm_euler": Scheduler("EDMEulerScheduler", "Euler for preconditioned denoisers."),
    "edm_dpmpp_2m": Scheduler(
        "EDMDPMSolverMultistepScheduler", "DPM-Solver++ 2M for preconditioned denoisers."
    ),
    "flow_euler": Scheduler("FlowMatchEulerDiscreteScheduler", "Euler for flow matching."),
    "flow_heun": Scheduler("FlowMatchHeunDiscreteScheduler", "Heun for flow matching."),
}
SCHEDULERS |= {
    f"{name}_{kind}": entry._replace(
        description=f"{entry.description[:-1]}, on {kind} levels.",
        sets={**entry.sets, f"use_{kind}_sigmas": True},
    )
    for name, entry in SCHEDULERS.items()
    for kind in ("karras", "exponential", "beta")
    if f"use_{kind}_sigmas" in FAMILIES[entry.family].fields
}
SCHEDULERS |= {
    name: Scheduler(name, f"The class {name} as its config has it.") for name in FAMILIES
}
