# One task from its acceptance to its end; then its id is asked for again.
> join r1 1
> submit a
    accepted a#1(queued)
    -> answer a=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches a(1)
> report r1 1.1 ok:1 done
    succeeded #1
    -> ended succeeded: a
    -> answer ReportAck(gone=())
> submit a
    -> answer a=duplicate
