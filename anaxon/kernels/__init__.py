"""Kernels written for one kind of processor, bit for bit what the rest of the core computes without them."""
