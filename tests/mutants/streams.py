"""Mutants of the streams and handlers of `reactor/coroutines`."""

from __future__ import annotations

from .hunting import Mutant

READING = "tests/coroutines/test_stream_reading.py::"
WRITING = "tests/coroutines/test_stream_writing.py::"
HANDLERS = "tests/coroutines/test_handlers.py::"

MUTANTS = (
    # What is kept.
    Mutant("the place of a search is believed for another delimiter", "reactor/coroutines/kept.py",
           "        if delimiter != self._delimiter:\n            self._delimiter, self._searched = delimiter, 0\n",
           "",
           "tests/coroutines/test_kept.py::test_the_place_of_one_search_says_nothing_about_another_delimiter"),
    Mutant("a delimiter that is cut in two is missed", "reactor/coroutines/kept.py",
           "max(self._start, len(self._data) - len(delimiter) + 1)",
           "len(self._data)",
           "tests/coroutines/test_kept.py::test_a_delimiter_is_found_however_it_is_cut"),
    Mutant("what was taken stays in memory and counts for nobody", "reactor/coroutines/kept.py",
           "        elif end > SLACK_BYTES and end > len(self._data) - end:\n",
           "        elif False:\n",
           "tests/coroutines/test_kept.py::test_what_was_taken_does_not_stay_in_memory"),
    Mutant("each batch of lines splits all that is there", "reactor/coroutines/kept.py",
           "self._data[self._start : self._start + max(count, most * LINE_BYTES)]",
           "self._data[self._start :]",
           "tests/coroutines/test_kept.py::"
           "test_many_lines_of_one_chunk_are_cut_off_without_moving_the_rest_each_time"),
    # Reading.
    Mutant("a line is too long as soon as half of its delimiter has come", "reactor/coroutines/stream.py",
           "                if len(kept) >= most + len(delimiter):",
           "                if len(kept) > most:",
           READING + "test_a_line_may_have_so_many_bytes_and_no_more_however_it_is_cut"),
    Mutant("the clock of a line runs on while nobody reads", "reactor/coroutines/stream.py",
           "            if not data:\n                self._stop_clock()\n",
           "",
           READING + "test_while_no_task_reads_the_peer_is_not_late"),
    Mutant("the time of one line is charged to the next", "reactor/coroutines/kept.py",
           "        self.spent = 0.0  # the next line begins now\n",
           "",
           READING + "test_what_a_peer_has_spent_on_one_line_is_not_charged_to_the_next"),
    Mutant("what was taken goes on counting", "reactor/coroutines/stream.py",
           "        if connection._kept_bytes or connection._frame_since != NEVER:\n",
           "        if connection._frame_since != NEVER:\n",
           READING + "test_what_is_kept_is_counted_at_each_step"),
    Mutant("lines that have come are handed over without a break", "reactor/coroutines/stream.py",
           "        get_current().steps += len(lines)\n",
           "",
           READING + "test_a_client_with_50_000_lines_lets_the_others_have_their_turn"),
    Mutant("an end in order is a loss", "reactor/coroutines/endings.py",
           "    if reason is CloseReason.PEER_CLOSED:\n",
           "    if False:\n",
           READING + "test_what_is_unread_when_both_sides_have_ended_is_read_and_then_the_end"),
    Mutant("between a loss and its callback, a read takes it for the peer's end", "reactor/coroutines/stream.py",
           "        if lost is None and self.connection.state is ENDED:",
           "        if False:",
           "tests/coroutines/test_stream_lost.py::test_whatever_is_asked_after_a_loss_raises_again_and_again"),
    # Writing.
    Mutant("a write that was dropped need not wait", "reactor/coroutines/stream.py",
           "self._until_taken() if self._held or not connection.state.writes else DONE",
           "self._until_taken() if self._held else DONE",
           WRITING + "test_a_task_that_only_writes_does_not_hold_up_the_loop_after_the_end"),
    Mutant("a stream writes to a connection that another protocol has", "reactor/coroutines/stream.py",
           "        elif self._lost is not HANDED_OVER:\n            connection.write(data)\n",
           "        else:\n            connection.write(data)\n",
           WRITING + "test_the_stream_has_no_connection_any_more"),
    # Handlers.
    Mutant("a group of errors of the peer is a mistake of the program", "reactor/coroutines/endings.py",
           "        return error.split(kinds)[1] is None\n",
           "        return False\n",
           HANDLERS + "test_what_the_peer_did_wrong_is_no_entry_in_the_log"),
    Mutant("half a reply of an upstream looks like a whole one", "reactor/coroutines/handlers.py",
           " and not connection.state.delivers):\n",
           "):\n",
           HANDLERS + "test_an_end_in_the_middle_of_another_stream_does_not_look_like_the_end_of_the_reply"),
    Mutant("a drain closes what a clean-up needs", "reactor/service/drain.py",
           "calling or outlive or any(",
           "calling or any(",
           "tests/coroutines/test_coroutine_drain.py::test_a_clean_up_may_use_a_connection_that_it_has_opened"),
    # Opening.
    Mutant("a connection that is lost is handed over all the same", "reactor/coroutines/opening.py",
           "        self._queue.pop(self, None)\n",
           "        pass\n",
           "tests/coroutines/test_opening.py::test_a_connection_that_is_lost_before_it_is_taken_is_not_handed_over"),
    Mutant("who waits at a listener waits for ever when it stops", "reactor/coroutines/opening.py",
           "        self._waiting.wake_all()\n",
           "",
           "tests/coroutines/test_opening.py::test_several_tasks_may_wait_for_connections_and_end_with_the_block"),
    # The tree.
    Mutant("ten thousand tasks are ten thousand lines", "reactor/coroutines/tree.py",
           "    shown = tasks if len(tasks) <= most else tasks[: most - 1]\n",
           "    shown = tasks\n",
           "tests/coroutines/test_tree.py::test_ten_thousand_tasks_are_200_lines"),
)
