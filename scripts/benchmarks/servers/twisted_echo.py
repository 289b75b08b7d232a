"""Twisted's echo: a Protocol, and its LineOnlyReceiver for lines. Usage: python twisted_echo.py echo|lines"""

import sys

from twisted.internet import protocol, reactor
from twisted.protocols.basic import LineOnlyReceiver

BACKLOG = 4096


class Echo(protocol.Protocol):
    """Whatever comes, back."""

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data):
        self.transport.write(data)


class Lines(LineOnlyReceiver):
    """Each line back."""

    delimiter = b"\n"

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line):
        self.sendLine(line)


if __name__ == "__main__":
    factory = protocol.Factory.forProtocol({"echo": Echo, "lines": Lines}[sys.argv[1]])
    port = reactor.listenTCP(0, factory, backlog=BACKLOG, interface="127.0.0.1")
    print(f"twisted_echo: listening on 127.0.0.1:{port.getHost().port}", file=sys.stderr)
    reactor.run()
