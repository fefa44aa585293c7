"""Python's cyclic garbage collector, paused and as it was again."""

import gc

import pytest

from jahslib.spaces.grammars.garbage import collector_paused


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_off_and_then_as_it_was_also_after_an_error(enabled):
    try:
        if not enabled:
            gc.disable()
        with pytest.raises(ArithmeticError), collector_paused():
            with collector_paused():
                assert not gc.isenabled()
            assert not gc.isenabled()
            raise ArithmeticError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
