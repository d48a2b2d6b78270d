# All that wait are cancelled: at once nothing of it runs any more, then it is made real. What came later goes its way.
> join r1 1
> submit running
    accepted running#1(queued)
    -> answer running=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches running(1)
> submit a b
    accepted a#2(queued) b#3(queued)
    -> answer a=accepted b=accepted
> delay 100 scheduled
    accepted scheduled#4(scheduled)
    -> answer scheduled=accepted
> bulk cancel
    cancel all that are scheduled or queued or retrying or paused, up to #4
    -> answer 3 match, 0 changed
> submit later
    accepted later#5(queued)
    -> answer later=accepted
> dispatch
> report r1 1.1 ok:1 done
    succeeded #1
    -> ended succeeded: running
    -> answer ReportAck(gone=())
> dispatch
    lease 1.2 to r1: #5
    -> r1 launches later(1)
> later 100
    caught #4
    -> ended cancelled: scheduled
> step
    step up to #4, done
    -> ended cancelled: a b
> step
> restart
    epoch 2
