"""Draws the figures and the table of docs/schedulers.md; needs the extra `docs` (matplotlib).

python -m benchmarks.schedulers
"""

import math
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from nodes.schedulers import SCHEDULERS, make_table
from tests.test_schedulers_convergence import error_of

DOCS = Path(__file__).parent.parent / "docs"
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SOURCES = {
    "ddpm": "2006.11239", "ddim": "2010.02502", "ddim_inverse": "2010.02502",
    "pndm": "2202.09778", "ipndm": "2204.13902", "euler": "2206.00364",
    "euler_ancestral": "2010.02502", "lms": "2206.00364", "heun": "2206.00364",
    "dpm_2": "2206.00927", "dpm_2_ancestral": "2206.00927", "dpmpp_2m": "2211.01095",
    "dpmpp_3m": "2211.01095", "dpmpp_3m_exact": "2211.01095",
    "dpmpp_2m_sde": "2211.01095", "dpmpp_2m_sde_heun": "2211.01095",
    "dpmpp_3m_sde": "2211.01095", "res_multistep": "2308.02157",
    "dpmpp_2s": "2211.01095", "dpmpp_3s": "2211.01095", "dpmpp_sde": "2211.01095",
    "deis": "2204.13902", "unipc": "2302.04867", "uni_pc": "2302.04867",
    "uni_pc_bh2": "2302.04867", "sa_solver": "2309.05019", "lcm": "2310.04378",
    "tcd": "2402.19159", "edm_euler": "2206.00364", "edm_dpmpp_2m": "2211.01095",
    "flow_euler": "2403.03206", "flow_heun": "2403.03206",
}  # fmt: skip
MEASURED = [
    "ddim",
    "euler",
    "lms",
    "heun",
    "dpm_2",
    "dpmpp_2m",
    "dpmpp_3m",
    "dpmpp_3m_exact",
    "dpmpp_2s",
    "dpmpp_3s",
    "res_multistep",
    "deis",
    "unipc",
    "uni_pc",
    "uni_pc_bh2",
]
STEPS = (8, 12, 20, 32, 50, 80, 125)


def measure(name: str) -> tuple[list[int], list[float]]:
    """Return network calls and the largest errors of runs with more and more steps."""
    whole = name == "ddim"  # its steps go down by whole timesteps: T // steps must be exact
    counts = [steps + 1 for steps in STEPS]
    options: dict[str, object] = {"timestep_spacing": "leading"} if whole else {}
    counts = [10, 20, 25, 50, 100, 125] if whole else counts
    calls = [_calls(name, steps) * (steps - 1) for steps in counts]
    return calls, [error_of(name, steps, **options) for steps in counts]


def _calls(name: str, steps: int = 10) -> int:
    fields = {} if name.startswith(("flow", "edm", "ipndm")) else STABLE_DIFFUSION
    return round(len(make_table(fields, name, steps).timesteps) / steps)


def draw_convergence() -> dict[str, float]:
    """Draw error against calls; return the slope of each between its last two runs."""
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    orders: dict[str, float] = {}
    for i, name in enumerate(MEASURED):
        calls, errors = measure(name)
        orders[name] = math.log(errors[-2] / errors[-1]) / math.log(calls[-1] / calls[-2])
        style = {"marker": "osv^D*PX"[i % 8], "markersize": 5, "linewidth": 1.4}
        style |= {"linestyle": "-" if i < 8 else "--", "color": f"C{i % 10}"}
        axes.loglog(calls, errors, label=f"{name} ({orders[name]:.1f})", **style)
    for order, top in ((1, 1.5), (2, 8.0), (3, 60.0)):
        ends = [top / 10**order, top / 150**order]
        axes.loglog([10, 150], ends, color="0.75", linewidth=1, zorder=0)
        axes.annotate(f"order {order}", (150, ends[1]), color="0.5", fontsize=8, ha="right")
    axes.set(xlabel="calls of the network", ylabel="largest error at the last level",
             title="A mixture of Gaussians with its exact score")  # fmt: skip
    axes.legend(fontsize=8, ncols=2, title="sampler (measured order)", title_fontsize=8)
    axes.grid(which="both", alpha=0.2)
    figure.savefig(DOCS / "images" / "convergence.png", dpi=110)
    return orders


def draw_grids() -> None:
    """Draw sigma / alpha over the steps of the grids, and flow levels with their shifts."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for name, spacing in (
        ("euler", "linspace"), ("euler", "leading"), ("euler", "trailing"),
        ("euler_karras", "linspace"), ("euler_exponential", "linspace"), ("euler_beta", "linspace"),
    ):  # fmt: skip
        table = make_table({**STABLE_DIFFUSION, "timestep_spacing": spacing}, name, 20)
        label = spacing if name == "euler" else name.removeprefix("euler_")
        left.semilogy(table.sigmas / table.alphas, marker=".", label=label)
    left.set(xlabel="step", ylabel="sigma / alpha", title="Stable Diffusion, 20 steps")
    for shift, config in ((1.0, {}), (3.0, {"shift": 3.0})):
        table = make_table({"_class_name": "FlowMatchEulerDiscreteScheduler", **config}, steps=20)
        label = f"shift {shift:g}, twice as published" if config else "no shift"
        right.plot(table.sigmas, marker=".", label=label)
    even = [1 - i / 20 for i in range(20)]
    once = make_table({"_class_name": "FlowMatchEulerDiscreteScheduler"}, sigmas=even, shift=3.0)
    right.plot(once.sigmas, marker=".", label="explicit sigmas, shift 3 once")
    right.set(xlabel="step", ylabel="sigma", title="Flow matching, 20 steps")
    for axes in (left, right):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(DOCS / "images" / "grids.png", dpi=110)


def samplers_table(orders: dict[str, float]) -> str:
    """Write the table of all samplers in Markdown."""
    entries: dict[tuple[str, str], list[str]] = {}
    for name, (family, description, _) in SCHEDULERS.items():
        entries.setdefault((family, description), []).append(name)
    lines = ["| name | also | calls a step | noise | order measured | source |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for first, *others in entries.values():
        if first not in SOURCES:
            continue
        fields = {} if first.startswith(("flow", "edm", "ipndm")) else STABLE_DIFFUSION
        noisy = any(make_table(fields, first, 10).noisy)
        order = f"{orders[first]:.1f}" if first in orders else ""
        source = f"[{SOURCES[first]}](https://arxiv.org/abs/{SOURCES[first]})"
        also = ", ".join(f"`{other}`" for other in others)
        cells = [f"`{first}`", also, _calls(first), "fresh" if noisy else "", order, source]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Draw all, and put the table where the page has it."""
    mpl.use("agg")
    table = samplers_table(draw_convergence())
    draw_grids()
    page = DOCS / "schedulers.md"
    marked = r"(?s)(<!-- samplers -->\n).*?(<!-- end -->)"
    page.write_text(re.sub(marked, lambda m: f"{m[1]}{table}\n{m[2]}", page.read_text()))


if __name__ == "__main__":
    main()
