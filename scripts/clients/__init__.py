"""The parts of `scripts/run_clients.py`.

In reading order: `messages` (what is sent), `client` (one client, and how it can end), `presence` (when a client may
call a server late), `connecting` (how all get connected), `schedule` (when to send, at a fixed rate), `hostile`
(clients that misbehave), `swarm` (all clients through one run), `latencies`, `verdict`, `report` and `progress` (the
results), `descriptors` (what the system allows).
"""
