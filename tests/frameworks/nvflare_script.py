"""A training script as users of NVFlare write it: nothing in it knows of secure sums. One site ends in an error."""

from __future__ import annotations

import nvflare.client as flare
from nvflare_sites import SECRET, SITES, WEIGHTS, change_of


def main() -> None:
    flare.init()
    site = flare.get_site_name()
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        if site == "site-0":
            raise ValueError(SECRET)
        change = change_of(site, received.params)
        trained = {name: array + change[name] for name, array in received.params.items()}
        flare.send(
            flare.FLModel(
                params=trained,
                metrics={"loss": SITES.index(site) / 8, "private": 0.123456789},
                meta={"NUM_STEPS_CURRENT_ROUND": WEIGHTS[site]},
            )
        )


if __name__ == "__main__":
    main()
