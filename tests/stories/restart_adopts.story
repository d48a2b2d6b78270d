# The dispatcher restarts while a holds a lease and b waits. The runner still has it: a goes on in its first attempt.
> join r1 1
> submit a b
    accepted a#1(queued) b#2(queued)
    -> answer a=accepted b=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches a(1)
> restart
    epoch 2
> join r1 1 1.1
> settle
> dispatch
> report r1 1.1 ok:1 done
    succeeded #1
    -> ended succeeded: a
    -> answer ReportAck(gone=())
> dispatch
    lease 2.1 to r1: #2
    -> r1 launches b(1)
