"""Corpora, features and batches of the experiments."""
