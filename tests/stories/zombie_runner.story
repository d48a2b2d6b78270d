# A runner is taken for lost while it works. Its task runs elsewhere; what it says later changes nothing.
> join r1 1
> submit a
    accepted a#1(queued)
    -> answer a=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches a(1)
> lose r1
    retrying #1(in 0 ms, 0 charged)
> join r2 1
> later 250
    due #1
> dispatch
    lease 1.2 to r2: #1
    -> r2 launches a(1)
> report r1 1.1 ok:1 done
    -> answer ReportAck(gone=(Token(epoch=1, seq=1),))
> report r2 1.2 ok:1 done
    succeeded #1
    -> ended succeeded: a
    -> answer ReportAck(gone=())
