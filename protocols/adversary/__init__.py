"""A villain by hand: scripts of attacks, and what a library under attack must offer them.

    verdict.py   what a script found
    targets.py   capabilities: how a library is attacked, without its message names
    passive.py, server.py, inputs.py   the scripts: one reads only, one lies, one feeds bad inputs
    scripts.py   the list of all scripts
    stage.py     real endpoints of this library, a round at a time, with a hand on every frame
    ours.py      this library as a target
    floor.py     the same stage for one-shot rounds, whose sums a committee opens
    one_shot.py  these rounds as a target

A script is the idea ("one client is listed alive and dead"); a target says how its library's messages
express the idea, or that they cannot. They are checks: each shows that a property fails, on vectors and parties made
here, and none searches for a key.
"""
