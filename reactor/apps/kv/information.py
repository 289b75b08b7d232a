"""What INFO tells: figures of the store, of the clients, and of the reactor below, under the names that Redis uses."""

from __future__ import annotations

import os

from .client import Database

VERSION = "7.0.0"  # of Redis: whose commands, as far as they are here, clients may expect


def information(database: Database, sections: set[str]) -> str:
    """The report, a heading and `name:value` lines for each section. An empty set means all."""
    chosen = {name: facts for name, facts in _sections(database).items() if not sections or name.lower() in sections}
    parts = []
    for name, facts in chosen.items():
        parts.append("".join([f"# {name}\r\n", *(f"{fact}:{value}\r\n" for fact, value in facts.items())]))
    return "\r\n".join(parts)


def _sections(database: Database) -> dict[str, dict[str, object]]:
    store, channels, counters = database.store, database.channels, database.counters
    return {
        "Server": {
            "redis_version": VERSION,
            "redis_mode": "standalone",
            "process_id": os.getpid(),
        },
        "Clients": {
            "connected_clients": len(database.clients),
        },
        "Memory": {
            "used_memory": store.used_bytes + store.client_bytes,
            "client_buffers": counters.buffered_bytes,
            "maxmemory": store.max_bytes,
            "maxmemory_policy": "noeviction",
        },
        "Stats": {
            "total_commands_processed": database.commands,
            "expired_keys": store.expired,
            "pubsub_channels": len(channels.by_name),
            "pubsub_patterns": len(channels.by_pattern),
            "total_connections_received": counters.accepted,
            "total_net_input_bytes": counters.bytes_received,
            "total_net_output_bytes": counters.bytes_sent,
        },
        "Keyspace": {"db0": f"keys={len(store)},expires={store.deadlines()},avg_ttl=0"} if len(store) else {},
    }
