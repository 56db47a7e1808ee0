"""Softmax regression on scikit-learn's digits, dealt to ten nodes, of which `flwr run` alone starts too few:

    flwr run . --federation-config "num-supernodes=10" --stream

It needs the extras 'flower' and 'report'.
"""
