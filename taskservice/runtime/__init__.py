"""A lease on its node: the supervisor (in the Ray task; feeds, watches, reports, kills) and the child (runs user code)."""
