"""Bilateral filter, encodings, networks, losses, metrics, trainer, evaluation and enhancement."""
