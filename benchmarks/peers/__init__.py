"""Peer libraries, measured and attacked in environments of their own."""
