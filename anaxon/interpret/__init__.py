"""The walk over a traced function, and the interpreters of a plan."""
