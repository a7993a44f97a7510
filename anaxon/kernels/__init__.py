"""Accelerator kernels; imported lazily, never needed for a result."""
