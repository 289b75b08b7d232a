"""Our echo as coroutines: what anyone would write with `Stream`.

Usage: python -m reactor serve scripts.benchmarks.servers.reactor_streams:echo, or :lines
"""


from reactor import timeout


async def echo(stream):
    """Whatever comes, back."""
    while data := await stream.read():
        await stream.write(data)


async def lines(stream):
    """Each line back as it came."""
    async for line in stream.lines():
        await stream.write(line + b"\n")


async def echo_in_time(stream):
    """As `echo`, with a deadline for each message: what a `timeout` costs."""
    while True:
        with timeout(60):
            data = await stream.read()
        if not data:
            return
        await stream.write(data)
