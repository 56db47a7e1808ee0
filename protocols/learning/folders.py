"""What a run keeps on disk: arrays and a few words about them, each file replaced whole or not at all.

    save_model, load_model    the parameters alone, as one .npz file
    RunFolder                 a run's own folder, locked while it is in use: checkpoint, opened mean, cohorts

No pickle is read or written. What is here is public once its round is: models, means, who was asked; never an update.
"""

from __future__ import annotations

import json
import os
import re
import weakref
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from dp.errors import Locked
from dp.place import require_not_remote, sync_directory, take_lock
from protocols.errors import Misused
from protocols.storage import require_folder

Arrays = Mapping[str, np.ndarray[Any, Any]]
ABOUT = "about"
LOCK = "run.lock"
_MADE = re.compile(r"(\w+)\((.*)\)", re.DOTALL)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_IN_MEMORY = re.compile(r"<[^<]* at 0x[0-9a-f]+>", re.IGNORECASE)


def save_model(path: Path, parameters: Sequence[np.ndarray[Any, Any]]) -> None:
    """The parameters, in order, as one .npz file; no pickle. The file is replaced whole or not at all.

    Raises: Misused when something is no array of floats.
    """
    odd = [str(array.dtype) for array in parameters if array.dtype.kind != "f"]
    if odd or not parameters:
        raise Misused(f"a model is a list of float arrays, got {odd or 'an empty list'}")
    _replace(path, {f"arr_{place}": array for place, array in enumerate(parameters)})


def load_model(path: Path) -> list[np.ndarray[Any, Any]]:
    """What `save_model` wrote; nothing in the file is ever executed.

    Raises: Misused when the file is something else.
    """
    found = _load(path)
    try:
        return [found[f"arr_{place}"] for place in range(len(found))]
    except KeyError as error:
        raise Misused(f"{path} is no model file: {error}") from error


class RunFolder:
    """One run's folder, held by one process at a time; the system lets go of it at any death.

    Raises: Locked while another run has it; dp.errors.StorageRefused when it cannot be made, or lies on a network.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        require_not_remote(self.path / LOCK)
        require_folder(self.path)
        # A file of its own: a ledger that is made in this folder locks the folder itself.
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._release = weakref.finalize(self, os.close, descriptor)
        if not take_lock(descriptor, self.path):
            self.close()
            raise Locked(f"another run goes on in {self.path}: end it first, or name another folder")

    def save(self, name: str, about: Mapping[str, Any], arrays: Arrays) -> None:
        """Afterwards this, and nothing else, is found under that name after any crash.

        Raises: Misused after `close`.
        """
        self._require_open()
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        _replace(self.path / f"{name}.npz", {ABOUT: text, **arrays})
        sync_directory(self.path)

    def load(self, name: str) -> tuple[dict[str, Any], Arrays] | None:
        """What was saved last under that name; None when nothing was.

        Raises: Misused when the file is something else, or after `close`.
        """
        self._require_open()
        path = self.path / f"{name}.npz"
        if not path.exists():
            return None
        found = _load(path)
        try:
            about = json.loads(found.pop(ABOUT).tobytes())
        except (KeyError, ValueError) as error:
            raise Misused(f"{path} was not written by a run: {error}; name another folder") from error
        return about, found

    def close(self) -> None:
        """Gives the folder up."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if not self._release.alive:
            raise Misused(f"the folder {self.path} was closed: open it again")


def _replace(path: Path, arrays: Arrays) -> None:
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        # savez takes its own parameters by name too: none of ours is called so.
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _load(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile) or not found.files:
                raise Misused(f"{path} holds no model")
            return {name: found[name] for name in found.files}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Misused(f"{path} is no model file: {error}") from error


def described(*parts: object) -> str:
    """What a folder must be resumed with, in words that another process finds again.

    Raises: Misused for an object that is shown by its place in memory, of which no second process has the same.
    """
    text = ", ".join(str(part) for part in parts)
    placed = _IN_MEMORY.search(text)
    if placed:
        raise Misused(f"{placed[0]} does not say what its settings are: give its class a __repr__, as a dataclass has")
    return text


def differing(known: str, given: str) -> tuple[str, str]:
    """Two texts of `described`, each without the parts and fields that both have."""
    pairs = [_narrowed(one, other) for one, other in _pairs(known, given) if one != other]
    return ", ".join(one for one, _ in pairs), ", ".join(other for _, other in pairs)


def _narrowed(known: str, given: str) -> tuple[str, str]:
    one, other = _MADE.fullmatch(known), _MADE.fullmatch(given)
    if one and other and one[1] == other[1]:
        fields = [pair for pair in _pairs(one[2], other[2]) if pair[0] != pair[1]]
        return f"{one[1]}({', '.join(a for a, _ in fields)})", f"{one[1]}({', '.join(b for _, b in fields)})"
    if _DIGEST.fullmatch(known) and _DIGEST.fullmatch(given):
        return f"a model of layout {known[:8]}", f"a model of layout {given[:8]}"
    return known, given


def _pairs(known: str, given: str) -> list[tuple[str, str]]:
    """Part beside part; both texts whole where one has more parts."""
    ours, theirs = _parts(known), _parts(given)
    return list(zip(ours, theirs, strict=True)) if len(ours) == len(theirs) else [(known, given)]


def _parts(text: str) -> list[str]:
    """Split at the commas outside all brackets."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]
