"""Whether tensors have the axes that their kinds declare."""

from typing import Any, cast

from torch import Tensor

from graph import Kind, base_of, class_of, fields_of, item_type, kind_of, members

from .errors import brief


def misfit(value: Any, annotation: Any) -> str | None:
    """Say what a value must be that it is not, by the kinds in an annotation; None if it fits.

    Items of lists and fields are looked at, too.
    """
    kind = kind_of(annotation)
    if kind and isinstance(value, Tensor):
        fits = _has_axes(value, kind)
        return None if fits else f"have the axes {kind.axes}, found {_shape(value)}"
    if kind and base_of(annotation) is Tensor:
        return f"be a tensor, found {brief(value)}"
    if len(offers := members(annotation)) > 1:
        found = [misfit(value, offer) for offer in offers if kind_of(offer)]
        return found[0] if isinstance(value, Tensor) and found and all(found) else None
    if class_of(annotation) is list and not hasattr(value, "__len__"):
        return f"be a list, found {brief(value)}"
    if isinstance(value, list):
        item = item_type(annotation)
        return next(filter(None, (misfit(each, item) for each in cast("list[Any]", value))), None)
    for name, each in fields_of(annotation).items():
        if found := misfit(getattr(value, name, None), each):
            return f"{found} as `{name}`"
    return None


def _has_axes(value: Tensor, kind: Kind) -> bool:
    """Compare sides with axes such as `B 1|3 H W`; `...` stands for any that are left."""
    axes, sides = kind.axes.split(), list(value.shape)
    if not axes:
        return True
    if axes[-1] == "...":
        axes, sides = axes[:-1], sides[: len(axes) - 1]
    return len(axes) == len(sides) and all(
        str(side) in axis.split("|") or not axis[0].isdigit()
        for axis, side in zip(axes, sides, strict=True)
    )


def _shape(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a single number"
