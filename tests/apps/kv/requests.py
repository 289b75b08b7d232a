"""Bytes for the parser: requests, what is no request, and what Redis says to it.

What Redis does with these is the same however the bytes arrive. (It is not always so: whether it takes a line of 70,000
bytes depends on what its `read` brings. Ours is always refused.)
"""

REQUESTS = {
    b"*1\r\n$4\r\nPING\r\n": [[b"PING"]],
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n": [[b"GET", b"k"], [b"PING"]],
    b"*2\r\n$0\r\n\r\n$5\r\n\r\n$*\x00\r\n": [[b"", b"\r\n$*\x00"]],
    b"*0\r\n*-1\r\n*-7\r\n*1\r\n$1\r\na\r\n": [[b"a"]],
    b"*1\rx$4\r?PINGyz*1\r\n$1\r\na\r\n": [[b"PING"], [b"a"]],  # as in Redis, the last byte of a CRLF is not read
    b"*1\r\n$12\r\nabcdefghijkl\r\n": [[b"abcdefghijkl"]],
    b"PING\r\nPING\nPING  a\t b \r\n": [[b"PING"], [b"PING"], [b"PING", b"a", b"b"]],
    b"\r\n\n \r\n*1\r\n$1\r\na\r\nb\r\n": [[b"a"], [b"b"]],
    b"'a b' \"c d\" '' \"\" e'f' g\"h\"\n": [[b"a b", b"c d", b"", b"", b"ef", b"gh"]],
    b"\"\\x41\\xff\\n\\r\\t\\b\\a\\q\\\\\\\"\\x4\" 'a\\'b\\n'\n": [[b'A\xff\n\r\t\b\aq\\"x4', b"a'b\\n"]],
    b"a\rb\x0bc\x0cd\n": [[b"a", b"b", b"c", b"d"]],
    b"caf\xc3\xa9 \xff\n": [[b"caf\xc3\xa9", b"\xff"]],
}  # fmt: skip

BULK_LENGTH = "invalid bulk length"
MULTIBULK_LENGTH = "invalid multibulk length"
QUOTES = "unbalanced quotes in request"

MALFORMED = {
    b"*1\r\n$-1\r\n": BULK_LENGTH,
    b"*1\r\n$a\r\n": BULK_LENGTH,
    b"*1\r\n$\r\n": BULK_LENGTH,
    b"*1\r\n$+4\r\nPING\r\n": BULK_LENGTH,
    b"*1\r\n$ 4\r\nPING\r\n": BULK_LENGTH,
    b"*1\r\n$4 \r\nPING\r\n": BULK_LENGTH,
    b"*1\r\n$04\r\nPING\r\n": BULK_LENGTH,
    b"*1\r\n$1_0\r\nPING567890\r\n": BULK_LENGTH,
    b"*1\r\n$4\nPING\r\n": BULK_LENGTH,
    b"*1\r\n$536870913\r\n": BULK_LENGTH,
    b"*1\r\n$9223372036854775808\r\n": BULK_LENGTH,
    b"*1\r\n$99999999999999999999999\r\n": BULK_LENGTH,
    b"*2\r\n$4\r\nECHO\r\n$x\r\n": BULK_LENGTH,
    b"*1\r\n:3\r\n": "expected '$', got ':'",
    b"*1\r\n\r\n\r\n": "expected '$', got ' '",
    b"*1\r\n\x1b3\r\n": "expected '$', got '\x1b'",
    b"*1\r\n\xff3\r\n": "expected '$', got '\xff'",
    b"*2\r\n$4\r\nPING\r\nPING\r\n": "expected '$', got 'P'",
    b"*1\r\n$4\r\nPINGPI$4\r\nPING\r\n*x\r\n": MULTIBULK_LENGTH,
    b"*abc\r\n": MULTIBULK_LENGTH,
    b"*\r\n": MULTIBULK_LENGTH,
    b"*+1\r\n$4\r\nPING\r\n": MULTIBULK_LENGTH,
    b"* 1\r\n$4\r\nPING\r\n": MULTIBULK_LENGTH,
    b"*01\r\n$4\r\nPING\r\n": MULTIBULK_LENGTH,
    b"*-0\r\n": MULTIBULK_LENGTH,
    b"*1\n$4\r\nPING\r\n": MULTIBULK_LENGTH,
    b"*2147483648\r\n": MULTIBULK_LENGTH,
    b"*-9223372036854775809\r\n": MULTIBULK_LENGTH,
    b"*99999999999999999999999\r\n": MULTIBULK_LENGTH,
    b'PING "a\r\n': QUOTES,
    b"PING 'a\r\n": QUOTES,
    b'PING "a"b\r\n': QUOTES,
    b"PING 'a'b\r\n": QUOTES,
    b"PING 'a\\'\r\n": QUOTES,
    b'PING "a\\"\r\n': QUOTES,
    b'PING "a"\'b\'\r\n': QUOTES,
    b"PING \"\r\n": QUOTES,
}  # fmt: skip

# These are long, so they are not cut at every byte.
MOST = 65_536  # bytes of a line
TOO_LONG = {
    b"x" * (MOST + 1): "too big inline request",
    b"*" + b"1" * MOST: "too big mbulk count string",
    b"*1\r\n$" + b"1" * MOST: "too big bulk count string",
}
