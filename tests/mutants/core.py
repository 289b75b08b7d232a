"""Mutants of `reactor/loop` and `reactor/connections`."""

from __future__ import annotations

from .hunting import Mutant

MUTANTS = (
    # Being held up.
    Mutant("the loop sleeps on more than may be buffered", "reactor/connections/reactor.py",
           "        return self.counters.buffered_bytes > self.limits.memory_bytes\n",
           "        return False\n",
           "tests/connections/test_reactor_evidence.py::test_the_loop_does_not_wait_while_more_is_buffered_than_may_be"),
    Mutant("what falls due while the loop is held up is judged at the next look", "reactor/connections/deadlines.py",
           "            if when <= timers.asked_at:\n",
           "            if True:\n",
           "tests/connections/test_reactor_evidence.py::"
           "test_a_frame_whose_end_came_while_the_loop_was_held_up_is_read_however_many_receives_that_takes"),
    Mutant("a stop during the wait is not seen", "reactor/loop/loop.py",
           "            timers.note_absence(poll_began + timeout, timers.now)\n",
           "            pass\n",
           "tests/connections/test_reactor_evidence.py::test_what_falls_due_while_the_process_is_stopped_in_a_wait_is_put_off_too"),
    Mutant("what is looked at behind its deadline is not put off", "reactor/connections/derived.py",
           "left_at - TICK_SECONDS <= when",
           "left_at <= when",
           "tests/connections/test_reactor_evidence.py::test_what_falls_due_while_the_process_is_stopped_in_a_wait_is_put_off_too"),
    Mutant("what is put off is not looked at before, whatever comes", "reactor/connections/deadlines.py",
           "                return\n        self.arm(connection, next_look(connection, when, timers.now))\n",
           "                return\n            self.arm(connection, when)\n            return\n"
           "        self.arm(connection, next_look(connection, when, timers.now))\n",
           "tests/connections/test_reactor_evidence.py::"
           "test_what_was_put_off_gives_way_to_the_shorter_time_that_the_first_byte_brings"),
    Mutant("the second of two absences hides the first", "reactor/loop/timers.py",
           "        if left_at > self.back_at or self.asked_at >= self.back_at:\n",
           "        if True:\n",
           "tests/connections/test_reactor_evidence.py::test_two_absences_without_a_look_in_between_are_one"),
    Mutant("a loop that is always late puts deadlines off for ever", "reactor/loop/timers.py",
           "left_at > self.back_at or self.asked_at >= self.back_at",
           "left_at > self.back_at",
           "tests/connections/test_reactor_evidence.py::test_two_absences_without_a_look_in_between_are_one"),
    Mutant("a slow callback is not seen to hold others up", "reactor/loop/loop.py",
           "            self.timers.note_absence(self.timers.now, self._asked_at)\n",
           "            pass\n",
           "tests/connections/test_reactor_evidence.py::"
           "test_what_falls_due_while_the_loop_is_held_up_has_as_much_time_again_and_no_more"),
    Mutant("a long stop gives as much time again, whatever the limit", "reactor/connections/derived.py",
           "back_at + min(back_at - left_at, limit)",
           "back_at + (back_at - left_at)",
           "tests/connections/test_reactor_evidence.py::"
           "test_what_falls_due_while_the_loop_is_held_up_has_as_much_time_again_and_no_more"),
    Mutant("the number of a socket that its program closed stays as it was", "reactor/connections/dispatcher.py",
           "        if former is not None:  #",
           "        if False:  #",
           "tests/connections/test_dispatcher_sockets.py::"
           "test_a_program_that_closes_its_own_socket_disturbs_nobody_that_gets_the_number"),
    # Accepting.
    Mutant("a listener that the kernel refuses to watch is forgotten", "reactor/connections/acceptor.py",
           "                self._rest(listener)\n                return\n            listener.interest",
           "                return\n            listener.interest",
           "tests/connections/test_acceptor.py::"
           "test_a_listener_that_the_kernel_refuses_to_watch_again_rests_on_and_tries_again"),
    Mutant("each rest has a timer of its own", "reactor/connections/acceptor.py",
           "        if self._waking is None:\n",
           "        if True:\n",
           "tests/connections/test_acceptor.py::"
           "test_a_listener_that_the_kernel_refuses_to_watch_again_rests_on_and_tries_again"),
    Mutant("the timer of the first rest is believed to run for ever", "reactor/connections/acceptor.py",
           "        self._waking = None\n        resting, ",
           "        resting, ",
           "tests/connections/test_acceptor.py::"
           "test_a_listener_that_the_kernel_refuses_to_watch_again_rests_on_and_tries_again"),
    Mutant("after SystemExit in connection_lost, the place that came free wakes no listener",
           "reactor/connections/reactor.py",
           "        try:\n            self.dispatcher.reaper.reap()\n        finally:  # also",
           "        self.dispatcher.reaper.reap()\n        if True:  # also",
           "tests/connections/test_reactor.py::test_a_place_that_comes_free_by_system_exit_is_given_away_too"),
    Mutant("while all places are taken, the listener is woken by a timer", "reactor/connections/acceptor.py",
           "                    self._stop_watching(listener, self._full)  # until",
           "                    self._rest(listener)  # until",
           "tests/connections/test_acceptor.py::"
           "test_while_all_places_are_taken_nothing_wakes_the_listener_but_an_end"),
    Mutant("each newcomer without a place is a line in the log", "reactor/connections/acceptor.py",
           "            self._logged_at[subject] = self._timers.now\n",
           "            pass\n",
           "tests/connections/test_acceptor.py::"
           "test_however_often_a_newcomer_finds_no_place_there_is_at_most_one_log_line_a_second"),
    Mutant("another thread may write", "reactor/connections/connection.py",
           "            return\n        if self.reactor.thread_id != get_ident():\n",
           "            return\n        if False:\n",
           "tests/connections/test_threads.py::test_another_thread_may_not_change_a_connection"),
    Mutant("between two runs, the loop still belongs to the thread of the first", "reactor/loop/loop.py",
           "    def _end(self, state: LoopState) -> None:\n        self.thread_id = None\n",
           "    def _end(self, state: LoopState) -> None:\n",
           "tests/connections/test_threads.py::test_while_no_thread_runs_the_loop_any_thread_may"),
    Mutant("what is only looked at counts as received", "reactor/connections/access_log.py",
           "        if not flags & socket.MSG_PEEK:\n",
           "        if True:\n",
           "tests/connections/test_access_log.py::test_what_is_only_looked_at_is_not_counted"),
    Mutant("a protocol with a mistake is known after the first time", "reactor/connections/dispatcher.py",
           "            if mistake := mistake_in(protocol):\n",
           "            self._known_program = type(protocol)\n            if mistake := mistake_in(protocol):\n",
           "tests/connections/test_protocol.py::"
           "test_a_protocol_with_a_mistake_ends_its_connection_with_one_line_and_no_callback"),
    Mutant("no memory for a newcomer leaves the loop", "reactor/connections/acceptor.py",
           "            except (OSError, MemoryError) as exc:\n",
           "            except OSError as exc:\n",
           "tests/connections/test_acceptor.py::test_a_listener_without_memory_for_a_newcomer_rests_too"),
    # Admission.
    Mutant("an IPv4 peer on an IPv6 socket is another one", "reactor/connections/budgets.py",
           "    if packed.startswith(MAPPED):\n",
           "    if False:\n",
           "tests/connections/test_budgets_places.py::test_peers_are_told_apart_by_their_host_or_their_network"),
    Mutant("one link-local network is the same on every interface", "reactor/connections/budgets.py",
           '    zone = f"%{peername[3]}" if peername[3] else ""\n',
           '    zone = ""\n',
           "tests/connections/test_budgets_places.py::test_peers_are_told_apart_by_their_host_or_their_network"),
    Mutant("all UNIX peers are one peer", "reactor/connections/budgets.py",
           "(host and from_host >=",
           "(from_host >=",
           "tests/connections/test_budgets_places.py::test_a_unix_socket_has_no_address_to_share_places_by"),
    Mutant("a host that has left is remembered for ever", "reactor/connections/budgets.py",
           "        if not self.by_host[host]:\n            del self.by_host[host]\n",
           "",
           "tests/connections/test_budgets_places.py::test_nobody_is_remembered_who_has_left"),
    # Timers.
    Mutant("what is armed during a rebuild is lost", "reactor/loop/timers.py",
           "        self._heap += living\n",
           "        self._heap = living\n",
           "tests/connections/test_interruptions.py::test_a_timer_that_is_armed_while_the_heap_is_rebuilt_fires"),
    Mutant("what is called off during a rebuild is not counted", "reactor/loop/timers.py",
           "        self._cancelled -= dead\n",
           "        self._cancelled = 0\n",
           "tests/connections/test_interruptions.py::test_a_timer_that_is_called_off_while_the_heap_is_rebuilt_is_counted"),
    Mutant("what comes to the top in the moment of a look is thrown away", "reactor/loop/timers.py",
           "            else:  # a nearer one was armed at this moment\n"
           "                heapq.heappush(self._heap, entry)\n",
           "",
           "tests/loop/test_timers.py::test_a_call_that_is_armed_in_the_moment_of_a_look_is_kept"),
    Mutant("what was called off and came to its time stays counted", "reactor/loop/timers.py",
           "            if entry[2].timers is None:  # cancelled, and counted as one in the heap\n"
           "                self._cancelled -= 1\n",
           "            if entry[2].timers is None:  # cancelled, and counted as one in the heap\n"
           "                pass\n",
           "tests/loop/test_timers.py::test_any_mixture_is_as_a_sorted_list_would_have_it"),
    Mutant("a timer that SystemExit put off is no member of the heap", "reactor/loop/timers.py",
           "                    entry[2].timers = self\n",
           "",
           "tests/loop/test_timers.py::test_what_leaves_the_loop_loses_no_other_call"),
    Mutant("a time of another type goes into the heap as it is", "reactor/loop/timers.py",
           "        when = float(when)  #",
           "        when = when  #",
           "tests/loop/test_timers.py::test_a_time_may_be_of_any_kind_that_is_a_number_of_seconds"),
    Mutant("a call can be made twice", "reactor/loop/timers.py",
           "            return True\n        self._callback, self._args = None, ()\n",
           "            return True\n",
           "tests/loop/test_timers.py::test_cancelling_again_or_too_late_does_nothing"),
    Mutant("a fork's child makes the calls that were due", "reactor/loop/timers.py",
           "        self._due.clear()\n",
           "",
           "tests/loop/test_fork.py::test_of_several_calls_that_were_due_the_child_makes_none"),
    Mutant("a timer is in the heap before it counts as armed", "reactor/loop/timers.py",
           "        handle.timers = self  # before the push, or a rebuild would throw it away\n"
           "        heapq.heappush(self._heap, entry)\n",
           "        heapq.heappush(self._heap, entry)\n        handle.timers = self\n",
           "tests/loop/test_timers.py::test_a_call_that_is_armed_in_the_moment_before_a_rebuild_is_kept"),
    # Calls again and again.
    Mutant("each call counts from the one before it", "reactor/loop/repeats.py",
           "(self._start + (count + more) * self._seconds for",
           "(now + more * self._seconds for",
           "tests/loop/test_repeats.py::test_neither_rounding_nor_lateness_adds_up"),
    Mutant("what was missed is made up for", "reactor/loop/repeats.py",
           "            self.when = self._next_when()\n",
           "            self.when += self._seconds\n",
           "tests/loop/test_repeats.py::"
           "test_whatever_is_missed_is_skipped_and_the_next_call_is_due_at_a_multiple_of_the_period"),
    Mutant("a callback cannot end its own series", "reactor/loop/repeats.py",
           "                self.cancel()\n",
           "                pass\n",
           "tests/loop/test_repeats.py::test_it_can_be_cancelled_in_its_own_callback"),
    # Calls on threads.
    Mutant("a call that was taken back is made", "reactor/loop/threads.py",
           "        self._work = self._future = None\n",
           "        self._future = None\n",
           "tests/loop/test_threads.py::test_a_call_that_waits_can_be_taken_back_and_its_function_is_never_called"),
    Mutant("an exception and its frame hold each other", "reactor/loop/threads.py",
           "        del self, future\n",
           "",
           "tests/loop/test_threads.py::test_an_exception_and_its_outcome_are_freed_when_then_has_returned"),
    Mutant("what was taken back has no bound", "reactor/loop/threads.py",
           "        count = len(self._places)\n",
           "        count = len(self.unanswered)\n",
           "tests/loop/test_threads.py::test_calling_and_taking_back_without_end_is_bounded_too"),
    Mutant("each call starts a thread while there may be more", "reactor/loop/threads.py",
           "if len(self._threads) <= count and",
           "if",
           "tests/loop/test_threads.py::test_threads_start_one_by_one_and_only_when_the_others_are_busy"),
    Mutant("threads without work outlive their loop", "reactor/loop/threads.py",
           "        self.abandon()\n        self._waiting.put(None)\n",
           "        self.abandon()\n",
           "tests/loop/test_threads.py::test_close_ends_threads_that_have_nothing_to_do"),
    Mutant("a child that a call has forked makes the other calls", "reactor/loop/threads.py",
           "            while not self._closed:\n",
           "            while True:\n",
           "tests/loop/test_threads.py::test_a_function_that_forks_lets_its_child_make_no_other_call"),
    Mutant("SystemExit in a call ends its thread", "reactor/loop/threads.py",
           "        except BaseException as exc:  # also SystemExit",
           "        except Exception as exc:  # also SystemExit",
           "tests/loop/test_threads.py::test_whatever_the_function_raises_is_for_then_and_the_thread_goes_on"),
    # The loop.
    Mutant("a wait that was stopped proves that nothing came", "reactor/loop/loop.py",
           "            events = self.poller.poll(0.0)\n",
           "",
           "tests/connections/test_reactor_evidence.py::test_a_wait_that_brings_nothing_is_followed_by_a_look"),
    Mutant("a batch that an exception ended proves something", "reactor/loop/loop.py",
           "            self.poller.end_batch()\n        self._note_evidence(len(events))",
           "            self.poller.end_batch()\n            self._note_evidence(len(events))",
           "tests/connections/test_reactor_evidence.py::test_a_batch_that_an_exception_ends_proves_nothing"),
    Mutant("calls of threads are taken over until there are none", "reactor/loop/loop.py",
           "        for _ in range(len(self._foreign)):  #",
           "        while self._foreign:  #",
           "tests/connections/test_reactor.py::test_threads_that_call_faster_than_they_are_served_do_not_hold_up_the_iteration"),
    Mutant("a call that comes while they are taken over is lost", "reactor/loop/loop.py",
           "            self._ready.append(self._foreign.popleft())\n",
           "            self._ready.extend(self._foreign)\n            self._foreign.clear()\n            break\n",
           "tests/connections/test_reactor.py::test_no_call_is_lost_that_comes_while_others_are_taken_over"),
    Mutant("a wait may be longer than epoll can count", "reactor/loop/loop.py",
           "timers.next_when() - self._asked_at, LONGEST_WAIT_SECONDS))",
           "timers.next_when() - self._asked_at))",
           "tests/connections/test_reactor_evidence.py::test_a_timer_thirty_days_away_is_no_trouble_to_the_wait"),
    Mutant("the first thing that cannot be given back ends the closing", "reactor/loop/loop.py",
           "            stack.callback(self.poller.close)\n            stack.callback(self._waker.close)\n"
           "            stack.callback(self.threads.close)\n"
           "            stack.callback(self._signals.close)\n            self._give_back(stack)\n"
           "            while self.at_close:\n"
           "                stack.callback(self.at_close.pop())\n",
           "            while self.at_close:\n                self.at_close.pop()()\n"
           "            for listener in self.acceptor.listeners():\n"
           "                self.acceptor.stop_listening(listener)\n"
           "            self._end_connections()\n            self._signals.close()\n"
           "            self.threads.close()\n            self._waker.close()\n            self.poller.close()\n"
           "            stack.pop_all()\n",
           "tests/connections/test_reactor_closing.py::"
           "test_system_exit_while_closing_goes_on_when_all_are_told_and_everything_is_given_back"),
    Mutant("SystemExit while closing leaves others without a word", "reactor/connections/reactor.py",
           "            except BaseException as exc:  # SystemExit: raised again when all have been told\n",
           "            except Exception as exc:  # SystemExit: raised again when all have been told\n",
           "tests/connections/test_reactor_closing.py::"
           "test_system_exit_while_closing_goes_on_when_all_are_told_and_everything_is_given_back"),
    # Waking it.
    Mutant("the pipe is taken for empty before it is", "reactor/loop/wakeup.py",
           "        try:\n"
           "            while len(self.socket.recv(4096)) == 4096:\n"
           "                pass\n"
           "        except BlockingIOError:\n"
           "            pass\n"
           "        # Clear the flag last. If it were cleared first, a thread could set it again and send its byte, "
           "`recv` would\n"
           "        # take that byte, and the flag would stay set: no wake-up would send a byte any more. A wake-up "
           "before this line\n"
           "        # sends none and needs none: the loop looks at its queues before it sleeps again.\n"
           "        self._pending = False\n",
           "        self._pending = False\n"
           "        try:\n"
           "            while len(self.socket.recv(4096)) == 4096:\n"
           "                pass\n"
           "        except BlockingIOError:\n"
           "            pass\n",
           "tests/loop/test_wakeup.py::test_a_wake_up_while_the_pipe_is_being_emptied_loses_no_later_one"),
    Mutant("the pipe is emptied by one call", "reactor/loop/wakeup.py",
           "            while len(self.socket.recv(4096)) == 4096:\n                pass\n",
           "            self.socket.recv(4096)\n",
           "tests/loop/test_wakeup.py::test_a_full_pipe_neither_blocks_nor_raises_and_is_emptied_at_once"),
    Mutant("a full pipe blocks the thread that wakes the loop", "reactor/loop/wakeup.py",
           "        self._sender.setblocking(False)\n",
           "",
           "tests/loop/test_wakeup.py::test_a_full_pipe_neither_blocks_nor_raises_and_is_emptied_at_once"),
    # Signals.
    Mutant("signals are taken until none has arrived", "reactor/loop/signals.py",
           "        for _ in range(len(self._arrived)):\n",
           "        while self._arrived:\n",
           "tests/loop/test_signals.py::test_a_signal_that_comes_again_and_again_while_it_is_taken_holds_nobody_up"),
    Mutant("a stranger's handler is taken away", "reactor/loop/signals.py",
           "        if signal.getsignal(number) is _deliver:  #",
           "        if True:  #",
           "tests/loop/test_signals.py::test_a_handler_that_a_stranger_put_over_ours_stays"),
    Mutant("the loop that came last is woken, not the one that runs", "reactor/loop/signals.py",
           "        return (self._running or latest)[-1].waker",
           "        return latest[-1].waker",
           "tests/loop/test_signals.py::test_the_loop_that_runs_is_woken_though_another_came_later"),
    Mutant("our own handler counts as the one from before", "reactor/loop/signals.py",
           "        if found is not _deliver:\n            self._before",
           "        if True:\n            self._before",
           "tests/loop/test_signals.py::test_the_latest_that_lives_gets_the_signal_whatever_the_order_of_going"),
    Mutant("a loop that is closed on a thread closes where signals are told", "reactor/loop/signals.py",
           "            owner.waker.lent = True  #",
           "            pass  #",
           "tests/loop/test_signals.py::"
           "test_a_loop_that_is_closed_on_another_thread_gives_its_signals_back_when_they_come"),
    Mutant("the wake-up descriptor from before is put back by its number", "reactor/loop/signals.py",
           "        if target is None and _known(self._descriptor_before[0]) == self._descriptor_before:\n",
           "        if target is None:\n",
           "tests/loop/test_signals.py::test_a_number_that_means_another_file_by_now_is_not_put_back"),
    Mutant("a signal that was blocked stays let through", "reactor/loop/signals.py",
           "            signal.pthread_sigmask(signal.SIG_BLOCK, [number])\n        if",
           "        if",
           "tests/loop/test_signals.py::test_a_blocked_signal_is_let_through_until_it_is_given_back"),
    Mutant("the first loop that wanted a signal keeps it", "reactor/loop/signals.py",
           "        claims[-1].arrive(number, frame)",
           "        claims[0].arrive(number, frame)",
           "tests/loop/test_signals.py::test_the_latest_that_lives_gets_the_signal_whatever_the_order_of_going"),
    Mutant("the end of the deferral takes a call for SIGINT along", "reactor/loop/signals.py",
           "                if self._deferring and signal.SIGINT not in self._calls:",
           "                if self._deferring:",
           "tests/loop/test_signals.py::test_a_call_for_sigint_that_is_added_under_the_deferral_outlives_it"),
    Mutant("a Ctrl-C that comes while it is given back is lost", "reactor/loop/signals.py",
           "                if self._deferring and signal.SIGINT not in self._calls:",
           "                self._deferring = False\n                if signal.SIGINT not in self._calls:",
           "tests/loop/test_signals.py::test_a_ctrl_c_that_comes_while_it_is_given_back_is_raised"),
    # Reports.
    Mutant("a report out of a report is made", "reactor/loop/reports.py",
           '    if getattr(_writing, "now", False):\n',
           "    if False:\n",
           "tests/loop/test_reports.py::test_a_report_out_of_a_report_is_dropped"),
    # Forks.
    Mutant("the first failure in a child leaves the rest as it was", "reactor/loop/fork.py",
           '            report(logger, logging.ERROR, "%r failed after a fork", call, exc=exc)\n',
           "            raise RuntimeError(call) from exc\n",
           "tests/loop/test_fork.py::test_what_fails_after_a_fork_keeps_nothing_else_from_being_done"),
    # Connections.
    Mutant("a block stays in the queue while it is offered", "reactor/connections/buffers.py",
           "        self._taken = self._blocks.popleft()\n",
           "        self._taken = self._blocks[0]\n",
           "tests/connections/test_buffers.py::test_any_mixture_of_appends_and_consumes_keeps_the_order"),
    Mutant("what is written behind a block is gathered in it while it is offered", "reactor/connections/buffers.py",
           "        self._taken = self._blocks.popleft()\n"
           "        return memoryview(self._taken)[self._sent : self._sent + BLOCK_BYTES]\n\n"
           "    def put_back(self, count: int) -> None:\n"
           '        """The kernel has the first `count` bytes of what was taken. The view '
           'of it must have been released."""\n'
           "        block, sent = self._taken, self._sent + count\n"
           "        if sent < len(block):\n"
           "            self._sent = sent\n"
           "            self._blocks.appendleft(block)\n"
           "        else:\n"
           "            self._sent = 0\n",
           "        return memoryview(self._blocks[0])[self._sent : self._sent + BLOCK_BYTES]\n\n"
           "    def put_back(self, count: int) -> None:\n"
           "        self._sent += count\n"
           "        if self._sent == len(self._blocks[0]):\n"
           "            self._blocks.popleft()\n"
           "            self._sent = 0\n",
           "tests/connections/test_interruptions.py::test_what_is_written_meanwhile_comes_once_and_so_does_the_reply"),
    Mutant("what is written during a send is lost", "reactor/connections/fast_path.py",
           "                        count = connection._socket.send(data)\n",
           "                        count = connection._socket.send(data)\n"
           '                        connection._unsent = b""\n',
           "tests/connections/test_interruptions.py::test_what_is_written_meanwhile_comes_once_and_so_does_the_reply"),
    Mutant("what is written after the send waits for the next event", "reactor/connections/dispatcher.py",
           "            if connection._unsent:  # it has written after the send\n"
           "                connection._ask_for_attention()\n",
           "",
           "tests/connections/test_interruptions.py::"
           "test_what_is_written_meanwhile_to_a_connection_that_is_flushed_comes_once"),
    Mutant("a connection that is closed as its end is read never ends", "reactor/connections/dispatcher.py",
           "            self._receive_eof(connection)  # foreign",
           "            pass  # it was",
           "tests/connections/test_interruptions.py::test_an_end_from_outside_at_any_moment_is_one_end"),
    Mutant("no memory to receive leaves the loop", "reactor/connections/dispatcher.py",
           "            connection._end(CloseReason.MEMORY, exc)\n",
           "            raise exc\n",
           "tests/connections/test_dispatcher_failing.py::test_no_memory_for_a_receive_ends_that_connection"),
    Mutant("an answer of eof_received that has no truth value leaves the loop", "reactor/connections/dispatcher.py",
           "            keep_open = bool(connection._protocol.eof_received())",
           "            keep_open = connection._protocol.eof_received()",
           "tests/connections/test_dispatcher_failing.py::"
           "test_an_answer_of_eof_received_without_a_truth_value_ends_that_connection"),
    Mutant("no memory for a newcomer's connection leaves the loop", "reactor/connections/dispatcher.py",
           "        except (OSError, MemoryError) as exc:\n            self.counters.closed",
           "        except OSError as exc:\n            self.counters.closed",
           "tests/connections/test_dispatcher_failing.py::test_no_memory_for_a_newcomer_costs_no_place"),
    Mutant("the peer's end overtakes what was handed over", "reactor/connections/dispatcher.py",
           "            if connection._given_up is not None:\n                connection._given_up = connection",
           "            if False:\n                connection._given_up = connection",
           "tests/connections/test_hand_over.py::test_while_reading_is_paused_it_waits_and_so_does_the_peers_end"),
    Mutant("a connection that is closed stays held", "reactor/connections/connection.py",
           "        self._holds = 0\n        self._given_up = None",
           "        self._given_up = None",
           "tests/connections/test_connection.py::test_a_close_ends_all_holds"),
)  # fmt: skip
