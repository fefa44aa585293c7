# /// script
# requires-python = ">=3.11"
# dependencies = ["axe-playwright-python==0.1.8", "playwright==1.65.2"]
# ///
"""Open every page of the built site in Chromium, print what is wrong and fail if anything is.

    uv run docs/check.py [FOLDER]    (default: docs/_build/html; $CHROMIUM: the browser, default: as found on the path)

Checked are the browser's console, the width on a screen of 400 pixels, links within the site, pictures, contrast in
light and dark, and the search.
"""

import os
import shutil
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urldefrag, urljoin

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

LOOK = """() => ({
  wide: [document.documentElement, ...document.querySelectorAll(".content")]
    .reduce((most, e) => Math.max(most, e.scrollWidth - e.clientWidth), 0),
  broken: [...document.images].filter(i => !i.alt.trim() || !i.naturalWidth).map(i => i.src),
  links: [...document.querySelectorAll("a[href]")].map(a => a.href),
  ids: [...document.querySelectorAll("[id]")].map(e => e.id)})"""
CONTRAST = {"runOnly": ["color-contrast", "image-alt"], "resultTypes": ["violations"]}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


def check(page: Page, site: str, folder: Path) -> list[str]:
    """Visit all pages; return a line for each thing that is wrong."""
    wrong, links, ids = [], {}, {}
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(f"{page.url}: console: {m.text}"))
    page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
    for file in sorted(folder.rglob("*.html")):
        name = file.relative_to(folder).as_posix()
        if name == "index.html":  # only leads on
            continue
        page.goto(site + name)
        page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        page.wait_for_load_state("networkidle")
        found = page.evaluate(LOOK)
        if found["wide"] > 0:
            wrong.append(f"{name}: {found['wide']} pixels too wide")
        wrong += [f"{name}: no such picture, or it has no words: {image}" for image in found["broken"]]
        ids[site + name] = set(found["ids"])
        links[name] = {urljoin(site + name, link) for link in found["links"]}
        if not name.startswith("docs/api/") or "optimizer" in name:
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                for violation in Axe().run(page, options=CONTRAST).response["violations"]:
                    wrong += [
                        f"{name}: {scheme}: {violation['id']}: {node['html'][:150]}" for node in violation["nodes"]
                    ]
    for name, targets in links.items():
        for target, anchor in sorted(urldefrag(link) for link in targets if link.startswith(site)):
            file = folder / unquote(target.removeprefix(site))
            if not file.exists() or (anchor and unquote(anchor) not in ids.get(target, {unquote(anchor)})):
                wrong.append(f"{name}: leads nowhere: {target}#{anchor}")
    page.goto(f"{site}search.html?q=GrowingConvNets")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    if "GrowingConvNets" not in page.inner_text("#search-results"):
        wrong.append("search.html: GrowingConvNets is not found")
    print(f"{len(links)} pages, {sum(map(len, links.values()))} links")
    return wrong


if __name__ == "__main__":
    folder = Path(sys.argv[1] if sys.argv[1:] else Path(__file__).parent / "_build" / "html").resolve()
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 400, "height": 800})
        wrong = check(page, f"http://127.0.0.1:{server.server_port}/", folder)
    print(*wrong, sep="\n")
    sys.exit(bool(wrong))
