"""asyncio's protocols on uvloop, as its README runs them: the same script, by `uvloop.run`."""

import uvloop

from tests.failures.programs.asyncio_server import serve

serve(uvloop.run)
