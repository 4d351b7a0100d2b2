"""The report in a real Chromium: light and dark, on a phone, without a network.

With CI set in the environment a missing Chromium is an error. A page that measures (it has scripts, the report has
none) holds the report in a frame and writes what it finds into its own DOM, which Chromium prints.
"""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ckpt_tier.report.page import page
from tests.unit.report.reports import attention, report, row, series_status, status

NAMES = ("chromium", "chromium-browser", "google-chrome")
DARK, LIGHT = "0", "1"
PHONE, DESK = 360, 1200
_MEASURE = """<!doctype html><body style="margin:0">
<iframe id="frame" src="report.html" style="border:0;width:%dpx;height:900px"></iframe><pre id="found"></pre>
<script>
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement, view = frame.contentWindow;
  for (const each of page.querySelectorAll("details")) each.open = true;
  const seen = [...page.querySelectorAll("*")].filter(each => each.getClientRects().length);
  const texts = seen.filter(each => each.matches(".picture text"));
  const place = each => { const r = each.getBoundingClientRect(); return [r.left, r.right, r.top, r.bottom]; };
  found.textContent = JSON.stringify({
    scroll: root.scrollWidth, client: root.clientWidth, height: root.scrollHeight,
    background: view.getComputedStyle(page.body).backgroundColor,
    smallest: Math.min(...seen.map(each => parseFloat(view.getComputedStyle(each).fontSize))),
    labels: texts.map(each => [each.closest("svg[role]")?.getAttribute("aria-labelledby") || "", each.textContent,
      ...place(each)]),
    marks: page.querySelectorAll("use").length,
  });
};
</script>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if os.environ.get("CI"):
        pytest.fail(f"CI must look at the report in a Chromium: there is none of {', '.join(NAMES)}", pytrace=False)
    pytest.skip("needs a Chromium")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A report of 6 x 83 checkpoints, some of them in trouble, and with a metric."""
    rows = [
        row(
            step * 5000,
            saved=600_000.0 - step * 7000 - series * 40,
            lag=60.0 + step % 7 * 300,
            series=str(series),
            hot=step > 80,
            metrics={"loss": 4 / (step + 1) + series / 50},
        )
        for series in range(6)
        for step in range(83)
    ]
    rows += [
        row(415_000, lag=None, state=state, series=str(i)) for i, state in enumerate(("rejected", "lost", "saved"))
    ]
    long = "model_gpu0/" + "a_long_name_without_a_place_to_break" * 4
    troubles = (attention(path=long, reason=f"{long}: truncated"), attention("stalled", reason="no route to host"))
    now = status(attention=troubles, series=tuple(series_status(str(i), 410_000) for i in range(6)))
    (tmp_path / "report.html").write_text(page(report(rows, now)))
    return tmp_path


def browse(chromium: str, url: str, *flags: str, scheme: str = LIGHT) -> str:
    """Loads the page in a Chromium of its own and returns what it prints."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--allow-file-access-from-files",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--user-data-dir={profile}",
            "--virtual-time-budget=5000",
            *flags,
            url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def measured(chromium: str, folder: Path, width: int, scheme: str = LIGHT) -> Any:
    """What the report looks like in a frame of this width."""
    (folder / "measure.html").write_text(_MEASURE % width)
    dom = browse(chromium, (folder / "measure.html").as_uri(), "--dump-dom", scheme=scheme)
    text = dom.partition('<pre id="found">')[2].partition("</pre>")[0]
    assert text, dom[-2000:]
    return json.loads(text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


def first_pixel(picture: Path) -> bytes:
    """Red, green and blue at the top left: no filter of PNG changes the very first pixel."""
    data = picture.read_bytes()
    body, at = b"", 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            body += data[at + 8 : at + 8 + length]
        at += 12 + length
    return zlib.decompress(body)[1:4]


def test_it_is_light_or_dark_as_the_reader_wants(chromium: str, folder: Path) -> None:
    shots = {}
    for scheme, background in ((LIGHT, "fbfaf8"), (DARK, "12161c")):
        picture = folder / f"{scheme}.png"
        url = (folder / "report.html").as_uri()
        browse(chromium, url, f"--screenshot={picture}", "--window-size=800,600", scheme=scheme)
        assert first_pixel(picture).hex() == background
        shots[scheme] = picture.read_bytes()
    assert shots[LIGHT] != shots[DARK]


@pytest.mark.parametrize("width", [PHONE, 500, DESK])
def test_it_fits_any_width_and_stays_readable(chromium: str, folder: Path, width: int) -> None:
    found = measured(chromium, folder, width)
    assert found["client"] == width
    assert found["scroll"] == width
    assert found["smallest"] >= 11
    assert found["marks"] > 500
    labels = found["labels"]
    assert len(labels) > 25
    for _, text, left, right, *_ in labels:
        assert left >= -1, text
        assert right <= width + 1, text


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_two_labels_of_a_picture_overlap(chromium: str, folder: Path, width: int) -> None:
    labels = measured(chromium, folder, width)["labels"]
    for number, (picture, text, left, right, top, bottom) in enumerate(labels):
        for other_picture, other, other_left, other_right, other_top, other_bottom in labels[:number]:
            apart = right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top
            assert apart or picture != other_picture, (text, other)


class Asked(BaseHTTPRequestHandler):
    """Serves one page, and notes every path that is asked for."""

    paths: list[str]
    body: bytes

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(200 if self.path == "/report.html" else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        if self.path == "/report.html":
            self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        return


def asked_for(chromium: str, html: str) -> list[str]:
    """The paths that Chromium asks for when it shows the page."""
    handler = type("Handler", (Asked,), {"paths": [], "body": html.encode()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            browse(chromium, f"http://127.0.0.1:{server.server_port}/report.html", "--dump-dom")
        finally:
            server.shutdown()
            serving.join()
    return list(handler.paths)  # type: ignore[attr-defined]


def test_it_asks_for_nothing_but_itself(chromium: str, folder: Path) -> None:
    assert asked_for(chromium, (folder / "report.html").read_text()) == ["/report.html"]


def test_even_what_slipped_in_could_not_use_the_network(chromium: str, folder: Path) -> None:
    html = (folder / "report.html").read_text()
    spoilt = html.replace("<main>", '<main><img src="/leak"><script>fetch("/script")</script>')
    assert asked_for(chromium, spoilt) == ["/report.html"]
    open_page = spoilt.replace("Content-Security-Policy", "X-Nothing")
    assert sorted(asked_for(chromium, open_page)) == ["/leak", "/report.html", "/script"]
