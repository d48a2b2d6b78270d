# A critical task does not wait for a long one: that is told to stop, and runs again. A dispatcher that starts meanwhile tells it again.
> join r1 1
> submit a c
    accepted a#1(queued) c#2(queued)
    -> answer a=accepted c=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches a(1)
> later 200
> urgent b
    accepted b#3(queued)
    -> answer b=accepted
> dispatch
> later 200
> dispatch
> later 200
> dispatch
    orders preempt 1.1: default is to have room for app.f (critical)
    -> r1 is told: preempt 1.1 within 5000 ms
> restart
    epoch 2
> join r1 1 1.1
    -> r1 is told: preempt 1.1 within 5000 ms
> settle
> dispatch
> report r1 1.1 preempted:1 done
    preempted #1
    -> answer ReportAck(gone=())
> report r1 1.1 preempted:1 done
    -> answer ReportAck(gone=(Token(epoch=1, seq=1),))
> dispatch
    lease 2.1 to r1: #3
    -> r1 launches b(1)
> report r1 2.1 ok:3 done
    succeeded #3
    -> ended succeeded: b
    -> answer ReportAck(gone=())
> dispatch
    lease 2.2 to r1: #1 #2
    -> r1 launches a(1) c(1)
> report r1 2.2 ok:1 done
    succeeded #1
    retrying #2(in -600 ms, 0 charged)
    -> ended succeeded: a
    -> answer ReportAck(gone=())
