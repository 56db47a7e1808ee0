"""Pictures read out of gradients, as files to look at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dp.audit import Panel
from protocols.errors import Misused
from protocols.report.png import png

_ENLARGED, _GAP = 4, 1


@dataclass(frozen=True, slots=True)
class Album:
    """A folder for pictures; made before anything is computed, so that nothing is in vain."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Album:
        """Raises: Misused where no folder can be made."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as wrong:
            raise Misused(f"cannot make the folder {folder}: {wrong.strerror}; choose another place") from wrong
        return cls(folder)

    def keep(self, panels: Sequence[Panel]) -> list[str]:
        """One file for each panel, named after its title, and one for all of them: the paths.

        Raises: OSError when a file cannot be written.
        """
        drawn = {f"{place}-{_plain(panel.title)}": (panel.pixels,) for place, panel in enumerate(panels)}
        everything = {"all": tuple(panel.pixels for panel in panels), **drawn}
        paths = []
        for name, pixels in everything.items():
            path = self.folder / f"{name}.png"
            path.write_bytes(png(sheet(pixels)))
            paths.append(str(path))
        return paths


def sheet(panels: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Pictures in lines, one line for each panel, white between them and every pixel four times as large.

    Shapes: each panel (n, side, side), all alike -> (height, width).
    """
    framed = [np.pad(panel, ((0, 0), (0, _GAP), (0, _GAP)), constant_values=1.0) for panel in panels]
    lines = np.vstack([np.hstack(list(panel)) for panel in framed])
    return lines.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)


def _plain(title: str) -> str:
    """A title as the name of a file."""
    return "-".join(re.findall(r"[a-z0-9]+(?:\.[0-9]+)?", title.lower()))
