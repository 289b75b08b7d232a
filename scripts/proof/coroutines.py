"""Programs written as coroutines: handlers that do anything that a handler may do, at random.

A `Handler` serves one connection as a task. It does a few random things one after the other, and each of them may be
made of smaller ones: a read inside a timeout inside a group. Whatever it waits for goes through `Tasks.wait`, and its
reads are checked by a `Reads`. What its end must bring about is worked out here, where it ends.

It has its own random numbers, as each program here has, so that it does the same when other peers are left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reactor.coroutines.endings import IncompleteReadError
from reactor.coroutines.groups import TaskGroup
from reactor.coroutines.handlers import ServedStream
from reactor.coroutines.opening import open_stream
from reactor.coroutines.program import spawn
from reactor.coroutines.scopes import Cancelled, CancelScope, shield, timeout
from reactor.coroutines.stream import Stream
from reactor.coroutines.waiting import Event, Lock, Queue, Semaphore
from reactor.net.splitters import FrameTooLarge

from .laws import DELIVERING
from .programs import Interruption, Mishap
from .talk import Channel, Refused, Talk

if TYPE_CHECKING:
    from .tasks import Life
    from .world import World

PLACES = 2
DEEPEST = 3  # so many things inside each other
NO_MISTAKE = (ConnectionError, Cancelled, FrameTooLarge, IncompleteReadError)  # of a handler without a connection


class Handler(Talk):
    """One handler, on its stream or on one that it has opened."""

    def __init__(self, world: World, stream: Stream, draw: Callable[[], float], number: int) -> None:
        super().__init__(world, stream, draw, number)
        self.lock, self.event, self.places = Lock(), Event(), Semaphore(PLACES)
        self.owner: Life | None = None  # the task that has the lock
        self.taken = 0  # how many tasks have a place

    async def act(self, depth: int = 0) -> None:
        """Do one thing."""
        actions = SIMPLE if depth >= DEEPEST else ACTIONS
        await actions[self.pick(0, len(actions) - 1)](self, depth + 1)

    # Time and scopes.

    async def in_time(self, depth: int) -> None:
        """Do something for a limited time."""
        if self.draw() < 0.5:
            try:
                with timeout(self.seconds()):
                    await self.act(depth)
            except TimeoutError:
                pass
        else:
            with CancelScope(self.seconds(), shield=self.draw() < 0.2):
                await self.act(depth)

    async def cancelled(self, depth: int) -> None:
        """Cancel a scope: before it is entered, inside, or later from outside."""
        scope, number = CancelScope(), self.draw()
        if number < 0.3:
            self.tasks.cancel(scope)
        with scope:
            if number >= 0.6:
                self.world.later(self.seconds(), self._cancel_later, scope)
            elif number >= 0.3:
                self.tasks.cancel(scope)
            await self.act(depth)
            await self.act(depth)

    def _cancel_later(self, scope: CancelScope) -> None:
        if self.tasks.knows(scope):
            self.tasks.cancel(scope)

    async def clean_up(self, depth: int) -> None:
        """Do something, and clean up behind it, also when it is cancelled."""
        try:
            await self.act(depth)
        finally:
            number = self.draw()
            if number < 0.6:
                with shield(0.1 + self.seconds()):
                    await self.sleep()
                    await self.write(self.data(3))
            elif number < 0.8:
                await self.sleep()  # raises at once if it is cancelled

    async def stubborn(self, depth: int) -> None:
        """Catch what cancels it, and try to go on waiting."""
        for _ in range(2):
            try:
                await self.act(depth)
            except Cancelled:
                continue
        await self.sleep()

    # Other tasks.

    async def in_group(self, depth: int) -> None:
        """Some tasks that end together: a reader and a writer with a queue, and others that do anything."""
        errors: list[BaseException] = []
        children: list[Any] = []
        channel = Channel(self, self.pick(1, 3))
        works: list[Any] = [lambda: channel.fill(), lambda: channel.empty()] if self.draw() < 0.6 else []
        works += [lambda: self.act(depth)] * self.pick(0, 2)
        if self.draw() < 0.3:
            works.append(lambda: channel.empty())
        if self.draw() < 0.2:
            works += [lambda: self.locked(DEEPEST)] * 3
        if self.draw() < 0.5:
            works.reverse()
        leaving, around = False, self.tasks.current().scope
        try:
            async with TaskGroup() as group:
                children += [group.start_soon(self._child, work, errors, group) for work in works]
                try:
                    if self.draw() < 0.6:
                        await self.act(depth)
                    if self.draw() < 0.2:
                        group.cancel()
                except BaseException as exc:
                    leaving = not isinstance(exc, (Exception, Cancelled))
                    errors += [exc] if isinstance(exc, Exception) else []
                    raise
        except ExceptionGroup as caught:
            same = {*map(id, caught.exceptions)} == {*map(id, errors)}
            self.tasks.require(same, 9, "a group raises {!r}, and its tasks raised {!r}", caught.exceptions, errors)
            errors.clear()
            if self.draw() < 0.2:
                raise
        else:
            self.tasks.require(not around.is_doomed(), 6, "a group ends well in a cancelled scope")
        finally:
            alive = [task for task in children if task in self.tasks.lives]
            self.tasks.require(not alive, 3, "a group ends before {} of its tasks", len(alive))
            self.tasks.require(not errors or leaving, 9, "a group does not raise {!r}", errors)
            channel.check()

    async def _child(self, work: Callable[[], Any], errors: list[BaseException], group: TaskGroup) -> None:
        try:
            await work()
        except Exception as exc:
            errors.append(exc)
            self.tasks.fails(group.scope)
            raise

    async def locked(self, depth: int) -> None:
        """Do something that only one task may do at a time."""
        life = self.tasks.current()
        if self.owner is life:
            return
        for _ in range(self.pick(1, 3)):
            await self.tasks.wait("a lock", self.lock.acquire, ready=lambda: self.owner is None)
            self.tasks.require(self.owner is None, 4, "two tasks have one lock")
            self.owner = life
            try:
                await self.act(depth)
            finally:
                self.owner = None
                self.lock.release()

    async def in_places(self, depth: int) -> None:
        """Do something for which there are two places."""
        await self.tasks.wait("a place", self.places.acquire, ready=lambda: self.taken < PLACES)
        self.taken += 1
        self.tasks.require(self.taken <= PLACES, 4, "{} tasks have {} places", self.taken, PLACES)
        try:
            await self.act(depth)
        finally:
            self.taken -= 1
            self.places.release()

    async def meet(self, depth: int) -> None:
        """Wait for an event, or make it happen."""
        if self.draw() < 0.5:
            self.event.set()
        else:
            self.event.clear()
            with CancelScope(0.1 + self.seconds()):
                await self.tasks.wait("an event", self.event.wait, ready=self.event.is_set)

    async def turn_often(self, depth: int) -> None:
        """Many waits that are over at once."""
        queue: Queue[int] = Queue(1)
        for number in range(self.pick(2, 9)):
            await self.tasks.wait("room in a queue", queue.put, number)
            await self.tasks.wait("a thing", queue.get)

    async def wait_for_drain(self, depth: int) -> None:
        """Wait until the server drains, but not for long."""
        if self.reads.is_lost():
            return
        draining = self.stream.draining
        with CancelScope(self.seconds()):
            await self.tasks.wait("a drain", draining.wait, ready=draining.is_set)

    async def start_another(self, depth: int) -> None:
        """Start a task that belongs to nobody."""
        if self.world.phase != "close":
            spawn(self.world.reactor, self._alone)

    async def _alone(self) -> None:
        for _ in range(self.pick(0, 2)):
            await self.sleep()
        if self.draw() < 0.2:
            exc = Mishap("a task")
            self.world.loop_mishaps += 1
            self.world.tasks.raises(exc)
            raise exc

    async def dial(self, depth: int) -> None:
        """Open a connection, and talk over it."""
        if not self.world.scenario.upstreams or self.world.phase == "close":
            return
        self.tasks.current().dial = None
        try:
            stream = await self.tasks.wait("a connection", open_stream, "10.1.0.0:80")
        except OSError:
            return
        except BaseException:
            self.tasks.check_given_up()
            raise
        async with stream:
            other = Handler(self.world, stream, self.draw, self.number)
            for _ in range(self.pick(0, 3)):
                await other.act(DEEPEST)

    # Trouble.

    async def hand_over(self, depth: int) -> None:
        """Give the connection to another program. This task goes on without it."""
        if self.reads.handler is None or self.reads.witness.life not in ("made", "eof") or self.draw() < 0.5:
            return
        connection, program = self.stream.connection, self.world.successor()
        connection.set_protocol(program)
        program.connection_made(connection)

    async def dawdle(self, depth: int) -> None:
        """Take time, while all others wait."""
        self.world.dawdle(self.draw() * 0.3)

    async def leave(self, depth: int) -> None:
        """Raise; now and then something that ends the loop."""
        number = self.draw()
        if number < 0.15:
            raise SystemExit(1)
        if number < 0.25:
            raise Interruption
        if number < 0.5:
            raise Mishap("a handler")


SIMPLE: tuple[Callable[[Handler, int], Any], ...] = (
    Handler.read_some, Handler.read_some, Handler.read_often, Handler.write_some, Handler.sleep, Handler.meet,
    Handler.turn_often, Handler.close, Handler.end_writing, Handler.dawdle, Handler.leave,
)  # fmt: skip
ACTIONS: tuple[Callable[[Handler, int], Any], ...] = (
    Handler.read_some, Handler.read_some, Handler.read_patiently, Handler.read_often, Handler.read_often,
    Handler.write_some, Handler.sleep, Handler.in_time, Handler.in_time, Handler.in_time, Handler.cancelled,
    Handler.clean_up, Handler.stubborn, Handler.in_group, Handler.in_group, Handler.in_group, Handler.locked,
    Handler.in_places, Handler.meet, Handler.turn_often, Handler.wait_for_drain, Handler.start_another, Handler.dial,
    Handler.hand_over, Handler.end_writing, Handler.close, Handler.dawdle, Handler.leave,
)  # fmt: skip


async def serve(world: World, stream: Stream) -> None:
    """The handler of a connection. What its end must bring about is noted for the laws."""
    witness: Any = stream.connection._protocol
    draw = random.Random(world.scenario.seed * 1009 + witness.number).random
    reads = world.reads[stream]
    reads.handler = world.tasks.current()
    handler = Handler(world, stream, draw, witness.number)
    try:
        for _ in range(handler.pick(1, 7)):
            try:  # not `suppress`, which since 3.12 looks into groups too
                await handler.act()
            except Refused:
                pass
    except BaseException as exc:
        _ends_by(world, stream, exc)
        raise
    finally:
        reads.handler_ended()


def _ends_by(world: World, stream: Stream, exc: BaseException) -> None:
    """The handler raises `exc`: what must come of that (E9)."""
    reads = world.reads[stream]
    if (reads.is_lost() or reads.is_closed) and _is_all(exc, NO_MISTAKE):
        return
    witness: Any = stream.connection._protocol or reads.witness  # another one if it was handed over
    if _is_all(exc, (IncompleteReadError,)) and witness.state not in DELIVERING:
        pass
    elif _is_all(exc, (FrameTooLarge, IncompleteReadError)) and not _is_all(exc, (IncompleteReadError,)):
        reads.refused = True
    elif isinstance(exc, Exception):
        world.tasks.raises(exc)
        witness.raised = True
    else:
        witness.asked_abort = True


def _is_all(exc: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return all(_is_all(each, kinds) for each in exc.exceptions)
    return isinstance(exc, kinds)


def Coroutines(world: World) -> ServedStream:  # it stands in the place of a class of programs
    """A stream whose handler is `serve`."""

    async def handler(stream: Stream) -> None:
        await serve(world, stream)

    return ServedStream(handler)
