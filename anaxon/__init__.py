"""Run any JAX function on simulated memristor hardware."""
