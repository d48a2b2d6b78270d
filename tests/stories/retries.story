# A handler fails three times: back-off doubles, and the third attempt was the last.
> join r1 1
> submit a
    accepted a#1(queued)
    -> answer a=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches a(1)
> report r1 1.1 handler_error:1 done
    retrying #1(in 100 ms, 1 charged)
    -> answer ReportAck(gone=())
> dispatch
> later 100
    due #1
> dispatch
    lease 1.2 to r1: #1
    -> r1 launches a(2)
> report r1 1.2 handler_error:1 done
    retrying #1(in 200 ms, 2 charged)
    -> answer ReportAck(gone=())
> later 200
    due #1
> dispatch
    lease 1.3 to r1: #1
    -> r1 launches a(3)
> report r1 1.3 handler_error:1 done
    failed #1(handler_error, crashes 0)
    -> ended failed: a
    -> answer ReportAck(gone=())
> later 100000
> dispatch
