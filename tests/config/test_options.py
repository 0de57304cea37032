"""The table of options: one row each, from which everything else about an option is read."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_args

import pytest

from pytest_r1eval.config.option import Option, Phase, Subject
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.config.settings import Settings

NO_OPTIONS = {"in_full", "root", "n_workers", "goes_on", "named_terms", "regrades"}
"""Fields of `Settings` that follow from where pytest runs and from other options."""
FIELDS = {field.name: field for field in fields(Settings)}


@pytest.fixture(params=OPTIONS, ids=lambda option: option.name)
def option(request: pytest.FixtureRequest) -> Option:
    """Take each row of the table."""
    row = request.param
    assert isinstance(row, Option)
    return row


def test_a_row_is_one_field_of_the_settings() -> None:
    """Each option sets one field of the settings, and this module lists the fields that no option sets."""
    known = [option.field or option.keyword for option in OPTIONS]
    assert len({*known}) == len(known)
    assert {*known} == {*FIELDS} - NO_OPTIONS


def test_a_row_says_its_part_of_a_run(option: Option) -> None:
    """Each option has a phase and a subject, by which stored runs and a cluster's jobs choose theirs."""
    assert option.phase in get_args(Phase)
    assert option.subject in get_args(Subject)


def test_a_rows_default_is_the_settings(option: Option) -> None:
    """The default that `--help` prints is the setting of a run without the option."""
    field = FIELDS[option.field or option.keyword]
    if option.default is not None and option.name != "output-dir":  # which starts from a folder
        assert option.value([option.default], Path()) == field.default
    if option.is_flag:
        assert field.default is False
    if option.default is None and not option.is_flag:
        empty = field.default if field.default_factory is MISSING else field.default_factory()
        assert not empty


def test_a_rows_text_is_parsed(option: Option) -> None:
    """A row of the table refuses an impossible value under its option's name."""
    with pytest.raises(pytest.UsageError, match=f"^{option.flag} is '.*'; expected "):
        option.value(["maybe" if option.is_flag else ""], Path())


def test_flags_and_choices_need_no_more(option: Option) -> None:
    """The fields of a row that name its kind do not contradict each other."""
    kinds = [option.is_flag, option.choices is not None, option.locate is not None, option.collect is not None]
    assert sum(kinds) <= 1 or (option.locate is not None and option.collect is not None)
    assert option.is_flag == (option.metavar is None and option.choices is None)


@pytest.mark.parametrize("name", sorted({name for option in OPTIONS for name in option.flags}))
def test_a_name_is_one_options(name: str) -> None:
    """Every option's name, earlier ones included, belongs to one option."""
    assert [option.name for option in OPTIONS if name in option.flags] != []
    assert sum(name in option.flags for option in OPTIONS) == 1
