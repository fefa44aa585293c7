import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from jahslib.data import archives
from jahslib.errors import UserError


def test_members_come_in_archive_order_with_their_contents():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, contents in (("b/2", b"two"), ("b/d", None), ("a..b/1", b"")):
            info = tarfile.TarInfo(name)
            info.type, info.size = tarfile.DIRTYPE if contents is None else tarfile.REGTYPE, len(contents or b"")
            archive.addfile(info, io.BytesIO(contents or b""))
    assert list(archives.members(out.getvalue())) == [("b/2", b"two"), ("a..b/1", b"")]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_is_read_only_with_the_expected_digest(tmp_path, algorithm):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    right, wrong = (hashlib.new(algorithm, text).hexdigest() for text in (b"abc", b"abd"))
    assert archives.read(path, f"{algorithm}:{right}", "do this") == b"abc"
    with pytest.raises(UserError, match=rf"^a \(3 bytes\) .* expected {algorithm} {wrong}, found {right}; do this"):
        archives.read(path, f"{algorithm}:{wrong}", "do this")


CONTENTS = bytes(range(256)) * 1000
EXPECTED = f"sha256:{hashlib.sha256(CONTENTS).hexdigest()}"


@pytest.fixture
def server(monkeypatch):
    """A local server: /good serves CONTENTS, /short breaks off, /wrong serves others, anything else is 404."""
    monkeypatch.setenv("no_proxy", "*")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = {"/good": CONTENTS, "/short": CONTENTS[:5000], "/wrong": CONTENTS[::-1]}.get(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(CONTENTS) if body else 0))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_download_writes_the_verified_file_alone(tmp_path, server):
    target = tmp_path / "data" / "a.bin"
    archives.download([f"{server}/good"], EXPECTED, target)
    assert target.read_bytes() == CONTENTS
    assert [p.name for p in target.parent.iterdir()] == ["a.bin"]


def test_nothing_is_written_while_a_download_goes_on(tmp_path, server, monkeypatch):
    seen = []
    verify = archives.verify
    monkeypatch.setattr(archives, "verify", lambda *a: seen.extend(tmp_path.iterdir()) or verify(*a))
    archives.download([f"{server}/good"], EXPECTED, tmp_path / "a")
    assert seen == [] and (tmp_path / "a").exists()


def test_download_goes_on_to_the_next_mirror(tmp_path, server, capsys):
    dead = "http://127.0.0.1:9"  # the discard port: nothing listens
    archives.download(
        [dead, f"{server}/none", f"{server}/short", f"{server}/wrong", f"{server}/good"], EXPECTED, tmp_path / "a"
    )
    assert (tmp_path / "a").read_bytes() == CONTENTS
    captured = capsys.readouterr()
    assert captured.out == "" and "100%" in captured.err  # the progress bar belongs on stderr


@pytest.mark.parametrize("fault", ["short", "wrong", "none"])
def test_a_failed_download_never_becomes_the_file(tmp_path, server, fault):
    reason = "Not Found" if fault == "none" else f"expected sha256 {EXPECTED[7:]}, found "
    with pytest.raises(UserError, match=f"could not be downloaded .*{reason}"):
        archives.download([f"{server}/{fault}"], EXPECTED, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_no_folder_is_left_behind(tmp_path):
    with pytest.raises(UserError, match="could not be downloaded"):
        archives.download(["http://127.0.0.1:9/a"], EXPECTED, tmp_path / "data" / "a")
    assert list(tmp_path.iterdir()) == []
