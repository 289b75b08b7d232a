"""All deliberate bugs that the simulation must find. `hunting` says what a mutant is and how it is hunted."""

from __future__ import annotations

from . import (
    mutants_of_connections,
    mutants_of_coroutines,
    mutants_of_services,
    mutants_of_surroundings,
    mutants_of_the_loop,
)

MUTANTS = (
    *mutants_of_connections.MUTANTS,
    *mutants_of_the_loop.MUTANTS,
    *mutants_of_services.MUTANTS,
    *mutants_of_coroutines.MUTANTS,
    *mutants_of_surroundings.MUTANTS,
)
