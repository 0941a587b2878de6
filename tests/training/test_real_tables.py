"""The list of real tables is usable; `make tables-check` reads the tables and trains on them."""

from tests.training import real_tables
from tests.training.real_tables import RealTable


def test_at_least_100_tables_are_listed_once_each() -> None:
    files = [table.file for table in real_tables.read_list()]
    assert len(set(files)) == len(files) >= 100


def test_flags_of_real_tables_are_command_line_options() -> None:
    for table in real_tables.read_list():
        assert (table.options.target, table.options.name) == (table.target, "table")
    assert RealTable("a.csv", "y", "--decimal , --drop id").options.drop == ("id",)


def test_missing_real_table_is_a_one_line_failure() -> None:
    reading = real_tables.check(RealTable("no/such.csv", "y", ""))
    assert "no file" in reading.failure
