"""The bench: what an echo costs, ours beside others, measured so that a noisy machine does not decide who wins.

In reading order:

    contenders      who is measured, and how each is started
    processes       a server in a process of its own, away from the load; what the kernel says it used
    load, load.c    the clients: told by lines what to send, they answer with times
    rows            what is measured: the lines of the table
    rounds          in which order, and how a figure is made of many (medians of ratios within a round)
    system_calls    `strace` and its table
    report, goals   from figures to tables
    instructions    `valgrind`: user-space instructions per echo, which no noise can touch
    attribution     the same, by function of our data path
    drawing         from saved figures to SVG

`scripts/bench.py` is the command line.
"""
