"""Tensors come from disk before they are asked for, while other work is done."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread

from .component import StoredTensor

PIECE = 2**20
"""Bytes asked for at once: Linux cuts what is longer than a disk's longest request, 1.25 MB."""
SOME = 32
"""So many pieces of a file tell whether it is in the cache."""


def read_ahead(tensors: Iterable[StoredTensor]) -> None:
    """Have the system read tensors into its cache, in the background and in the order of files.

    It takes no memory of the process. Only Linux is asked, and not for more than half of the
    machine's memory, where what came first might be gone before it is used.
    """
    wanted = pieces_of(tensors)
    size = PIECE * sum(map(len, wanted.values()))
    if hasattr(os, "RWF_NOWAIT") and 0 < size <= _memory() // 2:
        Thread(target=_bring_all, args=(wanted,), name="reading ahead", daemon=True).start()


def pieces_of(tensors: Iterable[StoredTensor]) -> dict[Path, list[int]]:
    """List the pieces of each file that tensors lie in: their numbers, each once and in order."""
    pieces: dict[Path, set[int]] = {}
    for tensor in tensors:
        first, last = tensor.span.start // PIECE, -(-tensor.span.stop // PIECE)
        pieces.setdefault(tensor.file, set()).update(range(first, last))
    return {file: sorted(found) for file, found in pieces.items() if found}


def bring(file: Path, pieces: Sequence[int]) -> None:
    """Ask for the pieces of a file that are not in the system's cache; waits for none of them.

    Where all of some pieces are there it takes the others to be, too: each probe holds up the
    thread that loads. Raises OSError for a file that cannot be opened or asked for.
    """
    with file.open("rb", buffering=0) as stream:
        number, size = stream.fileno(), os.fstat(stream.fileno()).st_size

        def is_there(piece: int) -> bool:
            # The last byte: the page of the first may have come with the piece before.
            last = min((piece + 1) * PIECE, size) - 1
            try:
                return os.preadv(number, [bytearray(1)], last, os.RWF_NOWAIT) > 0
            except OSError:  # it is not, or the file system does not tell
                return False

        if all(map(is_there, pieces[:: -(-len(pieces) // SOME)])):
            return
        for piece in pieces:
            if not is_there(piece):
                os.posix_fadvise(number, piece * PIECE, PIECE, os.POSIX_FADV_WILLNEED)


def _bring_all(wanted: Mapping[Path, Sequence[int]]) -> None:
    for file, pieces in wanted.items():
        with suppress(OSError):  # whoever reads it says it better
            bring(file, pieces)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
