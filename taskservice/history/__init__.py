"""Files of history: tasks that have ended, as Parquet in the state directory, a file for a day and a batch.

    history/dt=2026-11-24/000000000001-000000050000-00000003-9f8e7d6c.parquet

Whoever reads them without the service (DuckDB, Spark, Ray Data) sees one row per task; the day is that on which it ended,
in UTC. `parquet` makes files and rows, `reader` reads single tasks for the gateway, `keys` is the names.
"""
