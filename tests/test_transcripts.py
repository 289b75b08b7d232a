"""The same programs and the same client on asyncio and on the reactor: what the programs see must be the same."""

import difflib
import re
import sys

import pytest

from tests.transcripts import streams
from tests.transcripts.harness import on_asyncio, on_reactor, play
from tests.transcripts.scripts import DIFFERENCES, SCRIPTS
from tests.transcripts.stream_scripts import STREAM_DIFFERENCES, STREAM_SCRIPTS

LETTERS = {"connection_made": "m", "data_received": "d", "eof_received": "e", "connection_lost": "l"}
FLOW_LETTERS = {"pause_writing": "p", "resume_writing": "r"}


def differing(theirs, ours):
    """The lines that only one of the two has."""
    changes = list(difflib.ndiff(theirs, ours))
    return tuple(tuple(line[2:] for line in changes if line.startswith(sign)) for sign in ("- ", "+ "))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_protocol_sees_the_same_on_asyncio_and_here(script):
    expected = DIFFERENCES.get(script.name)
    if expected and sys.version_info < expected.since:
        expected = None
    ours, transcript = play(script, on_reactor)
    theirs = [] if expected and expected.asyncio is None else play(script, on_asyncio)[0]
    if expected is None or (expected.sometimes and theirs == ours):
        assert ours == theirs
    else:
        assert differing(theirs, ours) == (expected.asyncio or (), expected.reactor)

    letters = "".join(LETTERS.get(name.removeprefix("heir "), "") for name in transcript.names())
    assert re.fullmatch("md*e?l", letters), transcript.lines()
    flow = "".join(FLOW_LETTERS.get(name.removeprefix("heir "), "") for name in transcript.names())
    assert re.fullmatch("(pr)*p?", flow), transcript.lines()


@pytest.mark.parametrize("script", STREAM_SCRIPTS, ids=lambda script: script.name)
def test_a_coroutine_sees_the_same_on_the_streams_of_asyncio_and_on_ours(script):
    expected = STREAM_DIFFERENCES.get(script.name)
    ours = streams.play(script, streams.on_reactor)
    theirs = [] if expected and expected.asyncio is None else streams.play(script, streams.on_asyncio)
    if expected is None:
        assert ours == theirs
    else:
        assert differing(theirs, ours) == (expected.asyncio or (), expected.reactor)


@pytest.mark.parametrize("scripts", [SCRIPTS, STREAM_SCRIPTS], ids=["protocols", "streams"])
def test_every_script_has_a_name_of_its_own(scripts):
    names = [script.name for script in scripts]
    assert len(names) == len(set(names))


def test_every_intended_difference_is_of_a_script_and_has_a_reason():
    assert set(DIFFERENCES) <= {script.name for script in SCRIPTS}
    assert set(STREAM_DIFFERENCES) <= {script.name for script in STREAM_SCRIPTS}
    for difference in (*DIFFERENCES.values(), *STREAM_DIFFERENCES.values()):
        assert difference.reason and (difference.asyncio or difference.reactor)
