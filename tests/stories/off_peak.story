# What can wait does, until others have used little for a minute; then it takes up to half of the pool, and no more when they come. When its deadline is near it waits for that no longer.
> join r1 2
> off_peak 2000000 a b c
    accepted a#1(queued, off_peak, pressed in 1090000 ms) b#2(queued, off_peak, pressed in 1089925 ms) c#3(queued, off_peak, pressed in 1089850 ms)
    -> answer a=accepted b=accepted c=accepted
> submit now
    accepted now#4(queued)
    -> answer now=accepted
> dispatch
    lease 1.1 to r1: #4
    -> r1 launches now(1)
> later 60000
> dispatch
> report r1 1.1 ok:4 done
    succeeded #4
    -> ended succeeded: now
    -> answer ReportAck(gone=())
> dispatch
> later 60000
> dispatch
    lease 1.2 to r1: #1 #2
    -> r1 launches a(1) b(1)
> report r1 1.2 ok:2 handler_error:1 done
    succeeded #2
    retrying #1(in 100 ms, 1 charged)
    -> ended succeeded: b
    -> answer ReportAck(gone=())
> later 100
    due #1
> submit again another
    accepted again#5(queued) another#6(queued)
    -> answer again=accepted another=accepted
> dispatch
    lease 1.3 to r1: #1
    lease 1.4 to r1: #5 #6
    -> r1 launches a(2)
    -> r1 launches again(1) another(1)
> later 969900
    put off #3(by 899999 ms)
> dispatch
> report r1 1.3 ok:1 done
    succeeded #1
    -> ended succeeded: a
    -> answer ReportAck(gone=())
> report r1 1.4 ok:5 ok:6 done
    succeeded #5 #6
    -> ended succeeded: again another
    -> answer ReportAck(gone=())
> later 900000
    pressed #3
> dispatch
    lease 1.5 to r1: #3
    -> r1 launches c(1)
