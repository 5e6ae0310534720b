"""The image that both Dockerfiles begin with, made on this machine: what `debian:trixie-slim` is, and the
certificates that this machine trusts besides.
"""

import shutil
from pathlib import Path

from tests.images.podman import CACHE, podman, tool

NAME = "localhost/opensessions-base:trixie"
SUITE = "trixie"

_SLIM = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man")
_EMPTIED = (*_SLIM, "var/cache/apt", "var/lib/apt/lists", "var/log")
_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_TRUSTING = ("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")


def foundation() -> str:
    """The image's name. It is made the first time, which takes half a minute, and kept."""
    kept = CACHE / "base.tar"
    if not kept.exists():
        root = CACHE / "root"
        shutil.rmtree(root, ignore_errors=True)
        tool("debootstrap", "--variant=minbase", SUITE, str(root))
        _slim(root)
        _trust(root)
        tool("tar", "-C", str(root), "-cf", f"{kept}.part", ".")
        Path(f"{kept}.part").rename(kept)
        shutil.rmtree(root)
    if not podman("images", "--quiet", NAME):
        changes = [f"--change=ENV {name}={_BUNDLE}" for name in _TRUSTING]
        podman("import", "--quiet", *changes, "--change=CMD bash", str(kept), NAME)
    return NAME


def _slim(root: Path) -> None:
    """Leave out what Debian's own slim image leaves out, now and when packages are installed; take security
    updates, as it does.
    """
    for folder in _EMPTIED:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    left_out = [f"path-exclude /{folder}/*\n" for folder in _SLIM]
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text("".join(left_out))
    sources = root / "etc/apt/sources.list"
    main = sources.read_text().splitlines()[0]
    kind, url, suite, *parts = main.split()
    updates = [kind, url, f"{suite}-updates", *parts]
    security = [kind, f"{url.rstrip('/')}-security", f"{suite}-security", *parts]
    sources.write_text("".join(" ".join(line) + "\n" for line in (main.split(), updates, security)))


def _trust(root: Path) -> None:
    """Certificates of this machine's own become trusted when `ca-certificates` is installed."""
    folder = root / _CERTIFICATES.relative_to("/")
    folder.mkdir(parents=True, exist_ok=True)
    for file in _CERTIFICATES.glob("*.crt"):
        shutil.copy(file, folder)
