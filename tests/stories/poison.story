# A payload that ends its process: the second time is the last.
> function app.f 2
    FunctionsSet
> join r1 1
> submit a
    accepted a#1(queued)
    -> answer a=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches a(1)
> report r1 1.1 crashed:1 done
    retrying #1(in 100 ms, 1 charged)
    -> answer ReportAck(gone=())
> later 100
    due #1
> dispatch
    lease 1.2 to r1: #1
    -> r1 launches a(2)
> report r1 1.2 crashed:1 done
    failed #1(poison, crashes 2)
    -> ended failed: a
    -> answer ReportAck(gone=())
