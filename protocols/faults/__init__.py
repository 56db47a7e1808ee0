"""Faults on purpose: schedules of them, a driver that plays them in virtual time, and what shrinks them."""
