"""Serves this folder on one loopback port; an open page reloads itself when its file changes.

`python3 server.py` serves; `python3 server.py --check 3` waits up to 3 seconds for it to answer.
"""

import sys
import time
import urllib.request
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = 3000
FOLDER = Path(__file__).resolve().parent
RELOAD = b"""<script>
(() => {
  let seen = null;
  const look = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" });
      const now = answer.ok ? answer.headers.get("X-Version") : null;
      if (seen && now && now !== seen) location.reload();
      seen = now || seen;
    } catch { /* the server is away: look again later */ }
  };
  look();
  setInterval(look, 1000);
  document.addEventListener("visibilitychange", look);
})();
</script>
"""


class Page(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, with_body: bool) -> None:
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file() or FOLDER not in path.resolve().parents:
            self.send_error(404)
            return
        body = path.read_bytes()
        if path.suffix == ".html":
            body = body.replace(b"</body>", RELOAD + b"</body>")
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Version", str(path.stat().st_mtime_ns))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def check(seconds: float) -> int:
    """0 when the page answers within `seconds`."""
    address = f"http://127.0.0.1:{PORT}/"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + seconds
    while True:
        try:
            with opener.open(address, timeout=2) as answer:
                print(f"{answer.status} OK, {len(answer.read())} bytes from {address}")
                return 0
        except OSError as error:
            if time.monotonic() > until:
                print(f"No answer from {address}: {error}")
                return 1
            time.sleep(0.05)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(check(float(sys.argv[2])))
    ThreadingHTTPServer(("127.0.0.1", PORT), partial(Page, directory=str(FOLDER))).serve_forever()
