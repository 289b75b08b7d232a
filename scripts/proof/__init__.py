"""What proves the reactor: some thousand scenarios on the simulated network, watched by the laws, and bugs put in.

Here the real reactor runs on `reactor.simulation`, and one number decides everything else: which clients come, which
program serves them, what goes wrong, and when.

Reading order, each file leaning only on those before it: `laws` (what must hold), `frames` and `witness` (the
observers of one connection), `watched` (the connection that a program sees), `programs`, `lines`, `restless` and
`chaos` (what is served), `foreign` (code of a program that runs where nobody expects it), `threads` and `logs` (the
rest of the process), `neighbours` (other reactors in it), `dials` and `upstreams` (connections that we open),
`scenarios` (everything from one number), `promises` (timers and queued calls), `memory` (what is buffered), `books`
(the account of system calls), `doors` (the listeners), `servings` (a server and its drain), `turns` (what is looked
at, and when), `hang` (what never ends), `world` (all of it put together and lived through). Then what is done with
it: `shrink` (a failure made small), `summary` (many seeds), and `hunting` with `mutants` (bugs that must be found).

`make sim` runs it, and so do the tests.
"""
