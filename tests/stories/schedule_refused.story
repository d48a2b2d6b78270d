# There is no room for the task of a schedule: it says so, tries again, and makes the last of the times that passed.
> tenant 1
    TenantSet
> submit full
    accepted full#1(queued)
    -> answer full=accepted
> every 6000 s
    schedule s: next 6000, 0 fired
    -> answer s, version 1
> later 6000
    s has come so far: next 6000, 0 fired, again at 16000, queued_max
> later 9999
> later 1
    s has come so far: next 12000, 0 fired, skipped 1 late 0 overlapping 0 refused, again at 26000, queued_max
> cancel full
    cancelled #1
    -> ended cancelled: full
    -> answer full=cancelled
> restart
    epoch 2
> later 10000
    accepted s@1970-01-01T00:17:04.000Z#2(queued)
    s has come so far: next 30000, 1 fired, skipped 3 late 0 overlapping 0 refused
