"""Softmax regression on scikit-learn's digits, dealt to ten nodes; run it with `flwr run .`."""
