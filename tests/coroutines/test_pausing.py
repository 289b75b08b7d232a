"""How a coroutine is suspended and goes on: `pause`, `suspending` and `DONE`."""

import gc
import inspect

import pytest

from reactor.coroutines.pausing import DONE, pause, suspending


def test_pause_suspends_and_returns_what_is_sent():
    async def wait():
        return await pause(), await pause()

    coroutine = wait()
    assert coroutine.send(None) is None
    assert coroutine.send("first") is None
    with pytest.raises(StopIteration) as end:
        coroutine.send("second")
    assert end.value.value == ("first", "second")


def test_an_exception_that_is_thrown_comes_out_of_pause():
    async def wait():
        try:
            await pause()
        except LookupError:
            return "caught"

    coroutine = wait()
    coroutine.send(None)
    with pytest.raises(StopIteration) as end:
        coroutine.throw(LookupError())
    assert end.value.value == "caught"


@suspending
def add(first):
    second = yield
    return first + second


def test_a_generator_is_made_an_async_function():
    async def outer():
        return await add(1)

    assert inspect.iscoroutinefunction(add)
    coroutine = outer()
    assert coroutine.send(None) is None
    with pytest.raises(StopIteration) as end:
        coroutine.send(2)
    assert end.value.value == 3


def test_the_function_keeps_its_name_its_arguments_and_what_is_said_of_it():
    outer = 10

    def original(first: int, second: int = 2, *, third: int = 3) -> int:
        """What it does."""
        got = yield
        return first + second + third + outer + got

    made = suspending(original)
    assert (made.__name__, made.__doc__, made.__module__) == ("original", "What it does.", __name__)
    assert made.__qualname__ == original.__qualname__
    assert inspect.signature(made) == inspect.signature(original)
    assert inspect.isgeneratorfunction(original)
    coroutine = made(1)
    coroutine.send(None)
    with pytest.raises(StopIteration) as end:
        coroutine.send(100)
    assert end.value.value == 116


def test_it_can_be_awaited_with_no_other_function_around_it():
    coroutine = add(1)
    assert inspect.iscoroutine(coroutine)
    assert coroutine.send(None) is None
    with pytest.raises(StopIteration) as end:
        coroutine.send(2)
    assert end.value.value == 3


def test_what_it_makes_warns_if_it_is_never_awaited():
    with pytest.warns(RuntimeWarning, match="coroutine 'add' was never awaited"):
        add(1)
        gc.collect()


def test_done_is_awaited_without_a_wait_and_as_often_as_one_likes():
    async def often():
        return [await DONE for _ in range(3)]

    for _ in range(2):
        with pytest.raises(StopIteration) as end:
            often().send(None)
        assert end.value.value == [None] * 3


def test_done_can_be_awaited_by_two_coroutines_in_turns():
    async def twice():
        await DONE
        await pause()
        await DONE

    one, other = twice(), twice()
    one.send(None)
    other.send(None)
    for coroutine in (one, other):
        with pytest.raises(StopIteration):
            coroutine.send(None)
