"""What `run.py` measures: one module a group, each with `rows(quick)`."""
