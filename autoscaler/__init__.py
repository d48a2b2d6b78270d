"""From backlog to machines: what work would run if there were more of them, how many that takes, and which may go.

    observe  what the shard says of its backlog -> how much of it gates let run, and how much work arrives (`allowed`, `load`)
    policy   that -> machines of each kind, and why (`places`, `packing`); which may go (`surplus`)
    provider asks whoever starts machines for them
    loop     does all of that again and again

All but providers and loop is pure. `docs/autoscaling.md` says it for users.
"""

if __name__ != "taskservice.autoscaler":
    raise ImportError("import taskservice.autoscaler, not autoscaler: see ARCHITECTURE.md, 'Names'")
