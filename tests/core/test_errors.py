"""Numbers are taken from wherever they come, and anything else is refused in words."""

import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.core.errors import InputError, check_number


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), jnp.array(2.0), jnp.int32(2)])
def test_numbers(value):
    found = check_number(value, "length", 2, 2, above=1)
    assert type(found) is float
    assert found == 2


@pytest.mark.parametrize(
    "value", ["2", b"2", None, True, np.True_, [2.0], np.ones(1), [[1], [1, 2]], 1 + 0j, np.nan, np.inf, object(), {}]
)
def test_what_is_no_number(value):
    with pytest.raises(InputError, match=r"length of it[\s\S]*one finite number of mm"):
        check_number(value, "length of it", unit="mm")


def test_limits():
    with pytest.raises(InputError, match=r"got: +1\.5[\s\S]*at least 2, at most 3"):
        check_number(1.5, "size", 2, 3)
    with pytest.raises(InputError, match="at most 3"):
        check_number(3.1, "size", 2, 3)
    with pytest.raises(InputError, match="above 0"):
        check_number(0, "size", above=0)
