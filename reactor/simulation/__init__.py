"""The reactor on a network that is not there: seeded, in virtual time, under the eyes of its laws.

Real sockets show what usually happens. What a server dies of is what seldom happens, in an order that nobody has
tried. Here the real reactor runs, with its selector, its sockets and its clock replaced, and one number decides
everything else: who connects, what goes wrong, and when. So a failure is a number, and the number shows it again.

Reading order, each file leaning only on those before it: `network` (TCP as its two ends see it), `sockets` (as the
reactor calls it), `demultiplexers` (how it waits), `peers` (clients as lists of steps), `laws` (what must hold),
`frames` and `witness` (who watches), `watched` (the connection that a program sees), `programs`, `lines`, `restless`
and `chaos` (what is served), `foreign` (code of theirs that runs where nobody expects it), `threads` and `logs` (the
rest of the process), `dials` and `upstreams` (who is dialled), `scenarios` (everything from one number), `promises`
(timers and queued calls), `memory` (what is buffered), `books` (the account of system calls), `doors` (where newcomers
come in), `servings` (a server and its drain), `turns` (what is looked at, and when), `hang` (what never ends), `world`
(all of it put together and lived through). Then what is done with it: `shrink` (a failure made small), `summary` (many
seeds), `mutants` (bugs that must be found), and `kernel` (is the model like the real thing?).

Nothing of the package below imports this. `make sim` runs it, and so do the tests.
"""
