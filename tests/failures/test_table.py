"""Every id that is cited in the tree is in the table, and each id in the table has a test."""

import pathlib
import re

from tests.failures import table


def test_every_id_that_is_cited_is_in_the_table():
    cited = table.citations("reactor", "scripts", "tests")
    pages = [table.ROOT / "README.md", *(table.ROOT / "reactor").rglob("*.md"), *(table.ROOT / "scripts").rglob("*.md")]
    for page in pages:
        for number in re.findall(r"\(([ARWELCP][1-9]\d?)[,;)]", page.read_text()):
            cited.setdefault(number, []).append(str(page))
    unknown = {number: where for number, where in cited.items() if number not in table.FAILURES}
    assert not unknown


def test_every_failure_has_a_test():
    tests, named = table.citations("tests"), table.tests_named()
    for number in table.FAILURES:
        files = [name for name in tests.get(number, []) if pathlib.Path(name).name.startswith("test_")]
        assert named.get(number) or files, number


def test_an_id_is_read_out_of_names_and_comments():
    assert table.ID.findall("(A1, E12); RA1 A100 S1 B2") == ["A1", "E12"]
    assert "test_a1_out_of_descriptors" in table.tests_named()["A1"]
    assert "reactor/connections/acceptor.py" in table.citations("reactor")["A1"]
