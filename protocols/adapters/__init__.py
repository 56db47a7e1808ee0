"""The toolkit inside federated-learning frameworks: their types to sites and exchanges, and no protocol logic.

Each file needs one framework and is imported on demand, `from protocols.adapters import flower`; `MissingExtra` says
what to install.
"""
