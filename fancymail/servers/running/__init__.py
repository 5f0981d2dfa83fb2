"""What every daemon stands on, whatever it does: how it is started, shut in, spoken to, watched and stopped.

    daemon.py       Daemon, the base class; `run_daemon` runs one in this process
    nodes.py        what it has in a cluster instead of files; hints.py: alerts between nodes
    launch.py       from a name to the daemon; supervisor.py: the parent of all of them; child.py: a process behind the fork
    sockets.py      listening sockets, made here or inherited
    allocator.py    memory that was freed goes back to the system
"""
