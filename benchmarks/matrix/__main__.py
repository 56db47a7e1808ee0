"""`python -m benchmarks.matrix`: the page of the newest stored result."""

from __future__ import annotations

from benchmarks.matrix import page

if __name__ == "__main__":
    page.write()
