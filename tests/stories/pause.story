# All that wait are paused: nothing of it is leased any more, each goes back to what it was when it is resumed, by itself or on demand.
> join r1 1
> submit tried
    accepted tried#1(queued)
    -> answer tried=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches tried(1)
> report r1 1.1 handler_error:1 done
    retrying #1(in 100 ms, 1 charged)
    -> answer ReportAck(gone=())
> submit a b c
    accepted a#2(queued) b#3(queued) c#4(queued)
    -> answer a=accepted b=accepted c=accepted
> delay 5000 scheduled
    accepted scheduled#5(scheduled)
    -> answer scheduled=accepted
> bulk pause for 1000
    pause all that are scheduled or queued or retrying, up to #5
    -> answer 5 match, 0 changed
> dispatch
> step
    step up to #5
    step up to #5, done
> resume c
    resume #4
    -> answer c=resumed
> later 1000
    resume #1 #2 #3 #5
> dispatch
    lease 1.2 to r1: #2
    -> r1 launches a(1)
> restart
    epoch 2
