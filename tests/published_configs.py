"""What the published checkpoints of the UNet families say in their `config.json`, by family."""

from typing import Any

LEVELS_4 = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
}
UP_4 = {"up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3]}
SD1: dict[str, Any] = {
    **LEVELS_4, **UP_4, "sample_size": 64, "in_channels": 4, "out_channels": 4,
    "cross_attention_dim": 768, "attention_head_dim": 8, "layers_per_block": 2,
}  # fmt: skip
SD2 = SD1 | {
    "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True, "upcast_attention": True, "sample_size": 96,
}  # fmt: skip
SDXL: dict[str, Any] = {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "sample_size": 128, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20], "use_linear_projection": True,
    "transformer_layers_per_block": [1, 2, 10], "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
UNETS: dict[str, dict[str, Any]] = {
    "stable diffusion 1": SD1,
    "stable diffusion 1 inpainting": SD1 | {"in_channels": 9},
    "instruct pix2pix": SD1 | {"in_channels": 8},
    "latent consistency": SD1 | {"time_cond_proj_dim": 256},
    "tiny sd": SD1 | {
        "block_out_channels": [320, 640, 1280], "layers_per_block": 1, "mid_block_type": None,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3, "up_block_types": ["CrossAttnUpBlock2D"] * 3,
    },
    "stable diffusion 2 v": SD2,
    "stable diffusion 2 depth": SD2 | {"in_channels": 5, "upcast_attention": False, "sample_size": 32},
    "stable diffusion 2 unclip": SD2 | {
        "class_embed_type": "projection", "projection_class_embeddings_input_dim": 2048,
    },
    "x4 upscaler": SD2 | {
        "in_channels": 7, "block_out_channels": [256, 512, 512, 1024], "attention_head_dim": 8,
        "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 3],
        "up_block_types": [*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"],
        "only_cross_attention": [True, True, True, False], "num_class_embeds": 1000, "sample_size": 128,
    },
    "sdxl": SDXL,
    "sdxl inpainting": SDXL | {"in_channels": 9},
    "sdxl refiner": SDXL | {
        "block_out_channels": [384, 768, 1536, 1536], "attention_head_dim": [6, 12, 24, 24],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": 4, "cross_attention_dim": 1280,
        "projection_class_embeddings_input_dim": 2560,
    },
    "ssd 1b": SDXL | {
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [0, [2, 2], [4, 4]],
        "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 0],
    },
    "segmind vega": SDXL | {
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [0, [1, 1], [2, 2]],
        "reverse_transformer_layers_per_block": [[2, 2, 2], [1, 1, 1], 0],
    },
    "koala 700m": SDXL | {
        "mid_block_type": None, "layers_per_block": 1, "transformer_layers_per_block": [0, 2, 5],
    },
    "kolors": SDXL | {
        "encoder_hid_dim": 4096, "encoder_hid_dim_type": "text_proj",
        "projection_class_embeddings_input_dim": 5632,
    },
}  # fmt: skip

_ONLY_UP = ("up_block_types", "out_channels", "sample_size")


def _down(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _ONLY_UP}


CONTROLNETS: dict[str, dict[str, Any]] = {
    "controlnet 1": _down(SD1),
    "controlnet 1 shuffle": _down(SD1) | {"global_pool_conditions": True},
    "controlnet 1, blue first": _down(SD1) | {"controlnet_conditioning_channel_order": "bgr"},
    "controlnet 2": _down(SD2),
    "controlnet sdxl": _down(SDXL),
    "controlnet sdxl mid": _down(SDXL) | {"transformer_layers_per_block": [0, 0, 1]},
    "controlnet sdxl small": _down(SDXL) | {
        "down_block_types": ["DownBlock2D"] * 3, "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [0, 0, 0],
    },
}  # fmt: skip
ADAPTERS: dict[str, dict[str, Any]] = {
    "full": {"adapter_type": "full_adapter"},
    "light": {"adapter_type": "light_adapter", "channels": [320, 640, 1280], "num_res_blocks": 4},
    "sdxl": {"adapter_type": "full_adapter_xl", "downscale_factor": 16},
}

_NARROW = {256: 16, 320: 16, 384: 16, 512: 32, 640: 32, 768: 32, 1024: 32, 1280: 32, 1536: 32}
_HEADS = {5: 2, 6: 2, 8: 4, 10: 4, 12: 4, 20: 4, 24: 4}


def reduced(config: dict[str, Any]) -> dict[str, Any]:
    """The same structure, narrow enough to run in a test."""
    small = config | {"norm_num_groups": 8, "cross_attention_dim": 24}
    small["block_out_channels"] = [_NARROW[width] for width in config["block_out_channels"]]
    heads = config["attention_head_dim"]
    small["attention_head_dim"] = (
        _HEADS[heads] if isinstance(heads, int) else [_HEADS[n] for n in heads]
    )
    if config.get("transformer_layers_per_block") == [1, 2, 10]:
        small["transformer_layers_per_block"] = [1, 2, 3]
    if "encoder_hid_dim" in config:
        small["encoder_hid_dim"] = 20
    if "addition_time_embed_dim" in config:
        numbers = 5 if config["projection_class_embeddings_input_dim"] == 2560 else 6
        small |= {
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 8 * numbers + 12,
        }
    if config.get("class_embed_type") == "projection":
        small["projection_class_embeddings_input_dim"] = 40
    if "time_cond_proj_dim" in config:
        small["time_cond_proj_dim"] = 16
    return small
