"""What bounds the flow of tasks: gates, which are open or closed, and say why; and how long a retry waits.

bucket -- so many a second · running -- so many at once · window -- as many at once as a downstream turns out to bear
retry_budget -- retries only as a share of the traffic · backoff -- when a failed task may try again

All of it is volatile: after a restart buckets are empty, windows small, budgets at their first credit.
"""
