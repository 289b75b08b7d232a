"""To be read first: a whole event loop. It watches descriptors and makes calls, and knows nothing of connections.

Reading order (each file uses only the files before it): `reports`, `counters`, `timers`, `repeats`,
`threads`, `poller`, `wakeup`, `signals`, `fork`, `states`, `watches`, `loop`, `watchdog`.
"""
