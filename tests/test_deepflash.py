"""The package's own names: light to import, heavy only when asked for."""

import subprocess
import sys
from importlib import import_module

import pytest

import deepflash

HEAVY = ("numpy", "torch", "cv2", "PIL", "skimage", "dlib")


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = f"import sys, deepflash; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("name", deepflash.__all__)
def test_every_public_name_is_there_and_listed(name: str) -> None:
    assert name in dir(deepflash)
    assert getattr(deepflash, name) is getattr(deepflash, name)


def test_the_lazy_names_are_those_of_the_modules() -> None:
    assert deepflash.enhance is import_module("deepflash.model.enhancement.portraits").enhance
    assert deepflash.DeepflashError is import_module("deepflash.errors").DeepflashError


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'deepflash' has no attribute 'enhanse'"):
        _ = deepflash.enhanse  # type: ignore[attr-defined]
