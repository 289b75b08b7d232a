"""The second way to write a program: `async def`.

The files, in reading order: `pausing`, `scopes`, `task`, `waiting`, `groups`, `threads`, `kept`, `roots`,
`endings`, `stream`, `handlers`, `opening`, `program`, `tree`.
"""
