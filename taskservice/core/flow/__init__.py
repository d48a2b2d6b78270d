"""What bounds the flow of tasks: gates, which are open or closed, and say why."""
