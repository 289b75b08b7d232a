"""The model of TCP answers as the kernel does, step by step."""

import sys

import pytest

from reactor.simulation import kernel, network

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is Linux that is modelled")


@pytest.mark.parametrize("family", kernel.FAMILIES)
@pytest.mark.parametrize("script", kernel.SCRIPTS.values(), ids=kernel.SCRIPTS)
def test_the_model_answers_as_the_kernel_does_when(script, family, descriptors_come_back):
    for number, (step, model, real) in enumerate(kernel.compare(script, family), 1):
        assert model == real, f"step {number}, {step}: the model answers {model!r}, the kernel {real!r}"


def test_a_model_that_is_wrong_is_found_out(monkeypatch):
    def lose_what_is_unread(endpoint, error):
        endpoint.incoming.clear()
        right(endpoint, error)

    right = network.Endpoint.reset_arrives
    monkeypatch.setattr(network.Endpoint, "reset_arrives", lose_what_is_unread)
    answers = kernel.compare(kernel.SCRIPTS["data before a reset can be read after it"])
    assert [step for step, model, real in answers if model != real][0] == ("server", "recv", 9)
