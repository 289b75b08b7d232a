"""A script that runs uvloop's loop, and runs it again whenever Ctrl-C has left it: asyncio's, on another loop."""

import asyncio

import uvloop

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

from tests.failures.programs import asyncio_interrupts  # noqa: E402, F401  # it is the script
