"""The bench: what an echo costs, on our server and on others, measured so that noise on the machine does not decide.

In reading order:

  contenders      which servers are measured, and how each is started
  processes       a server in its own process, on another core than the load; what the kernel says it used
  load, load.c    the clients: they read lines that say what to send, and answer with times
  generator       starts them
  rows            what is measured: the lines of the table
  rounds          in which order, and how many figures become one (medians of ratios within a round)
  system_calls    `strace` and its table
  report, goals   from figures to tables
  instructions    `valgrind`: user-space instructions per echo, which noise does not change
  attribution     the same, for each function of our data path
  drawing         from saved figures to SVG

`scripts/bench.py` is the command line.
"""
