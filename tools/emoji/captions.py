"""The ways in which a scene is put into words for training, and the tokenizer of these words."""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from .pictures import SCENES, Scene, caption

OPENINGS = ("", "", "a picture of ", "an emoji of ", "a drawing of ", "a photo of ")
LENGTH = 32
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def variants(scene: Scene) -> list[str]:
    """Say what a scene shows in every way that the model is trained on."""
    plain = caption(scene)
    subject, _, ground = plain.partition(" on a")
    if scene.arrangement in ("left", "right"):
        subject, _, ground = plain.rpartition(" on a")
    ground = ground.removeprefix("n").strip()
    forms = [
        plain,
        f"{subject}, {ground}",
        f"{subject} with a {ground}",
        f"{subject}, {scene.colour}",
    ]
    if scene.colour == "white":
        forms.append(subject)
    return [opening + form for form in forms for opening in OPENINGS]


def train_tokenizer(folder: Path) -> None:
    """Write a byte-pair tokenizer in CLIP's format: `vocab.json`, `merges.txt` and its configs."""
    texts = [text for scene in SCENES for text in variants(scene)]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in learnt["merges"]]
    # CLIP's order: every byte, every byte at the end of a word, the merges, the two marks.
    parts = [*letters, *(f"{letter}</w>" for letter in letters)]
    parts += ["".join(merge.split(" ")) for merge in merges] + [BEGIN, END]
    vocabulary = {part: number for number, part in enumerate(dict.fromkeys(parts))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    marks = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | marks, indent=2))
    (folder / "special_tokens_map.json").write_text(json.dumps(marks, indent=2))
