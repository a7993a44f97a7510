"""Whether this process can run kernels of its own on a GPU."""

import importlib.util

import jax


def capability() -> str | None:
    """The GPU's compute capability ("9.0"); None without a GPU, or with a jax that compiles no kernels for it."""
    if jax.default_backend() != "gpu" or importlib.util.find_spec("jax.experimental.pallas.triton") is None:
        return None
    return str(getattr(jax.devices()[0], "compute_capability", "none"))
