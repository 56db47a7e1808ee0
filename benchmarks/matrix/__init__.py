"""The attack matrix: every check against every library, and who withstood.

    checks.py       what is checked: an id, an idea in one sentence, and what it is against
    finding.py      what came of one check: withstood, fell, not applicable, not installed
    target.py       how a library's file of probes is run inside the environment of that library
    libraries.py    which libraries there are, and the findings of one
    child.py        a probe that may kill its process, in a process of its own
    masks.py, ciphertexts.py, privacy.py    one judgement for each idea, the same for us and for everybody
    ours_*.py       this library's probes; those of others are `benchmarks.peers.<library>_target`
    table.py        check by library, for a terminal and for the page

Checks show that a property holds or fails, in one process and on data made there. None searches for a key.
"""
