"""Fetching the reference cells: from a local server laid out like the public repositories, a folder, an archive."""

import functools
import hashlib
import http.server
import inspect
import json
import subprocess
import sys
import threading
import zipfile

import pytest

from tmsjax import cells
from tmsjax.cells import fetch
from tmsjax.cli.fetch import FetchOptions
from tmsjax.cli.fetch import fetch as run
from tmsjax.core.errors import InputError

NAMES = list(fetch.SHA256)


def content(name):
    return f";reconstruction {name}\n(a)\n".encode()


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Three made-up files stand for the cells, which may not be shipped; the user's data folder is empty."""
    monkeypatch.setenv("TMSJAX_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(fetch, "SHA256", {name: hashlib.sha256(content(name)).hexdigest() for name in NAMES[:3]})
    return NAMES[:3]


@pytest.fixture
def repository(made_up, tmp_path):
    """CELL/morphology.hoc and CELL/morphology/FILE.asc, as in the public repositories."""
    root = tmp_path / "repository"
    for name in made_up:
        folder = root / name / "morphology"
        folder.mkdir(parents=True)
        (folder / f"dend-{name}_axon-x_-_Clone 2.asc").write_bytes(content(name))
        (root / name / "morphology.hoc").write_text(
            f'nl = new Import3d_Neurolucida3()\n nl.input("morphology/dend-{name}_axon-x_-_Clone 2.asc")\n'
        )
    return root


@pytest.fixture
def served(repository):
    """The repository's address, and what was asked of it."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(repository))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def asc(name):
    return fetch.reference_folder() / "asc" / f"{name}.asc"


def test_cells_come_from_an_address_once(served, made_up):
    address, asked = served
    said = []
    became = fetch.fetch_aberra2019(accept_licence=True, source=address, progress=said.append)
    assert became == dict.fromkeys(made_up, "fetched")
    assert said == [f"{name} from {address}" for name in made_up]
    for name in made_up:
        assert asc(name).read_bytes() == content(name)
    record = json.loads((fetch.reference_folder() / "source.json").read_text())
    assert record["source"] == address
    assert record["accepted"] is True
    assert record["sha256"] == fetch.SHA256
    assert (fetch.reference_folder() / "LICENCE.txt").read_text() == fetch.NOTICE
    asked.clear()
    assert fetch.fetch_aberra2019(accept_licence=True, source=address) == dict.fromkeys(made_up, "there")
    assert asked == []
    asc(made_up[1]).write_bytes(b"cut")  # a damaged one is fetched again, and only that
    assert fetch.fetch_aberra2019(accept_licence=True, source=address)[made_up[1]] == "fetched"
    assert {path.split("/")[1] for path in asked} == {made_up[1]}


def test_without_consent_nothing_is_asked_or_written(served):
    address, asked = served
    with pytest.raises(InputError, match=r"licence[\s\S]*--accept-licence"):
        fetch.fetch_aberra2019(accept_licence=False, source=address)
    assert asked == []
    assert not fetch.reference_folder().exists()


def test_windows_line_ends_are_no_other_file(served, repository, made_up):
    for path in repository.rglob("*.asc"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    fetch.fetch_aberra2019(accept_licence=True, source=served[0])
    assert asc(made_up[0]).read_bytes() == content(made_up[0])


def test_the_second_repository_stands_in_for_the_first(served, monkeypatch, made_up):
    monkeypatch.setattr(fetch, "SOURCES", (f"{served[0]}/nowhere", served[0]))
    assert set(fetch.fetch_aberra2019(accept_licence=True).values()) == {"fetched"}
    assert json.loads((fetch.reference_folder() / "source.json").read_text())["source"] == served[0]


def test_another_file_is_not_taken(served, repository, made_up):
    (path,) = (repository / made_up[2] / "morphology").iterdir()
    path.write_bytes(b"(changed)")
    with pytest.raises(InputError, match=rf"{made_up[2]} is not the one[\s\S]*sha256 {fetch.SHA256[made_up[2]]}"):
        fetch.fetch_aberra2019(accept_licence=True, source=served[0])
    assert not asc(made_up[2]).exists()
    assert asc(made_up[0]).exists()  # kept for the next run
    path.write_bytes(content(made_up[2]))
    assert fetch.fetch_aberra2019(accept_licence=True, source=served[0])[made_up[0]] == "there"


def test_a_repository_of_another_form_is_named(served, repository, made_up):
    (repository / made_up[0] / "morphology.hoc").write_text("// nothing")
    with pytest.raises(InputError, match=r"morphology.hoc names no reconstruction"):
        fetch.fetch_aberra2019(accept_licence=True, source=served[0])


def test_a_missing_page_and_no_connection_point_to_the_folder_option(served, made_up, monkeypatch):
    with pytest.raises(InputError, match=r"404[\s\S]*root=FOLDER"):
        fetch.fetch_aberra2019(accept_licence=True, source=f"{served[0]}/nowhere")
    monkeypatch.setattr(fetch, "SOURCES", ("http://127.0.0.1:9/a", "http://127.0.0.1:9/b"))
    with pytest.raises(
        InputError, match=r"none of the public[\s\S]*9/a/[\s\S]*ConnectionError[\s\S]*9/b/[\s\S]*--source"
    ):
        fetch.fetch_aberra2019(accept_licence=True)


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_found_in_a_folder_or_an_archive_whatever_their_names(repository, made_up, tmp_path, packed):
    source = repository
    if packed:
        source = tmp_path / "241165.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for k, path in enumerate(sorted(repository.rglob("*.asc"))):
                archive.writestr(f"model/{k}.ASC", path.read_bytes())
    fetch.fetch_aberra2019(accept_licence=True, source=source)
    assert all(asc(name).read_bytes() == content(name) for name in made_up)


def test_an_archive_may_be_fetched(served, repository, made_up):
    with zipfile.ZipFile(repository / "all.zip", "w") as archive:
        for path in repository.rglob("*.asc"):
            archive.write(path, path.name)
    assert set(fetch.fetch_aberra2019(accept_licence=True, source=f"{served[0]}/all.zip").values()) == {"fetched"}


def test_sources_without_the_cells_say_which_are_missing(repository, made_up, tmp_path):
    (path,) = (repository / made_up[1] / "morphology").iterdir()
    path.unlink()
    with pytest.raises(InputError, match=rf"1 of the reference cells[\s\S]*without {made_up[1]}"):
        fetch.fetch_aberra2019(accept_licence=True, source=repository)
    with pytest.raises(InputError, match="source cannot be read"):
        fetch.fetch_aberra2019(accept_licence=True, source=tmp_path / "nothing")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="data folder cannot be made"):
        fetch.fetch_aberra2019(accept_licence=True, source=repository, folder=blocked / "x")


def command(*arguments, data):
    code = "from tmsjax.cli import main; main()"
    environment = {"TMSJAX_DATA": str(data), "COLUMNS": "100", "PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, "fetch", "aberra2019", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_shows_the_licence_and_wants_consent(tmp_path):
    status, out, err = command(data=tmp_path)
    assert status == 2
    assert "NonCommercial-ShareAlike 4.0" in out
    assert "--accept-licence" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [True, False])
def test_at_a_terminal_the_command_asks(served, made_up, monkeypatch, capsys, answer):
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("rich.prompt.Confirm.ask", lambda *a, **k: asked.append(a) or answer)
    options = FetchOptions("aberra2019", source=served[0])
    if answer:
        inspect.unwrap(run)(options)
        out = capsys.readouterr().out
        assert "3 cells fetched, 0 were there already, all checked" in out
        assert f"{made_up[0]} from {served[0]}" in out
    else:
        with pytest.raises(InputError, match="not accepted"):
            inspect.unwrap(run)(options)
        assert not fetch.reference_folder().exists()
    assert len(asked) == 1


@pytest.mark.shared
def test_the_real_cells_are_recognised_and_then_load_without_a_folder(shared, tmp_path, monkeypatch):
    source = shared / "cells" / "aberra2019"
    status, out, err = command("--accept-licence", "--source", str(source), data=tmp_path)
    assert (status, err) == (0, "")
    assert "15 cells fetched, 0 were there already" in out
    assert 'cells.load("aberra2019/L23_PC_cADpyr229_1")' in out
    assert "0 cells fetched, 15 were there" in command("--accept-licence", data=tmp_path)[1]
    monkeypatch.setenv("TMSJAX_DATA", str(tmp_path))
    ours = cells.load("aberra2019/L4_LBC_cACint209_5")
    theirs = cells.load("aberra2019/L4_LBC_cACint209_5", root=source)
    assert [s.points_um.tobytes() for s in ours.sections] == [s.points_um.tobytes() for s in theirs.sections]
