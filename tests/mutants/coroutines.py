"""Mutants of `reactor/coroutines`: tasks, scopes, groups, and what tasks wait for."""

from __future__ import annotations

from .hunting import Mutant

MUTANTS = (
    # Scopes.
    Mutant("a shield whose time is up ends the clean-up behind it too", "reactor/coroutines/scopes.py",
           "and (self.shield or not task.doomed):",
           "and not task.doomed:",
           "tests/coroutines/test_scopes.py::"
           "test_a_shield_whose_time_is_up_is_left_and_the_clean_up_goes_on_behind_it"),
    Mutant("a task stays cancelled behind the block", "reactor/coroutines/scopes.py",
           "            task.doomed = task.scope.is_doomed()\n            # If a scope",
           "            # If a scope",
           "tests/coroutines/test_scopes.py::"
           "test_a_cancelled_block_that_is_left_has_no_effect_on_the_waits_behind_it"),
    Mutant("a cancelled block swallows any exception", "reactor/coroutines/scopes.py",
           "                if isinstance(rest, Cancelled):",
           "                if rest is not None:",
           "tests/coroutines/test_scopes.py::test_an_error_goes_through_a_cancelled_block"),
    Mutant("a Cancelled in a group is taken for an error", "reactor/coroutines/scopes.py",
           "    if not isinstance(exc, BaseExceptionGroup):\n",
           "    if True:\n",
           "tests/coroutines/test_scopes_misuse.py::"
           "test_a_task_that_is_cancelled_in_a_clause_for_groups_does_not_end_the_program"),
    Mutant("a scope that another task leaves stays around its own task", "reactor/coroutines/scopes.py",
           "        if task is not None and get_current(None) is not task:\n            self._task = None",
           "        if False:\n            self._task = None",
           "tests/coroutines/test_groups_cancelling.py::"
           "test_a_generator_with_a_scope_that_is_left_in_the_middle_does_not_cancel_the_program"),
    Mutant("whether a task is cancelled is asked by recursion", "reactor/coroutines/scopes.py",
           "        scope = self\n        while not (scope.cancel_called or scope.shield or scope._parent is None):\n"
           "            scope = scope._parent\n        return scope.cancel_called",
           "        if self.cancel_called or self.shield or self._parent is None:\n"
           "            return self.cancel_called\n        return self._parent.is_doomed()",
           "tests/coroutines/test_scopes_misuse.py::test_a_thousand_blocks_in_each_other_are_cancelled_and_left"),
    Mutant("another thread may cancel", "reactor/coroutines/scopes.py",
           "                self._task.reactor.check_thread()",
           "                pass",
           "tests/coroutines/test_scopes_misuse.py::test_cancel_from_another_thread_is_refused_and_changes_nothing"),
    # Tasks.
    Mutant("each scope has a timer of its own", "reactor/coroutines/scopes.py",
           "            if deadline < task.next_look:\n",
           "            if True:\n",
           "tests/coroutines/test_scopes_deadlines.py::"
           "test_the_scopes_of_a_task_share_one_timer_and_each_ends_at_its_time"),
    Mutant("deadlines are judged by the clock, not by what came", "reactor/coroutines/task.py",
           "now, nearest, scope = self.reactor.timers.asked_at, math.inf, self.scope",
           "now, nearest, scope = self.reactor.time(), math.inf, self.scope",
           "tests/coroutines/test_task_leftovers.py::test_a_look_judges_no_later_than_what_was_asked"),
    Mutant("only the nearest deadline is ever looked at", "reactor/coroutines/task.py",
           "        if nearest < math.inf:\n            self.look_at(nearest)\n",
           "",
           "tests/coroutines/test_scopes_deadlines.py::"
           "test_the_inner_of_two_timeouts_ends_first_and_the_outer_one_still_holds"),
    Mutant("a task that has left its block is broken off", "reactor/coroutines/task.py",
           "        if self.doomed and not self.has_ended():\n            self.throw",
           "        if not self.has_ended():\n            self.throw",
           "tests/coroutines/test_scopes.py::"
           "test_a_cancelled_block_that_is_left_has_no_effect_on_the_waits_behind_it"),
    Mutant("a task that has ended refers to its coroutine and context", "reactor/coroutines/task.py",
           "        self._task = self.scope = self._run = self._send = self._wake_up = None"
           "  # type: ignore[assignment]\n",
           "        self._task = None\n",
           "tests/coroutines/test_task_leftovers.py::test_nothing_is_left_alive_without_the_garbage_collector"),
    Mutant("SystemExit ends a task and not the program", "reactor/coroutines/task.py",
           "            raise end  # SystemExit",
           "            return  # SystemExit",
           "tests/coroutines/test_task.py::test_what_ends_the_program_leaves_the_loop_once"),
    Mutant("a wait that was cancelled in the turn of the close is never broken off", "reactor/coroutines/task.py",
           "            task.soon(task._break_off)\n\n    def _lose_shields",
           "            task.note_cancelled()\n\n    def _lose_shields",
           "tests/coroutines/test_roots.py::test_a_wait_that_was_cancelled_but_not_broken_off_yet"),
    Mutant("a last call is made inside another one", "reactor/coroutines/task.py",
           "    if calls is None or calls.are_made:\n",
           "    if calls is None:\n",
           "tests/coroutines/test_roots_generators.py::"
           "test_a_task_that_drops_a_generator_while_it_closes_is_not_called_inside_itself"),
    Mutant("a timeout in the block looks at all tasks of the group", "reactor/coroutines/task.py",
           "                if group.scope.is_doomed():  # else",
           "                if True:  # else",
           "tests/coroutines/test_groups_cancelling.py::"
           "test_a_scope_inside_the_block_that_is_cancelled_does_not_look_at_the_tasks"),
    # Groups.
    Mutant("a cancelled group does not wait for its tasks", "reactor/coroutines/groups.py",
           "            with _UntilTheyEnd():\n"
           "                while self.tasks:\n                    await self._ended.wait()",
           "            while self.tasks:\n                await self._ended.wait()",
           "tests/coroutines/test_groups_cancelling.py::"
           "test_a_parent_that_is_cancelled_while_a_child_cleans_up_waits_for_it"),
    Mutant("a task that starts after the last one has ended outlives the group", "reactor/coroutines/groups.py",
           "                while self.tasks:\n                    await self._ended.wait()",
           "                await self._ended.wait()",
           "tests/coroutines/test_groups.py::"
           "test_a_task_that_is_started_after_the_last_one_has_ended_but_before_the_block_goes_on_is_waited_for"),
    Mutant("the error of the block is not in the group", "reactor/coroutines/groups.py",
           "            if isinstance(exc, Exception):\n"
           "                self._errors.append(exc)\n        if self.tasks",
           "        if self.tasks",
           "tests/coroutines/test_groups_errors.py::"
           "test_an_error_of_the_block_alone_cancels_the_tasks_and_comes_in_a_group"),
    Mutant("the end of a cancelled group is no wait", "reactor/coroutines/groups.py",
           "        if kind is None and host.doomed:\n"
           "            raise Cancelled  # this was a wait, so it raises like one\n",
           "",
           "tests/coroutines/test_groups_cancelling.py::"
           "test_the_wait_for_the_tasks_is_a_wait_and_raises_if_it_was_cancelled"),
    Mutant("an error of the tasks hides SystemExit of the block", "reactor/coroutines/groups.py",
           "        if errors and not leaves(exc):",
           "        if errors:",
           "tests/coroutines/test_groups_errors.py::test_system_exit_of_the_block_wins_over_errors_of_the_tasks"),
    Mutant("a coroutine in place of a function also warns", "reactor/coroutines/groups.py",
           "            function.close()  # else it would also warn that it was never awaited\n",
           "",
           "tests/coroutines/test_groups.py::"
           "test_a_coroutine_in_place_of_a_function_is_refused_without_a_second_warning"),
    # Waits.
    Mutant("the place for a task that was cancelled stays promised", "reactor/coroutines/waiting.py",
           "    def _pass_on(self) -> None:\n        if not self._waiting.wake():\n            self._promised -= 1\n",
           "    def _pass_on(self) -> None:\n        self._waiting.wake()\n",
           "tests/coroutines/test_locks.py::"
           "test_a_place_is_never_lost_when_its_task_is_cancelled_in_the_same_turn"),
    Mutant("room that is promised can be taken by another", "reactor/coroutines/waiting.py",
           "        return len(self._things) + self._reserved >= self.maxsize",
           "        return len(self._things) >= self.maxsize",
           "tests/coroutines/test_queue.py::test_what_is_promised_is_not_taken_by_another"),
    Mutant("what was there before a break is taken for still there", "reactor/coroutines/waiting.py",
           "        if self.empty():\n            await self._getters",
           "        elif self.empty():\n            await self._getters",
           "tests/coroutines/test_queue.py::test_what_is_gone_after_the_break_is_waited_for"),
    Mutant("a task that waits is forgotten when another thread wakes it", "reactor/coroutines/waiting.py",
           "            place.call = place.task.wake()  # first: it raises on another thread\n"
           "            del self._places[place]\n",
           "            del self._places[place]\n            place.call = place.task.wake()\n",
           "tests/coroutines/test_waiting.py::"
           "test_set_on_another_thread_is_refused_and_changes_nothing_but_the_loop_can_be_asked"),
    Mutant("a sleep that is cancelled leaves its timer", "reactor/coroutines/waiting.py",
           "    try:\n        await pause()\n    finally:\n        call.cancel()\n",
           "    await pause()\n",
           "tests/coroutines/test_waiting.py::test_a_sleep_that_is_cancelled_leaves_no_timer"),
    # Threads.
    Mutant("a call that was cancelled before it began is made", "reactor/coroutines/threads.py",
           "            to_begin.pop()\n        except IndexError:  # it has begun\n            if not abandon:\n",
           "            raise IndexError\n        except IndexError:  # it has begun\n            if not abandon:\n",
           "tests/coroutines/test_threads.py::"
           "test_a_call_that_is_cancelled_before_it_began_is_never_made_and_not_waited_for"),
    Mutant("the function on a thread takes itself for the task", "reactor/coroutines/threads.py",
           "    context.run(CURRENT.set, None)",
           "    context.run(CURRENT.get)",
           "tests/coroutines/test_threads.py::test_the_function_is_no_part_of_the_task"),
    # Roots and programs.
    Mutant("a generator that was left in the middle is forgotten after the close", "reactor/coroutines/roots.py",
           "            self.start(_finish, generator)\n            make_last_calls(self.reactor)\n",
           "            pass\n",
           "tests/coroutines/test_roots_generators.py::"
           "test_a_generator_that_is_collected_after_the_reactor_was_closed_is_finished_and_its_waits_raise"),
    Mutant("the hook goes back to a reactor that was closed", "reactor/coroutines/roots.py",
           "and roots.is_closed():\n                hooks = roots._former_hooks\n",
           "and False:\n                hooks = roots._former_hooks\n",
           "tests/coroutines/test_roots_generators.py::"
           "test_the_hook_of_before_comes_back_in_whatever_order_two_reactors_are_closed"),
    Mutant("Ctrl-C does not wait for the clean-up", "reactor/coroutines/program.py",
           "    except KeyboardInterrupt as interrupt:\n        finish(task)\n",
           "    except KeyboardInterrupt as interrupt:\n        task.cancel()\n",
           "tests/coroutines/test_program.py::test_ctrl_c_ends_the_children_too"),
)
