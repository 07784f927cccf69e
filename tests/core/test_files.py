import pytest

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file, staged_folder


def test_files_appear_together_when_the_block_ends(tmp_path):
    out = tmp_path / "a" / "out"
    with staged_folder(out) as stage:
        (stage / "x.txt").write_text("1")
        assert not out.exists()
    assert (out / "x.txt").read_text() == "1"
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_the_folder_as_it_was(tmp_path, error):
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.txt").write_text("old")
    with pytest.raises(error), staged_folder(out) as stage:  # noqa: PT012
        (stage / "x.txt").write_text("new")
        raise error
    assert (out / "x.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_second_run_replaces_its_files_and_keeps_others(tmp_path):
    for text in ("first", "second"):
        with staged_folder(tmp_path / "out") as stage:
            (stage / "x.txt").write_text(text)
            (stage / "folder").mkdir()
            (stage / "folder" / "y.txt").write_text(text)
        (tmp_path / "out" / "mine.txt").write_text("kept")
    assert (tmp_path / "out" / "x.txt").read_text() == "second"
    assert (tmp_path / "out" / "folder" / "y.txt").read_text() == "second"
    assert (tmp_path / "out" / "mine.txt").read_text() == "kept"


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"), staged_folder(tmp_path / "out"):
        pass


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "field.nii.gz"
    out.write_text("old")

    def stop_in_the_middle():
        with staged_file(out) as stage:
            assert stage.name.endswith(".nii.gz")
            stage.write_text("half")
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        stop_in_the_middle()
    assert out.read_text() == "old"
    with staged_file(out) as stage:
        stage.write_text("new")
    assert out.read_text() == "new"
    assert [item.name for item in tmp_path.iterdir()] == ["field.nii.gz"]
    with pytest.raises(InputError, match="cannot be written"), staged_file(tmp_path / "absent" / "a.nii"):
        pass
