"""Tasks' logs: what they are made of, and how they are kept in the state directory.

    tasklog/dt=2026-11-30/1a2b3c4d-000000017     a bundle: what the attempts of one node wrote in some seconds

A bundle is written once, by a node's runner (`actors.log_keeper`). Its name, a *place*, is chosen before it is written, so that an
attempt's report can say where its log will be; the task's row keeps the place of the last one, and each piece of a log
says where that before it is. So whoever reads one task's log goes from bundle to bundle, and never looks for it:
two requests for each, a directory and a block.

    places   what bundles are called               pieces   what is in them, and in the spools of nodes
    bundle   their format                          stored   reading one task's log out of them
    chosen   the part of a log that is asked for
"""

from __future__ import annotations
