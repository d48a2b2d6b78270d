# A schedule makes its tasks; one time waits for the end of the last one; after an outage, what passed is caught up.
> join r1 1
> every 1000 s queue_one catch:all
    schedule s: next 1000, 0 fired
    -> answer s, version 1
> later 999
> later 1
    accepted s@1970-01-01T00:16:41.000Z#1(queued)
    s has come so far: next 2000, 1 fired
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches s@1970-01-01T00:16:41.000Z(1)
> later 1000
    s has come so far: next 3000, 1 fired, 2000 waits
> later 1000
    s has come so far: next 4000, 1 fired, skipped 0 late 1 overlapping 0 refused, 2000 waits
> report r1 1.1 ok:1 done
    succeeded #1
    -> ended succeeded: s@1970-01-01T00:16:41.000Z
    -> answer ReportAck(gone=())
> later 0
    accepted s@1970-01-01T00:16:42.000Z#2(queued)
    s has come so far: next 4000, 2 fired, skipped 0 late 1 overlapping 0 refused
# Then the process is away for ten seconds.
> restart
    epoch 2
> join r1 1
> settle
> later 10000
    s has come so far: next 14000, 2 fired, skipped 0 late 10 overlapping 0 refused, 4000 waits
> dispatch
    lease 2.1 to r1: #2
    -> r1 launches s@1970-01-01T00:16:42.000Z(1)
> unschedule s
    no schedule s
    -> answer s, version 1
> later 10000
