"""A network that is not there: sockets, a kernel and a clock for a real loop, decided by one number.

Real sockets show what usually happens. Servers fail at rare events, in an order that no test has tried. Here the loop's
selector, its sockets and its clock are replaced, and a seed decides what the network does and when. So the seed of a
failure is enough to repeat it. No test waits: the clock jumps to the next event.

Reading order (each file uses only those before it): `network` (TCP as its two ends see it), `unix_endpoints` (what
is different on a UNIX socket), `sockets` (what a program calls), `demultiplexers` (how a loop waits), `peers` (clients
as lists of steps). `kernel` runs the same scripts on the model and on the real kernel, and compares the answers.

The rest of the package does not import this. `scripts/proof/` runs the reactor on it, and your tests may do the same.
"""
