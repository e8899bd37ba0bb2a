"""What processes of one run must have in common; test_processes.py starts such processes."""

import pytest

from cnnvision.errors import DataError, RunError
from cnnvision.runs import agreement

SAME = {"config": {"training": {"seed": 0}}, "versions": {"jax": "0.10.2"}, "the code of cnnvision": "a1"}


def told(monkeypatch, facts, errors=(None, None), error=None):
    found = [{"facts": each, "error": text} for each, text in zip(facts, errors, strict=True)]
    monkeypatch.setattr(agreement, "_of_all", lambda value: found)
    agreement.agree(facts[0], error)


def test_processes_that_are_alike_go_on(monkeypatch):
    told(monkeypatch, (SAME, SAME))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"config": {"training": {"seed": 7}}}, r"config\.training\.seed: 0 on process 0, 7 on process 1\."),
        ({"versions": {"jax": "0.7.2"}}, r"versions\.jax: '0\.10\.2' on process 0, '0\.7\.2' on process 1"),
        ({"the code of cnnvision": "b2"}, "the code of cnnvision: 'a1' on process 0, 'b2' on process 1"),
    ],
)
def test_what_differs_is_named(monkeypatch, other, words):
    with pytest.raises(RunError, match=words):
        told(monkeypatch, (SAME, {**SAME, **other}))


def test_unequal_numbers_of_devices_are_named():
    agreement.check_devices([0, 0, 1, 1, 2, 2])
    with pytest.raises(RunError, match=r"devices: process 1 has 1; process 2 has 3; the usual number is 2\."):
        agreement.check_devices([0, 0, 1, 2, 2, 2, 3, 3])


def test_many_differences_are_counted(monkeypatch):
    first, second = ({"config": {f"key{i}": value for i in range(9)}} for value in (0, 1))
    with pytest.raises(RunError, match=r"key3.*; and 5 more\. Start all with the same command"):
        told(monkeypatch, (first, second))


def test_who_cannot_take_part_is_said_to_the_others_and_keeps_its_own_error(monkeypatch):
    with pytest.raises(RunError, match="process 1 of 2 cannot take part: no such folder"):
        told(monkeypatch, (SAME, {}), (None, "no such folder"))
    told(monkeypatch, ({}, SAME), ("no such folder", None), DataError("no such folder"))


def test_the_code_s_digest_is_that_of_names_and_contents(tmp_path):
    def digest(files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return agreement.code_digest(folder)

    files = {"a.py": "1", "b/c.py": "2"}
    assert digest(files) == digest({**files, "notes.txt": "3"})
    others = [digest(other) for other in ({**files, "a.py": "3"}, {"a.py": "1"}, {"a.py": "1", "b/d.py": "2"})]
    assert len({digest(files), *others}) == 4
