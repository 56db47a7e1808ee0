"""How the toolkit enters a framework's loop: framework types to endpoint bytes and back, and no protocol logic.

Each file needs one framework and is imported on demand: `MissingExtra` says what to install.
"""
