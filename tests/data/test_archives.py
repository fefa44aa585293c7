import concurrent.futures
import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from jahslib.data import archives
from jahslib.errors import UserError


def tar(path, *entries, mode="w:gz"):
    """Write an archive of (name, contents) pairs and ready-made TarInfo objects."""
    with tarfile.open(path, mode) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry, io.BytesIO(b"x" * entry.size))
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                archive.addfile(info, io.BytesIO(entry[1]))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


MALICIOUS = {
    "parent": tarfile.TarInfo("../evil"),
    "inner parent": tarfile.TarInfo("a/../../evil"),
    "windows parent": tarfile.TarInfo("a\\..\\..\\evil"),
    "absolute": tarfile.TarInfo("/absent/evil"),
    "drive": tarfile.TarInfo("C:\\evil"),
    "symbolic link": special("evil", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": special("evil", tarfile.LNKTYPE, "good"),
    "device": special("evil", tarfile.CHRTYPE),
    "pipe": special("evil", tarfile.FIFOTYPE),
    "parent folder": special("../evil", tarfile.DIRTYPE),
}


@pytest.mark.parametrize("member", MALICIOUS.values(), ids=MALICIOUS.keys())
def test_a_malicious_member_is_named_and_nothing_is_written(tmp_path, member):
    inside = tmp_path / "inside"
    inside.mkdir()
    path = tar(inside / "bad.tar.gz", ("good", b"fine"), member)
    with pytest.raises(UserError, match=r"bad\.tar\.gz: refused, its member .*evil"):
        list(archives.members(path))
    with pytest.raises(UserError, match="evil"):
        archives.unpack(path, inside / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["inside", "bad.tar.gz"]


def test_members_come_in_archive_order_with_their_contents(tmp_path):
    path = tar(tmp_path / "a.tar.gz", ("b/2", b"two"), special("b/d", tarfile.DIRTYPE), ("a..b/1", b""))
    assert list(archives.members(path)) == [("b/2", b"two"), ("a..b/1", b"")]


def test_unpack_writes_every_file_and_refuses_an_existing_target(tmp_path):
    path = tar(tmp_path / "a.tar", ("b/2", b"two"), ("1", b"one"), mode="w")
    archives.unpack(path, tmp_path / "out")
    assert {p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in (tmp_path / "out").rglob("*[12]")} == {
        "b/2": b"two",
        "1": b"one",
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "out"]
    with pytest.raises(UserError, match="out already exists"):
        archives.unpack(path, tmp_path / "out")


def test_a_decompression_bomb_is_refused_by_member_and_by_total(tmp_path):
    path = tar(tmp_path / "a.tar.gz", ("1", bytes(1000)), ("2", bytes(1001)))
    assert len(list(archives.members(path, limit=1001, total=2001))) == 2
    with pytest.raises(UserError, match="'2' has 1001 bytes, over the limit of 1000"):
        list(archives.members(path, limit=1000))
    with pytest.raises(UserError, match="'2' takes the archive over the limit of 2000"):
        archives.unpack(path, tmp_path / "out", total=2000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0, 30, -20])
def test_a_truncated_archive_is_a_user_error_and_leaves_nothing(tmp_path, keep):
    path = tar(tmp_path / "a.tar.gz", ("1", bytes(range(256)) * 40))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a\.tar\.gz is truncated or no tar archive"):
        list(archives.members(path))
    with pytest.raises(UserError):
        archives.unpack(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]


def test_gunzip_reads_whole_files_only(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"abc" * 100))
    assert archives.gunzip(path, limit=300) == b"abc" * 100
    with pytest.raises(UserError, match="more than the limit of 299"):
        archives.gunzip(path, limit=299)
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(UserError, match="truncated"):
        archives.gunzip(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(UserError, match="no gzip file"):
        archives.gunzip(path)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_verify_tells_the_expected_and_the_found_digest(tmp_path, algorithm):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    right, wrong = (hashlib.new(algorithm, text).hexdigest() for text in (b"abc", b"abd"))
    archives.verify(path, f"{algorithm}:{right}")
    with pytest.raises(UserError, match=f"expected {algorithm} {wrong}, found {right}; do this"):
        archives.verify(path, f"{algorithm}:{wrong}", "do this")


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


def test_download_writes_the_verified_file_and_deletes_old_parts(tmp_path, server):
    target = tmp_path / "data" / "a.bin"
    target.parent.mkdir()
    for name in ("a.bin.part", "a.bin.x1y2.part"):
        (target.parent / name).write_bytes(b"left over by a killed run" * 20_000)
        os.utime(target.parent / name, (0, 0))
    archives.download([f"{server}/good"], EXPECTED, target)
    assert target.read_bytes() == CONTENTS
    assert [p.name for p in target.parent.iterdir()] == ["a.bin"]


def test_downloads_of_one_file_at_a_time_do_not_meet(tmp_path, server):
    """The slow one is stopped half-way while the other begins and ends; its file is neither used nor swept away."""
    half, done = threading.Event(), threading.Event()
    target = tmp_path / "a.bin"
    verify = archives.verify

    def slow():
        with archives._part(target) as file:
            file.write(CONTENTS[:1000])
            file.flush()
            os.utime(file.name, (0, 0))
            half.set()
            done.wait(30)
            file.write(CONTENTS[1000:])
            file.flush()
            verify(Path(file.name), EXPECTED)
            os.replace(file.name, target)

    with concurrent.futures.ThreadPoolExecutor() as executor:
        first = executor.submit(slow)
        half.wait(30)
        archives.download([f"{server}/good"], EXPECTED, target)
        assert target.read_bytes() == CONTENTS
        done.set()
        first.result(30)
    assert target.read_bytes() == CONTENTS
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


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
