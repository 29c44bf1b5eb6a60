"""What compiling brings to Stable Diffusion 1's UNet on this CPU, ours beside its peers.

    python -m benchmarks.compile [--layers 2] [--size 256] [--threads 1] [--rounds 9] [CASE ...]

Full width, bfloat16, random weights, both halves of guidance in one call: ours is given one sample
for both texts, as a run does, others a batch of two, as their pipelines do. `--layers 1` is a UNet
of half the depth. Each case has a process of its own, where it takes turns with our network as it
comes, uncompiled, so that cases compare by their ratios to that; what finds compiled code in a
folder has a second one. Prints seconds until the network was made and had predicted twice, and the
median of a call: processor time, that of processes that compile included, and by the clock. Then
the ratio to ours, of processor time (of several threads by the clock), with its spread; the
relative error against float32, root mean square; the share of what matrices are multiplied at; and
how much more memory the process holds after two calls. Needs the extra `dev` and a C++ compiler.

Cases: ours (as it comes: how alike two of the same are), ours-compiled (`--compile`), diffusers
(not compiled), diffusers-compiled (torch.compile's defaults). If they are named: diffusers-frozen
(with inductor's freezing, which packs weights; nothing keeps its result), openvino (OpenVINO's
bfloat16 on diffusers' network as converted; `pip install openvino`, it is no dependency of ours),
ours-packed (attention by PyTorch's fused kernel), ours-plain (nor are weights packed).
"""

import argparse
import ctypes
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CASES = ("ours", "ours-compiled", "diffusers", "diffusers-compiled")
KEPT = ("ours-compiled", "diffusers-compiled", "openvino")  # a second process finds something
NAMED = ("diffusers-frozen", "openvino", "ours-packed", "ours-plain")
FIGURES = {
    "first": "ready, s", "first by clock": "by the clock", "call": "a call, s",
    "call by clock": "by the clock", "ratio": "of ours", "lowest": "lowest", "highest": "highest",
    "error": "error", "share": "share", "held": "GB",
}  # fmt: skip
Predict = Callable[..., Any]


def our_network(unet: Any, config: dict[str, Any]) -> Any:
    """Give our network, its weights, those of another, not packed yet."""
    import torch

    from benchmarks.unet import with_weights_of
    from nodes.models import UNet2DConditionModel

    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(config)
    return with_weights_of(unet, network, torch.bfloat16)


def with_fused_attention(network: Predict) -> Predict:
    """Have a network take PyTorch's attention instead of that in chunks."""
    import torch.nn.functional as F

    from nodes.models import attend

    def predict(*inputs: Any) -> Any:
        chunked = attend.attend_in_chunks
        attend.attend_in_chunks = F.scaled_dot_product_attention
        try:
            return network(*inputs)
        finally:
            attend.attend_in_chunks = chunked

    return predict


def their_network(unet: Any, config: dict[str, Any], precision: str) -> Any:
    """Give diffusers' network with the weights of ours."""
    import diffusers
    import torch

    from benchmarks.unet import with_weights_of

    with torch.device("meta"):
        network = diffusers.UNet2DConditionModel(**config)
    return with_weights_of(unet, network, getattr(torch, precision))


def batch_of_two(sample: Any, timestep: Any, text: Any) -> tuple[Any, Any, Any]:
    """Give the sample twice."""
    return sample.repeat(2, 1, 1, 1), timestep, text


def compiled(network: Any) -> Any:
    """Compile as `--compile` does."""
    import torch

    from graph import Call, Place, Reference
    from runtime.compiler import COMPILED, Compiler, why_not_compiled

    if reason := why_not_compiled(torch.device("cpu")):
        sys.exit(f"nothing can be compiled here: {reason}")
    given = {"network": Reference("unet")}
    call = Call("unet", COMPILED, dict(given), None, None, Place("", 0, 0), Any)
    return Compiler(lambda event: print(event, file=sys.stderr))(call)(network)


def by_openvino(make: Callable[[], Any], inputs: Any, given: argparse.Namespace) -> Predict:
    """Convert a network to a file, or find it converted, and give OpenVINO's bfloat16 of it."""
    import torch

    try:
        import openvino
    except ImportError:
        sys.exit("the case openvino needs `pip install openvino`, which is no dependency of ours")
    file = Path(given.folder) / "unet.xml"
    if not file.exists():
        both = batch_of_two(*inputs)
        shapes = [list(it.shape) for it in both]
        model = openvino.convert_model(make(), example_input=both, input=shapes)
        openvino.save_model(model, file, compress_to_fp16=False)
        del model
        gc.collect()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": given.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }  # fmt: skip
    network = openvino.Core().compile_model(file, "CPU", settings)
    layers = [it.get_rt_info() for it in network.get_runtime_model().get_ops()]
    products = [
        it for it in layers if it["layerType"].astype(str) in ("Convolution", "FullyConnected")
    ]
    halved = sum(it["runtimePrecision"].astype(str) == "bf16" for it in products)
    print(f"openvino: {halved} of {len(products)} products in bf16", file=sys.stderr)

    def predict(*inputs: Any) -> Any:
        return torch.from_numpy(network([it.float().numpy() for it in batch_of_two(*inputs)])[0])

    return predict


def make(case: str, unet: Any, config: dict[str, Any], inputs: Any, given: Any) -> Predict:
    """Give what predicts in a case, with the weights of a network in float32."""
    import torch

    from nodes.models import pack

    if case == "ours-plain":
        return with_fused_attention(our_network(unet, config))
    if case.startswith("ours"):
        network = pack(our_network(unet, config))
        changed = {"ours-compiled": compiled, "ours-packed": with_fused_attention}
        return changed[case](network) if case in changed else network
    if case == "openvino":
        return by_openvino(lambda: their_network(unet, config, "float32"), inputs, given)
    network = their_network(unet, config, "bfloat16")
    if case != "diffusers":
        network = torch.compile(network, options={"freezing": case == "diffusers-frozen"})

    def predict(*inputs: Any) -> Any:
        return network(*batch_of_two(*inputs), return_dict=False)[0]

    return predict


def processor_time() -> float:
    """Give the processor seconds of this process and of those that it waited for."""
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + others.ru_utime + others.ru_stime


def child(case: str, given: argparse.Namespace) -> None:
    """Call the networks in turn and print what it took."""
    import torch

    from benchmarks.sd15_cpu import ceiling
    from benchmarks.unet import CONFIG, error_of, held, inputs, operations, random_unet
    from nodes.models import pack

    torch.set_num_threads(given.threads)
    torch.set_grad_enabled(False)
    config = CONFIG | {"layers_per_block": given.layers}
    unet, exact = random_unet(config), inputs(given.size)
    true, some = unet(*exact), (exact[0].bfloat16(), exact[1], exact[2].bfloat16())
    before, begin, clock = held(), processor_time(), time.perf_counter()
    predict = make(case, unet, config, exact, given)
    predict(*some)
    error = error_of(predict(*some), true)
    first, first_clock = processor_time() - begin, time.perf_counter() - clock
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    memory = held() - before
    networks = {"plain": pack(our_network(unet, config)), case: predict}
    networks["plain"](*some)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    by_clock: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(given.rounds):
        for name, network in networks.items():
            begin, clock = time.process_time(), time.perf_counter()
            network(*some)
            seconds[name].append(time.process_time() - begin)
            by_clock[name].append(time.perf_counter() - clock)
    counts = seconds if given.threads == 1 else by_clock
    ratios = [one / other for one, other in zip(counts[case], counts["plain"], strict=True)]
    call = statistics.median(seconds[case])
    found = {
        "first": first, "first by clock": first_clock, "call": call,
        "call by clock": statistics.median(by_clock[case]),
        "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
        "error": error, "held": memory / 1e9,
        "share": operations(config, given.size) / call / ceiling("bfloat16"),
    }  # fmt: skip
    print(json.dumps(found))


def main() -> None:
    """Run the cases and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--child")
    parser.add_argument("--folder")
    given = parser.parse_args()
    if given.child:
        child(given.child, given)
        return
    if unknown := set(given.cases) - {*CASES, *NAMED}:
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    print(f"{'':<28}" + "".join(f"{words:>14}" for words in FIGURES.values()), flush=True)
    for case in given.cases:
        with tempfile.TemporaryDirectory(prefix="compiled-") as folder:
            for process in ("first", "second") if case in KEPT else ("only",):
                found = run(case, given, folder)
                cells = "".join(f"{found[figure]:14.3f}" for figure in FIGURES)
                print(f"{f'{case}, {process}':<28}{cells}", flush=True)


def run(case: str, given: argparse.Namespace, folder: str) -> dict[str, float]:
    """Run a case in a process of its own, which keeps what it compiles in a folder."""
    words = [f"--{name}={getattr(given, name)}" for name in ("layers", "size", "threads", "rounds")]
    words += [f"--child={case}", f"--folder={folder}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile", *words],
        env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": folder, "TORCHINDUCTOR_COMPILE_THREADS": "1"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
