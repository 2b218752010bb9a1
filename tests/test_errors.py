"""Every error that a user can mend is of one tree, and the exit codes are the documented ones."""

import inspect

from deepflash import errors
from deepflash.errors import DeepflashError, ExitCode


def test_every_error_of_the_project_can_be_caught_as_one() -> None:
    classes = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    assert len(classes) > 8
    assert all(issubclass(kind, DeepflashError) for kind in classes)
    assert all(kind.__doc__ for kind in classes)


def test_exit_codes_are_those_that_scripts_rely_on() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "SET_ASIDE": 3,
        "INTERRUPTED": 130,
    }
