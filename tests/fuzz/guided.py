"""Coverage-guided fuzzing for as long as one likes: `make fuzz`, or

    python -m tests.fuzz.guided [-runs=N] [-max_total_time=SECONDS] [folder of inputs]

An input is a frame. Its header is repaired, signatures are trusted, its message is said to every state of every
role in three rounds; whatever raises what the rules do not allow is a crash, written down by libFuzzer. Needs the
extra `fuzz`. A crash found here becomes a case of `test_frames.py`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["protocols", "secagg", "dp"]):
    from tests.fuzz import loops, targets
    from tests.fuzz.corpus import frames, recordings


def shoot(data: bytes) -> None:
    """The frame as it is, then its message at every state."""
    targets.open_any(data)
    repaired = targets.repaired(data)
    targets.open_any(repaired)
    chosen = sum(data[:4])
    for scenes in SCENES:
        loops.say(repaired, scenes, draw=lambda many: chosen % many)


SCENES = [[targets.Scene(recording, pose) for pose in recording.poses] for recording in recordings()]


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, targets.trusting():
        for number, frame in enumerate(frames()):
            (Path(folder) / f"{number:03}").write_bytes(frame)
        atheris.Setup([*arguments, folder], shoot)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
