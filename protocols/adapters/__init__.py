"""The toolkit inside federated-learning frameworks: each adapter translates their types to sites and exchanges.

An adapter holds no protocol logic and is imported on demand: `from protocols.adapters import flower`.
"""
