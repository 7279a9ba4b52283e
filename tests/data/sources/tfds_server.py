"""A server of tiny archives in the layout of the real ones, from which tfds's own builders prepare sets."""

import contextlib
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from tests.data.sources.voc_maker import noise_image

COCO_IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def jpeg(seed: int) -> bytes:
    """An image of 64x48."""
    file = io.BytesIO()
    noise_image(seed).save(file, "JPEG")
    return file.getvalue()


def voc_object(name: str, box: tuple[int, int, int, int], difficult: int = 0) -> str:
    """One <object> with all that tfds's builder asks for."""
    sides = "".join(f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    flags = f"<pose>Left</pose><truncated>0</truncated><difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flags}<bndbox>{sides}</bndbox></object>"


def voc_archive(year: str, lists: Mapping[str, Mapping[str, list[str]]]) -> bytes:
    """A tar with the images and objects of each list."""
    files: dict[str, bytes] = {}
    for split, images in lists.items():
        files[f"ImageSets/Main/{split}.txt"] = "".join(f"{name}\n" for name in images).encode()
        for name, objects in images.items():
            files[f"JPEGImages/{name}.jpg"] = jpeg(int(name))
            size = "<size><width>64</width><height>48</height></size>"
            files[f"Annotations/{name}.xml"] = f"<annotation>{size}{''.join(objects)}</annotation>".encode()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"VOCdevkit/VOC{year}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def coco_archives(splits: Mapping[str, Mapping[int, list[dict[str, Any]]]]) -> dict[str, bytes]:
    """The zips of images and of annotations, by name; a split is image id -> annotations."""
    names = [f"class{i}" for i in COCO_IDS]
    categories = [{"id": i, "name": name} for i, name in zip(COCO_IDS, names, strict=True)]
    archives, annotations = {}, {}
    for split, listed in splits.items():
        images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 64, "height": 48} for i in listed]
        found = [{"image_id": i} | record for i, records in listed.items() for record in records]
        content: dict[str, Any] = {"images": images, "categories": categories}
        kind = "image_info" if split.startswith("test") else "instances"
        archive = f"image_info_{split}" if kind == "image_info" else "annotations_trainval2017"
        if kind == "instances":
            content["annotations"] = found
        annotations.setdefault(archive, {})[f"annotations/{kind}_{split}.json"] = json.dumps(content).encode()
        archives[f"{split}.zip"] = _zip({f"{split}/{i['file_name']}": jpeg(i["id"]) for i in images})
    return archives | {f"{name}.zip": _zip(files) for name, files in annotations.items()}


def _zip(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def url_infos(root: str, archives: Mapping[str, bytes]) -> dict[str, SimpleNamespace]:
    """What tfds keeps of each address: it checks a download against it."""
    from tensorflow_datasets.core import download, utils

    def info(name: str, data: bytes) -> Any:
        digest = hashlib.sha256(data).hexdigest()
        return download.checksums.UrlInfo(size=utils.Size(len(data)), checksum=digest, filename=name)

    return {f"{root}{name}": info(name, data) for name, data in archives.items()}


@contextlib.contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serves files by their last name, to whoever asks directly or takes it for a proxy.

    Yields:
      its address, and the requests so far.
    """
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, with_content: bool) -> None:
            asked.append(f"{self.command} {self.path}")
            content = files.get(self.path.rsplit("/", 1)[-1])
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_content:
                self.wfile.write(content)

        def do_GET(self):
            self.answer(True)

        def do_HEAD(self):
            self.answer(False)

        def log_message(self, *_):
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", asked
        finally:
            server.shutdown()
            thread.join()
