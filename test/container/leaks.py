"""Looks through an image for what the machine that built it may have left there."""

import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from engine import ENGINE, ROOT, engine, inspect

# The engine binds its own over these while it builds or runs; the image's must be empty.
STUBS = ("etc/pip.conf", "etc/resolv.conf", "etc/hosts")
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
LOCAL_CERTIFICATES = Path("/usr/local/share/ca-certificates")
CACHES = (".cache/", "wheels/")
LARGEST_READ = 2**17  # settings, scripts and package records are smaller


def leaks(image: str) -> list[str]:
    """What is left of this machine in the image, in words; empty when nothing is."""
    metadata = str(inspect(image)["Config"]) + engine("history", "--no-trunc", image)
    found = [f"{mark} in the image's metadata" for mark in marks() if mark in metadata]
    for path, content in files(image):
        found += file_leaks(path, content)
    return found


def file_leaks(path: str, content: bytes) -> list[str]:
    """What one file of the image tells of this machine."""
    if path in STUBS:
        return [f"/{path} has content"] if content.strip() else []
    if path == CERTIFICATES:
        return [f"/{path} holds {name}" for name, body in own_certificates() if body in content]
    if any(cache in path for cache in CACHES):
        return [f"/{path} is a left-over of the build"]
    return [f"/{path} names {mark}" for mark in marks() if mark.encode() in content]


def marks() -> list[str]:
    """Texts that only this machine could have put there."""
    folders = [os.environ.get("PIP_FIND_LINKS", ""), str(ROOT)]
    hosts = [os.environ.get(name, "") for name in ("PIP_INDEX_URL", "HTTPS_PROXY", "https_proxy")]
    return [mark for mark in (*folders, *hosts) if len(mark) > 5]


def own_certificates() -> list[tuple[str, bytes]]:
    """Certificates that were added to this machine: name, and a line in their middle."""
    return [
        (path.name, path.read_bytes().splitlines()[2])
        for path in sorted(LOCAL_CERTIFICATES.glob("*.crt"))
    ]


def files(image: str) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of the image's files; the content of large ones is left out."""
    name = f"leaks-{uuid.uuid4().hex[:12]}"
    engine("create", "--name", name, image)
    try:
        with (
            subprocess.Popen([ENGINE, "export", name], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            for member in archive:
                small = member.isfile() and (
                    member.size <= LARGEST_READ or member.name == CERTIFICATES
                )
                stream = archive.extractfile(member) if small else None
                if member.isfile():
                    yield member.name, stream.read() if stream else b""
    finally:
        engine("rm", name)
