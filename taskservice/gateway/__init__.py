"""The only place that knows HTTP and JSON.

A request goes through `access` (who is it, may they?), `body` (bytes, bounded), `requests` (typed), `admit` (valid for
the function's schema: a `NewTask`) and leaves by the `DispatcherPort`; what comes back leaves by `answers`, a refusal by
`problems`. The routes are in `submit`, `query`, `cancel`, `operations`, `schedules`, `functions`, `admin` and `health`; `app` puts
them together.

A gateway keeps nothing but a replica of the catalog (tenants, keys, functions). Any number of them may run, and one may
be stopped at any time: whatever was answered is the dispatcher's, and durable.
"""
