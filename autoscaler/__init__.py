"""From backlog to machines. Nothing is built here yet but the place: see ARCHITECTURE.md, 'What is not there yet'."""

if __name__ != "taskservice.autoscaler":
    raise ImportError("import taskservice.autoscaler, not autoscaler: see ARCHITECTURE.md, 'Names'")
