"""What proves the reactor: thousands of scenarios on the simulated network, checked by the laws; and deliberate bugs.

Here the real reactor runs on `reactor.simulation`. One number decides everything else: which clients come, which
program serves them, what goes wrong, and when.

Reading order; each file needs only those before it: `laws` (what must hold), `frames` and `witness` (the
observers of one connection), `watched` (the connection that a program sees), `lines`, `programs`, `restless` and
`chaos` (what is served), `tasks` and `reads` (the observers of coroutines), `talk` and `coroutines` (what is served by
tasks), `foreign` (code of a program that runs at unexpected moments), `threads` and `logs` (the
rest of the process), `neighbours` (other reactors in it), `dials` and `upstreams` (connections that we open),
`scenarios` (everything from one number), `promises` (timers and queued calls), `memory` (what is buffered), `books`
(the account of system calls), `doors` (the listeners), `servings` (a server and its drain), `turns` (what is
checked, and when), `hang` (what never ends), `world` (puts all of it together and runs it). Then come the uses:
`shrink` (makes a failure small), `summary` (many seeds), and `hunting` with `mutants` (bugs that must be found).

`make sim` runs it, and so do the tests.
"""
