"""What a saved picture says of itself: how it was made, for people, galleries and `replay`.

All of it stands in one XMP packet, which PNG, JPEG, WebP, AVIF and GIF have each a place for:
the record of the run, and the mark of media made by trained algorithms (IPTC's
DigitalSourceType). Beside it stands the line of parameters that galleries read since
AUTOMATIC1111's web UI wrote it.
"""

import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from PIL import ExifTags, ImageChops
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from graph import Ambient

Record = Mapping[str, Any]
"""How a value was made, as JSON has it."""
Provenance = Annotated[Callable[[], Record] | None, Ambient("provenance")]
"""Tells a saver how what it saves was made."""

WEIGHTS = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_RECORD = re.compile(r"<rg:record>(.*?)</rg:record>", re.DOTALL)
_LONGEST_SEGMENT = 65_000  # bytes, of JPEG
# As A1111 calls them, and what the inputs of graphs are called.
_PARAMETERS = {
    "Steps": "steps",
    "Sampler": "scheduler",
    "CFG scale": "guidance_scale",
    "Seed": "seed",
    "Denoising strength": "strength",
}


def pixel_digest(pictures: Sequence[Picture.Image]) -> str:
    """Give the SHA-256 of the sizes, modes and pixels of pictures, whatever file they are in."""
    whole = hashlib.sha256()
    for picture in pictures:
        whole.update(f"{picture.width}×{picture.height} {picture.mode} ".encode())
        whole.update(picture.tobytes())
    return whole.hexdigest()


def stored_picture(file: Path) -> Picture.Image | None:
    """Read the very pixels that were saved; None of a file that loses some, or moves."""
    with Picture.open(file) as picture:
        if picture.format != "PNG" or getattr(picture, "n_frames", 1) > 1:
            return None
        return picture.copy()


def pixel_difference(one: Picture.Image, other: Picture.Image) -> str:
    """Say in words how far apart the pixels of two pictures are."""
    if (one.size, one.mode) != (other.size, other.mode):
        sizes = [f"{it.width}×{it.height} {it.mode}" for it in (one, other)]
        return f"one is {sizes[0]}, the other {sizes[1]}"
    apart = ImageChops.difference(one, other)
    counts = [sum(apart.getchannel(band).histogram()[1:]) for band in apart.getbands()]
    largest = max(apart.getchannel(band).getextrema()[1] for band in apart.getbands())
    share = sum(counts) / (len(counts) * one.width * one.height)
    return f"{share:.2%} of the values differ, by {largest} of 255 at the most"


def save_options(
    file: Path, pictures: Sequence[Picture.Image], record: Record, index: int | None = None
) -> dict[str, Any]:
    """Give the options of Pillow's `save` that write into a file how it was made.

    The record of the run gets the number of the picture in its batch, none for the frames of an
    animation, and what the pixels are. Formats with no place for it get no options; a JPEG has room
    for 64 kB, into which a very long graph or prompt does not go.
    """
    format = Picture.registered_extensions()[file.suffix.lower()]
    record = {**record, "picture": index, "pixels": pixel_digest(pictures)}
    packet, parameters = _packet(record), _parameters(pictures[0], record)
    if format == "PNG":
        chunks = PngInfo()
        chunks.add_text("parameters", parameters)
        chunks.add_itxt("XML:com.adobe.xmp", packet)
        return {"pnginfo": chunks}
    if format == "GIF":
        return {"comment": packet.encode()}
    if format not in ("JPEG", "WEBP", "AVIF"):
        return {}
    room = _LONGEST_SEGMENT if format == "JPEG" else math.inf
    options: dict[str, Any] = {}
    comment = b"UNICODE\0" + parameters.encode("utf-16-be")
    if len(comment) <= room:
        exif = Picture.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
        options["exif"] = exif.tobytes()
    for long in ("graph", "inputs"):  # it is better to say less than to lose the picture
        if len(packet.encode()) > room:
            del record[long]
            packet = _packet(record)
    return {**options, "xmp": packet.encode()}


def read_record(file: Path) -> dict[str, Any] | None:
    """Read how a picture was made; None where it does not say.

    Raises OSError for a file that is no picture, ValueError for a damaged record.
    """
    with Picture.open(file) as picture:
        picture.load()  # a PNG may have its text behind the pixels
        info: Mapping[Any, Any] = picture.info
    places = ("xmp", "XML:com.adobe.xmp", "comment")
    packet = next((info[place] for place in places if place in info), "")
    text = packet.decode(errors="replace") if isinstance(packet, bytes) else str(packet)
    found = _RECORD.search(text)
    if found is None:
        return None
    record = json.loads(html.unescape(found[1]))
    if not isinstance(record, dict):
        raise ValueError("its record is no JSON object")
    return record


def _packet(record: Record) -> str:
    files = [str(file["file"]) for file in record.get("files", ())]
    trained = any(name.endswith(WEIGHTS) for name in files)
    mark = f'\n    Iptc4xmpExt:DigitalSourceType="{TRAINED}"' if trained else ""
    text = html.escape(json.dumps(record), quote=False)
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:rg="urn:run-graph:record"
    xmp:CreatorTool="run-graph {record["run-graph"]}"{mark}>
   <rg:record>{text}</rg:record>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def _parameters(picture: Picture.Image, record: Record) -> str:
    """Write the lines of A1111: the prompt, the negative prompt, all else in one line."""
    inputs: Mapping[str, Any] = record["inputs"]
    known = {name: inputs[key] for name, key in _PARAMETERS.items() if key in inputs}
    if isinstance(known.get("Seed"), int):
        known["Seed"] += record["picture"] or 0  # number k of a batch has seed + k
    known["Size"] = f"{picture.width}x{picture.height}"
    weights = [file for file in record["files"] if str(file["file"]).endswith(WEIGHTS)]
    if weights:  # of all files the UNet's is the largest
        known["Model hash"] = max(weights, key=lambda file: file["bytes"])["sha256"][:10]
    if "model" in inputs:
        known["Model"] = str(inputs["model"]).rpartition("/")[2]
    known["Version"] = f"run-graph {record['run-graph']}"
    lines = [_one_text(inputs.get("prompt", ""), record["picture"] or 0)]
    if inputs.get("negative_prompt"):
        negative = _one_text(inputs["negative_prompt"], record["picture"] or 0)
        lines.append(f"Negative prompt: {negative}")
    named = (f"{name}: {_quoted(str(value))}" for name, value in known.items())
    text = "\n".join([*lines, ", ".join(named)])
    return text.encode(errors="replace").decode()  # half a surrogate pair is no text in a file


def _quoted(value: str) -> str:
    """Write a value as A1111 does: as JSON if it has a sign that would end it."""
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def _one_text(prompt: Any, index: int) -> str:
    """Take the prompt of one picture, where there is a list with one for each."""
    return str(prompt[index % len(prompt)] if isinstance(prompt, list) and prompt else prompt)
