"""2,000 JPEGs like those of the web, the same every time, and an nginx that serves them on loopback."""

import os
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

CACHE = Path(tempfile.gettempdir(), "imgprep-benchmarks")  # made once, 450 MB; delete it when you like

NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; keepalive_requests 100000;
    client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
    types {{ image/jpeg jpg; }}
    server {{
        listen 127.0.0.1:{port}{ssl};
        root {root};
    }}
}}
"""


def jpegs(count: int = 2000, *, seed: int = 7) -> Path:
    """A folder with 00000.jpg …: crops of bundled photographs, 500 to 2,000 pixels long, mean 0.95 Mpx and 210 KB."""
    folder = CACHE / "jpegs"
    folder.mkdir(parents=True, exist_ok=True)
    todo = [n for n in range(count) if not (folder / f"{n:05d}.jpg").exists()]
    photos = _photographs()
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda n: _jpeg(photos, np.random.default_rng([seed, n]), folder / f"{n:05d}.jpg"), todo):
            pass
    return folder


def _photographs() -> list[np.ndarray]:
    import skimage.data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "retina")
    return [getattr(skimage.data, name)() for name in names] + load_sample_images().images


def _jpeg(photos: list[np.ndarray], rng: np.random.Generator, path: Path) -> None:
    photo = photos[rng.integers(len(photos))]
    height, width = photo.shape[:2]
    w, h = (int(side * rng.uniform(0.6, 1)) for side in (width, height))
    left, top = rng.integers(width - w + 1), rng.integers(height - h + 1)
    longest = np.clip(np.exp(rng.normal(np.log(1040), 0.33)), 500, 2000)
    scale = longest / max(w, h)
    image = cv2.resize(photo[top : top + h, left : left + w], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    # A sensor's noise: an enlarged photograph alone has too few bytes for its pixels.
    cv2.setRNGSeed(int(rng.integers(1 << 20)))
    noise = cv2.randn(np.empty(image.shape, np.int16), 0, float(np.exp(rng.normal(2.05, 0.8))))
    image = cv2.add(image, noise, dtype=cv2.CV_8U)[:, :, ::-1]
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(78, 97))])[1]
    path.with_suffix(".new").write_bytes(data.tobytes())
    os.replace(path.with_suffix(".new"), path)


@contextmanager
def nginx(root: Path, certificate: str | None = None):
    """Serves `root` on the URL that it yields. certificate: a PEM file with its key, for https."""
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="nginx-") as where:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        ssl = f" ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}" if certificate else ""
        Path(where, "nginx.conf").write_text(NGINX.format(port=port, ssl=ssl, root=root))
        free.close()
        server = subprocess.Popen(["nginx", "-p", where, "-c", "nginx.conf"], stderr=subprocess.DEVNULL)
        try:
            while server.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield f"http{'s' if certificate else ''}://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()
