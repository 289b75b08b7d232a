"""The parts of `scripts/run_clients.py`.

In reading order: `messages` (what is sent), `client` (one of them, and how it can end), `presence` (when it may call a
server late), `connecting` (how all get there), `schedule` (when to send, at a fixed rate), `hostile` (those that
misbehave), `swarm` (all clients through one run), `latencies`, `report` and `progress` (what is told), `descriptors`
(what the system allows).
"""
