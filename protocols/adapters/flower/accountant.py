"""Placeholder."""


class FlowerAccountant: ...
