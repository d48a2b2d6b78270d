# What has not started in time ends, wherever it waits; what has been tried does not expire any more; run again it is as if it were new.
> join r1 1
> ttl 100 tried
    accepted tried#1(queued)
    -> answer tried=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches tried(1)
> ttl 100 a b
    accepted a#2(queued) b#3(queued)
    -> answer a=accepted b=accepted
> pause b
    pause #3
    -> answer b=paused
> report r1 1.1 handler_error:1 done
    retrying #1(in 100 ms, 1 charged)
    -> answer ReportAck(gone=())
> later 100
    expired #2 #3
    due #1
    -> ended expired: a b
> dispatch
    lease 1.2 to r1: #1
    -> r1 launches tried(2)
> report r1 1.2 ok:1 done
    succeeded #1
    -> ended succeeded: tried
    -> answer ReportAck(gone=())
> retry a
    retry #2
    -> answer a=retried
> dispatch
    lease 1.3 to r1: #2
    -> r1 launches a(1)
