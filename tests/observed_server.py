"""`python -m reactor`, but with an answer to SIGUSR1: the server's statistics, as one line of JSON on stdout."""

import json
import signal
import sys

from reactor import Server
from reactor.service import command_line


class ObservedServer(Server):
    def listen(self):
        self.reactor.add_signal_handler(signal.SIGUSR1, self.tell)
        return super().listen()

    def tell(self):
        print(json.dumps(self.statistics()), flush=True)


command_line.Server = ObservedServer
sys.exit(command_line.main())
