"""Times the second run of an edited prompt in one Session, over the calls of its networks.

    python -m benchmarks.edited_prompt [--model emoji-64] [--size 64] [--steps 20]

A Session draws a prompt, then others. Nothing is loaded again, so a later run should take what its
calls of text encoder, UNet and autoencoder take, and nothing more. Prints the medians of processor
seconds, and the share of a run that is none of these calls: median and spread.
"""

import argparse
import statistics
import tempfile
import time

import nodes
from graph import load
from runtime import Event, NodeFinished, NodeStarted, Session

NETWORKS = {"encode_text", "unet", "vae_decode"}
PROMPTS = ("a fox", "two lions", "three pandas", "a frog on a blue background", "an owl", "a cat")


class Watch:
    """Takes the processor time of the calls of networks, with the making of their batch."""

    def __init__(self) -> None:
        self.begin = self.inside = 0.0

    def __call__(self, event: Event) -> None:
        """Take notice of an event."""
        match event:
            case NodeStarted() if event.call.node.name in NETWORKS:
                self.begin = time.process_time()
            case NodeFinished() if event.call.node.name in NETWORKS:
                self.inside += time.process_time() - self.begin
            case _:
                pass


def main() -> None:
    """Print what runs take, and what of it the networks take."""
    assert nodes.__all__  # importing registers the node types
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="emoji-64")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    watch = Watch()
    graph, session = load("sd15"), Session("cpu", listen=watch, each_node=True)
    wholes: list[float] = []
    insides: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for prompt in PROMPTS:
            watch.inside, begin = 0.0, time.process_time()
            session(
                graph, model=given.model, prompt=prompt, width=given.size, height=given.size,
                steps=given.steps, output=f"{folder}/picture.png",
            )  # fmt: skip
            wholes.append(time.process_time() - begin)
            insides.append(watch.inside)
    shares = [1 - inside / whole for inside, whole in zip(insides, wholes, strict=True)]
    print(f"{'':12}{'whole run, s':>14}{'networks, s':>14}{'the rest':>10}")
    print(f"{'first':12}{wholes[0]:14.3f}{insides[0]:14.3f}{shares[0]:10.1%}")
    print(f"{'later':12}{statistics.median(wholes[1:]):14.3f}{statistics.median(insides[1:]):14.3f}"
          f"{statistics.median(shares[1:]):10.1%}  ({min(shares[1:]):.1%} to {max(shares[1:]):.1%})"
          )  # fmt: skip


if __name__ == "__main__":
    main()
