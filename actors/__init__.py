"""The shells that run the core on Ray: thin enough to read in one sitting each.

`deploy` is the only place that says `ray.remote`, `processes` is what it makes actors of, `ray_port` holds the Ray calls.
The rest are plain classes.
"""

if __name__ != "taskservice.actors":
    raise ImportError("import taskservice.actors, not actors: see ARCHITECTURE.md, 'Names'")
