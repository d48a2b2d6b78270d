"""What would happen: the real core in virtual time, against a fleet, tenants and work that a file describes.

    scenario (YAML) -> plan -> world: streams of submits, the shard, runners -> meters -> report -> gates, tables, charts

The shard is the one of production, driven by the same calls. What is simulated is what surrounds it: producers, machines,
handlers' durations and failures, downstreams, and the time that a commit takes. Nothing here reads a clock: the same
scenario with the same seed gives the same report, to the byte.
"""
