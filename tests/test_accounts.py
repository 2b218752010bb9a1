"""Nothing vanishes: in = done + skipped + set aside, in words, in numbers and in the exit code."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.accounts import Account, SetAside
from deepflash.errors import ExitCode


@given(done=st.integers(0, 99), skipped=st.integers(0, 99), aside=st.integers(0, 5))
def test_the_sum_always_holds(done: int, skipped: int, aside: int) -> None:
    account = Account(done=done, skipped=skipped, set_aside=[SetAside(str(number), "why") for number in range(aside)])
    assert account.total == done + skipped + aside
    assert account.as_dict()["in"] == account.total


@pytest.mark.parametrize(
    ("done", "skipped", "aside", "code"),
    [
        (3, 0, 0, ExitCode.OK),
        (0, 3, 0, ExitCode.OK),
        (0, 0, 0, ExitCode.OK),
        (2, 0, 1, ExitCode.SET_ASIDE),
        (0, 2, 1, ExitCode.SET_ASIDE),
        (0, 0, 1, ExitCode.FAILURE),
    ],
)
def test_the_exit_code_tells_whether_everything_something_or_nothing_worked(
    done: int, skipped: int, aside: int, code: ExitCode
) -> None:
    assert Account(done=done, skipped=skipped, set_aside=[SetAside("x", "why")] * aside).exit_code == code


def test_one_item_is_not_called_many() -> None:
    assert Account("photograph", done=1).sentence() == "1 photograph in = 1 done + 0 skipped + 0 set aside"
    assert Account("photograph").sentence().startswith("0 photographs in")


def test_an_account_goes_out_as_json_with_its_reasons() -> None:
    account = Account(done=1, set_aside=[SetAside("S001-a-02", "no face")])
    assert json.loads(json.dumps(account.as_dict()))["set_aside"] == [{"item": "S001-a-02", "reason": "no face"}]


def test_the_account_of_a_part_says_which() -> None:
    account = Account(done=2, part="3/64")
    assert account.sentence() == "part 3/64: 2 pairs in = 2 done + 0 skipped + 0 set aside"
    assert account.as_dict()["part"] == "3/64"
    assert "part" not in Account(done=2).as_dict()


def test_two_accounts_do_not_share_their_lists() -> None:
    Account().set_aside.append(SetAside("a", "b"))
    assert Account().set_aside == []
