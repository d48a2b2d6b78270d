# Two tasks of a lease run. One is cancelled: it is told to stop, again after a restart, and has ended when it has. Its neighbour goes on.
> join r1 1
> submit z
    accepted z#1(queued)
    -> answer z=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches z(1)
> report r1 1.1 ok:1 done
    succeeded #1
    -> ended succeeded: z
    -> answer ReportAck(gone=())
> submit a b
    accepted a#2(queued) b#3(queued)
    -> answer a=accepted b=accepted
> dispatch
    lease 1.2 to r1: #2 #3
    -> r1 launches a(1) b(1)
> cancel a
    orders cancel 1.2: somebody has cancelled it
    -> r1 is told: cancel 1.2 within 5000 ms
    -> answer a=cancelling
> cancel a
    -> answer a=cancelling
> restart
    epoch 2
> join r1 1 1.2
    -> r1 is told: cancel 1.2 within 5000 ms
> settle
> report r1 1.2 handler_error:2
    stopped and cancelled #2
    -> ended cancelled: a
    -> answer ReportAck(gone=())
> report r1 1.2 ok:3 done
    succeeded #3
    -> ended succeeded: b
    -> answer ReportAck(gone=())
> dispatch
# Whoever succeeds before it has stopped has succeeded.
> submit c
    accepted c#4(queued)
    -> answer c=accepted
> dispatch
    lease 2.1 to r1: #4
    -> r1 launches c(1)
> cancel c
    orders cancel 2.1: somebody has cancelled it
    -> r1 is told: cancel 2.1 within 5000 ms
    -> answer c=cancelling
> report r1 2.1 ok:4 done
    succeeded #4
    -> ended succeeded: c
    -> answer ReportAck(gone=())
# And whoever is lost, or handed back, is not run again.
> submit d
    accepted d#5(queued)
    -> answer d=accepted
> dispatch
    lease 2.2 to r1: #5
    -> r1 launches d(1)
> cancel d
    orders cancel 2.2: somebody has cancelled it
    -> r1 is told: cancel 2.2 within 5000 ms
    -> answer d=cancelling
> lose r1
    stopped and cancelled #5
    -> ended cancelled: d
> join r2 1
> dispatch
# It can be, if somebody asks for it.
> retry d
    retry #5
    -> answer d=retried
> dispatch
    lease 2.3 to r2: #5
    -> r2 launches d(1)
