"""Weights to cells and back: mapping, tiles, the column read."""
