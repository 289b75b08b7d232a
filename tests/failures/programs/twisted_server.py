"""Twisted: the programs in the words of PEP 3156, put into the words of Twisted by one `Protocol`.

It is a push producer, registered with its transport, which is how Twisted says `pause_writing`; it implements
`IHalfCloseableProtocol`, without which Twisted ends both directions when the peer ends one; lines are split by
`LineReceiver`, whose `MAX_LENGTH` is on; a line, a pause in writing and a close have deadlines by `TimeoutMixin`; how
many connections there may be is `LimitTotalConnectionsFactory`; a UNIX socket has its lock file (`wantPID`).
`LimitConnectionsByPeer` is left off: in Twisted 26.10 it subscripts an address, which addresses have long ceased to
allow, and so refuses everyone.
"""

import signal
import sys

from twisted.internet import error, reactor
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import LimitTotalConnectionsFactory, TimeoutMixin
from twisted.python import log
from zope.interface import implementer

from tests.failures.programs import end_protocols
from tests.failures.programs.serving import arguments, host_and_port, program_class, tell


class Loop:
    """Twisted's calls by asyncio's names."""

    call_soon_threadsafe = staticmethod(reactor.callFromThread)

    def call_soon(self, function, *arguments):
        reactor.callLater(0, function, *arguments)

    def call_later(self, seconds, function, *arguments):
        return reactor.callLater(seconds, function, *arguments)


class Connection:
    """Twisted's transport by PEP 3156's names."""

    reactor = Loop()

    def __init__(self, transport, closing):
        self.transport = transport
        self.when_closing = closing
        self.abort = transport.abortConnection
        self.pause_reading, self.resume_reading = transport.pauseProducing, transport.resumeProducing
        self.closing = False

    def write(self, data):
        if not self.closing:  # PEP 3156 has it dropped; Twisted would still send it
            self.transport.write(data)

    def writelines(self, chunks):
        if not self.closing:
            self.transport.writeSequence(chunks)

    def close(self):
        self.closing = True
        self.transport.unregisterProducer()  # else it waits for the producer to have done
        self.transport.loseConnection()
        self.when_closing()

    def is_closing(self):
        return self.closing or not self.transport.connected


@implementer(IHalfCloseableProtocol, IPushProducer)
class Bridge(Protocol, TimeoutMixin):
    """Makes the program's callbacks from Twisted's."""

    def __init__(self, program, settings):
        self.program, self.settings = program, settings
        self.paused = False  # a producer is paused again by each write; PEP 3156 says it once

    def connectionMade(self):
        self.connection = Connection(self.transport, lambda: self.set_deadline("close_seconds"))
        self.transport.registerProducer(self, True)
        self.program.connection_made(self.connection)

    def dataReceived(self, data):
        self.program.data_received(data)

    def readConnectionLost(self):
        if not self.program.eof_received():
            self.connection.close()

    def writeConnectionLost(self):
        pass

    def connectionLost(self, reason):
        self.setTimeout(None)
        clean = reason.check(error.ConnectionDone)
        self.program.connection_lost(None if clean else reason.value)

    def pauseProducing(self):
        if not self.paused:
            self.paused = True
            self.set_deadline("write_stall_seconds")
            self.program.pause_writing()

    def resumeProducing(self):
        if self.paused:
            self.paused = False
            self.setTimeout(None)
            self.program.resume_writing()

    def stopProducing(self):
        pass

    def set_deadline(self, name):
        self.setTimeout(self.settings.get(name))

    def timeoutConnection(self):
        self.transport.abortConnection()  # what it does by itself is to lose it, which waits for the output


@implementer(IHalfCloseableProtocol)
class Lines(LineReceiver, TimeoutMixin):
    delimiter = b"\n"

    def __init__(self, settings):
        self.MAX_LENGTH = settings.get("frame_bytes", self.MAX_LENGTH)
        self.seconds = settings.get("frame_seconds")

    def dataReceived(self, data):
        super().dataReceived(data)
        if self.seconds and self.timeOut is None and self._buffer:
            self.setTimeout(self.seconds)  # not reset by what comes: it is the line's, not the connection's

    def lineReceived(self, line):
        self.setTimeout(None)
        self.sendLine(line)

    def lineLengthExceeded(self, line):
        self.sendLine(b"too long")
        self.transport.loseConnection()

    def readConnectionLost(self):
        self.transport.loseConnection()

    def writeConnectionLost(self):
        pass


class Programs(Factory):
    noisy = False

    def __init__(self, name, settings):
        self.make = program_class("".join(word.capitalize() for word in name.split("_")))
        self.name, self.settings = name, settings

    def buildProtocol(self, address):
        if self.name == "lines":
            return Lines(self.settings)
        return Bridge(self.make(), self.settings)


def limited(factory, settings):
    if "max_connections" in settings:
        limit = LimitTotalConnectionsFactory()
        limit.protocol = lambda: factory.buildProtocol(None)
        limit.connectionLimit = settings["max_connections"]
        return limit
    return factory


def listen(factory, bind, settings):
    backlog = settings.get("backlog", 50)
    if bind.startswith("unix:"):
        return reactor.listenUNIX(bind[5:], factory, backlog=backlog, wantPID=True)
    host, port = host_and_port(bind)
    return reactor.listenTCP(port, factory, backlog=backlog, interface=host or "")


def main():
    program, bind, settings = arguments()
    log.startLogging(sys.stderr, setStdout=False)
    try:
        port = listen(limited(Programs(program, settings), settings), bind, settings)
    except error.CannotListenError as exc:
        sys.exit(f"cannot listen on {bind}: {exc}")
    end_protocols.HOST.update(stop_listening=port.stopListening, close_loop=reactor.stop)
    signal.signal(signal.SIGUSR1, lambda *_: log.msg("SIGUSR1"))
    reactor.callWhenRunning(tell, port.socket.getsockname())
    reactor.run()


main()
