"""The working table of tasks: `sqlite` in production, `memory` in simulations; one conformance suite over both."""
