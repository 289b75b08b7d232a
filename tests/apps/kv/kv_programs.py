"""Key-value servers with small bounds: `reactor serve tests.apps.kv.kv_programs:NAME`."""

from reactor.apps.kv import KeyValues

small = KeyValues(max_bytes=100_000, argument_bytes=10_000, request_bytes=20_000, sweep_keys=10).serve
