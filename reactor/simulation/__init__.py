"""A network that is not there: sockets, a kernel and a clock for a real loop, decided by one number.

Real sockets show what usually happens. A server dies of what seldom happens, in an order that nobody has tried. Here
the loop's selector, its sockets and its clock are replaced, and a seed decides what the network does and when. So a
failure is a number, and the number shows it again. No test waits: the clock jumps to whatever comes next.

Reading order, each file leaning only on those before it: `network` (TCP as its two ends see it), `unix_endpoints` (what
is different on a UNIX socket), `sockets` (as a program calls it), `demultiplexers` (how a loop waits for it), `peers`
(clients as lists of steps). `kernel` asks the same of the model and of the real kernel, and compares the answers.

Nothing of the package imports this. `scripts/proof/` runs the reactor on it, and so may your tests.
"""
