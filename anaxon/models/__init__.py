"""Networks of the experiments, in plain Flax."""
