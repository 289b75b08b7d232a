"""To be read second: one connection's life, and the reactor, which is a loop with connections.

Reading order, each file leaning only on those before it: `protocol`, `states`, `limits`, `counters`, `sockaddr`,
`buffers`, `fields`, `connection`, `derived`, `socket_options`, `deadlines`, `budgets`, `access_log`, `reaper`,
`dispatcher`, `fast_path`, `acceptor`, `reactor`.
"""
