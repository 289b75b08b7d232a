"""The core: one thread, many connections, and nothing that a program above needs to know.

Reading order, each file leaning only on those before it: `reports`, `protocol`, `states`, `deadlines`, `limits`,
`counters`, `buffers`, `timers`, `poller`, `wakeup`, `signals`, `connection`, `memory`, `admission`, `options`,
`kernel_buffers`, `listener`, `dispatcher`, `acceptor`, `watchdog`, `fork`, `loop`.
"""
