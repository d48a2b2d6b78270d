# A straggler holds a lease up: what it has not started goes back, uncharged, to its old place.
> join r1 1
> submit warm
    accepted warm#1(queued)
    -> answer warm=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches warm(1)
> report r1 1.1 ok:1 done
    succeeded #1
    -> ended succeeded: warm
    -> answer ReportAck(gone=())
> submit a b c
    accepted a#2(queued) b#3(queued) c#4(queued)
    -> answer a=accepted b=accepted c=accepted
> dispatch
    lease 1.2 to r1: #2 #3 #4
    -> r1 launches a(1) b(1) c(1)
> submit d
    accepted d#5(queued)
    -> answer d=accepted
> report r1 1.2 back:3 back:4
    handed back #3 #4
    -> answer ReportAck(gone=())
> join r2 1
> dispatch
    lease 1.3 to r2: #3 #4
    lease 1.4 to r2: #5
    -> r2 launches b(1) c(1)
    -> r2 launches d(1)
> report r1 1.2 ok:2 done
    succeeded #2
    -> ended succeeded: a
    -> answer ReportAck(gone=())
> pause b d
    -> answer b=running d=running
