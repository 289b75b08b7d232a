"""The first sitting: a whole event loop, for descriptors and calls. It has never heard of a connection.

Reading order, each file leaning only on those before it: `reports`, `counters`, `timers`, `poller`, `wakeup`,
`signals`, `fork`, `states`, `watches`, `loop`, `watchdog`.
"""
