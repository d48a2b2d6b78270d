# What is deleted has never been, and its id is free; what runs is left alone, also when it ends meanwhile.
> join r1 1
> submit done
    accepted done#1(queued)
    -> answer done=accepted
> dispatch
    lease 1.1 to r1: #1
    -> r1 launches done(1)
> report r1 1.1 ok:1 done
    succeeded #1
    -> ended succeeded: done
    -> answer ReportAck(gone=())
> submit running
    accepted running#2(queued)
    -> answer running=accepted
> dispatch
    lease 1.2 to r1: #2
    -> r1 launches running(1)
> submit a b
    accepted a#3(queued) b#4(queued)
    -> answer a=accepted b=accepted
> delete a nowhere
    delete #3
    -> deleted a
    -> answer a=deleted nowhere=not_found
> bulk delete
    delete all that are scheduled or queued or retrying or paused or succeeded or failed or cancelled or expired, up to #4
    -> answer 2 match, 0 changed
> step
    step up to #4, done
    -> deleted done b
> later 1
> report r1 1.2 ok:2 done
    succeeded #2
    -> ended succeeded: running
    -> answer ReportAck(gone=())
> submit a done running
    accepted a#5(queued) done#6(queued)
    -> answer a=accepted done=accepted running=duplicate
