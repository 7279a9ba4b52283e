#!/usr/bin/env python3
"""Finds objects in images, on an Edge TPU or a CPU.

    python3 detect.py --model student_int8_edgetpu.tflite --input images --output drawn

Copy it with `runtimes.py` and `model_file.py`; it needs Python 3.7 or newer, NumPy, Pillow and a TFLite
runtime. The model is a `.tflite` file of `mkd export`, as it is or compiled: with suppression
inside, or with raw heads. Labels, score threshold and fit are inside it, and in the `manifest.json` beside
it for a compiled one.
"""

import argparse
import collections
import importlib
import itertools
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if __package__:
    from . import model_file
    from .runtimes import DetectError, open_interpreter
else:  # copied to a board, the files side by side
    import model_file
    from runtimes import DetectError, open_interpreter

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation to the method of `transpose`
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0))
MAX_THREADS = 64
MAX_DETECTIONS = 100  # of raw heads
TIMES_KEPT = 1000  # a camera runs for days


class Detector:
    """A model's file, ready to run; `fit` and `threshold` are what it or the manifest says, or None."""

    def __init__(self, path: Path, labels: str, threads: int):
        if not path.is_file():
            raise DetectError(f"model {path}: no such file")
        self._content = path.read_bytes()  # kept: the interpreter reads the weights from here
        if self._content[4:8] != b"TFL3":
            raise DetectError(f"model {path}: not a .tflite file")
        archive = model_file.read_archive(self._content)
        told = model_file.read_manifest(path, self._content) or model_file.read_facts(archive)
        self.fit, self.threshold = told.get("fit"), told.get("threshold")
        self.labels = model_file.read_labels(labels, self._content, archive, told)
        self._interpreter, self.runtime = open_interpreter(path, self._content, threads)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shape, self._dtype = [int(n) for n in inputs[0]["shape"]], np.dtype(inputs[0]["dtype"])
        known = len(outputs) in (2, 4) and self._dtype in (np.uint8, np.float32)
        if not known or len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
            wanted = "uint8 or float32 [1, H, W, 3] and 4 or 2 outputs, as mkd export writes"
            raise DetectError(f"model {path}: expected {wanted}, got {self._dtype} {shape}, {len(outputs)}")
        self.height, self.width = shape[1:3]
        self._input, self._outputs = inputs[0]["index"], [entry["index"] for entry in outputs]
        names = ["box_encodings", "class_logits"]
        if len(outputs) == 4:
            names = [f"output_{i}" for i in (3, 2, 1, 0)]
        # Private, yet Coral's own client reads it; else they are in this order.
        for signature in getattr(self._interpreter, "_get_full_signature_list", dict)().values():
            self._outputs = [signature["outputs"][name] for name in names]
        self._anchors = model_file.read_anchors(path, archive) if len(outputs) == 2 else None
        if self._anchors is not None and len(self._anchors) != outputs[0]["shape"][1]:
            got = f"{len(self._anchors)}; is the .csv file of another export?"
            raise DetectError(f"model {path}: expected {outputs[0]['shape'][1]} anchors, got {got}")
        self._invoke(np.zeros((self.height, self.width, 3), np.uint8))  # the first run loads the weights

    def _invoke(self, image: np.ndarray) -> float:
        self._interpreter.set_tensor(self._input, image[None].astype(self._dtype))  # floats in 0..255
        start = time.perf_counter()
        self._interpreter.invoke()
        return (time.perf_counter() - start) * 1000

    def _found(self, threshold: float):
        """Returns boxes as fractions of the input, classes and scores."""
        tensors = [self._interpreter.get_tensor(index) for index in self._outputs]
        if self._anchors is not None:
            encodings, logits = (tensor[0] for tensor in tensors)
            return model_file.decode(encodings, logits, self._anchors, threshold, MAX_DETECTIONS)
        count = int(tensors[3][0])
        return (tensor[0][:count] for tensor in tensors[:3])

    def __call__(self, image: Image.Image, fit: str, threshold: float):
        """Returns detections, best first, in pixels of `image`, and the milliseconds of the inference."""
        (width, height), target = image.size, (self.width, self.height)
        used = np.ones(4)  # the part of the input, as y and x, that the image fills
        if fit == "letterbox":
            scale = min(self.width / width, self.height / height)
            target = (max(1, round(width * scale)), max(1, round(height * scale)))
            used = np.tile([height * scale / self.height, width * scale / self.width], 2)
        pixels = np.zeros((self.height, self.width, 3), np.uint8)  # top left, the rest zero: as in training
        pixels[: target[1], : target[0]] = np.asarray(image.resize(target, Image.BILINEAR))
        elapsed = self._invoke(pixels)
        boxes, classes, scores = self._found(threshold)
        boxes = np.clip(boxes / used, 0, 1) * [height, width, height, width]
        found = []
        for i in range(len(scores)):
            label, box = int(classes[i]), boxes[i].round(2).tolist()
            if scores[i] < threshold or box[2] <= box[0] or box[3] <= box[1]:
                continue
            if label >= len(self.labels):
                raise DetectError(f"labels: {len(self.labels)}, but found class {label}; correct --labels")
            entry = {"class": label, "label": self.labels[label], "score": round(float(scores[i]), 4)}
            found.append(dict(entry, box=box))
        return found, elapsed


def read_image(path: Path) -> Image.Image:
    """Reads an image upright and as RGB; transparency is laid on white."""
    with Image.open(str(path)) as opened:
        opened.load()
        try:  # the orientation alone: ImageOps.exif_transpose fails where it cannot rewrite the EXIF
            turn = UPRIGHT.get(opened.getexif().get(0x0112))
        except Exception:  # Pillow before 6, or broken EXIF: the pixels are sound all the same
            turn = None
        image = opened.copy() if turn is None else opened.transpose(turn)
    if image.mode[0] in "IF":
        raise ValueError("more than 8 bits a channel; save it with 8")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")


def draw(image: Image.Image, found: list) -> Image.Image:
    """Returns a copy with boxes, labels and scores; the best lies on top."""
    copy = image.copy()
    canvas, line = ImageDraw.Draw(copy), max(2, max(copy.size) // 320)
    try:
        font, is_scaled = ImageFont.load_default(max(12, max(copy.size) // 46)), True
    except (TypeError, ImportError):  # Pillow before 10.1 or without FreeType: one size, ASCII alone
        font, is_scaled = ImageFont.load_default(), False
    for entry in reversed(found):
        (ymin, xmin, ymax, xmax), color = entry["box"], COLORS[entry["class"] % len(COLORS)]
        canvas.rectangle((xmin, ymin, xmax, ymax), outline=color, width=line)
        text = f"{entry['label']} {entry['score']:.2f}"
        text = text if is_scaled else text.encode("ascii", "replace").decode()
        is_new = hasattr(canvas, "textbbox")  # since Pillow 8; since 10 there is no textsize
        size = canvas.textbbox((0, 0), text, font=font)[2:] if is_new else canvas.textsize(text, font=font)
        left, top = max(0, min(xmin, copy.width - size[0] - 4)), max(0, ymin - size[1] - 4)
        canvas.rectangle((left, top, left + size[0] + 4, top + size[1] + 4), fill=color)
        canvas.text((left + 2, top + 2), text, fill=(0, 0, 0), font=font)
    return copy


def save(image: Image.Image, path: Path) -> None:
    """Writes a PNG beside `path` and renames it: a failure leaves what was there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(str(beside), format="PNG")
        os.replace(str(beside), str(path))
    except OSError as error:
        raise DetectError(f"output {path}: cannot be written ({error})") from None
    finally:
        if path.parent.is_dir() and beside.exists():
            beside.unlink()


def images_from(source: Path, output: Path, skipped: list):
    """Yields name, image and where its copy goes; what cannot be read is named, and added to `skipped`."""
    paths = sorted(source.iterdir()) if source.is_dir() else [source]
    paths = [p for p in paths if p.is_file() and p.suffix.lower() in SUFFIXES and p.name[0] != "."]
    if not paths:
        raise DetectError(f"input {source}: no images there ({', '.join(SUFFIXES)})")
    if output.resolve() == paths[0].parent.resolve():
        raise DetectError(f"output {output}: the folder of the images themselves; choose another")
    for path in paths:
        try:
            image = read_image(path)
        except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error and more
            print(f"skipped {path}:", *str(error).split(), file=sys.stderr)
            skipped.append(path.name)
            continue
        yield path.name, image, output / f"{path.name}.png"


def images_from_camera(camera: str, frames: int, output: Path):
    """Yields `frames` images of a camera, without end where that is 0; the latest copy alone is kept."""
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError:
        raise DetectError("camera: needs OpenCV, which is missing; install python3-opencv") from None
    source = cv2.VideoCapture(int(camera) if camera.isdigit() else camera)
    try:
        for number in range(1, frames + 1) if frames else itertools.count(1):
            has_frame, frame = source.read() if source.isOpened() else (False, None)
            if not has_frame:
                raise DetectError(f"camera {camera}: no image after {number - 1} frames; is it connected?")
            rgb = np.ascontiguousarray(frame[:, :, ::-1])  # OpenCV's channels are blue, green, red
            yield f"frame {number}", Image.fromarray(rgb), output / "camera.png"
    finally:
        source.release()


def run(options: argparse.Namespace) -> None:
    """Detects, draws and prints; what concerns the whole goes to standard error."""
    detector, skipped = Detector(options.model, options.labels, options.threads), []
    times, count, total = collections.deque(maxlen=TIMES_KEPT), 0, 0
    fit = options.fit or detector.fit or "stretch"
    threshold = next(x for x in (options.threshold, detector.threshold, 0.3) if x is not None)
    print(f"{detector.runtime}; {fit}; scores from {threshold:.2f}", file=sys.stderr)
    if options.input:
        images = images_from(options.input, options.output, skipped)
    else:
        images = images_from_camera(options.camera, options.frames, options.output)
    try:
        for name, image, path in images:
            found, elapsed = detector(image, fit, threshold)
            save(draw(image, found), path)
            told = {"image": name, "width": image.width, "height": image.height, "detections": found}
            lines = [json.dumps(dict(told, inference_ms=round(elapsed, 3)))]
            if not options.json:
                form = "{0}: {label} {score:.2f}, y {1:.0f} to {3:.0f}, x {2:.0f} to {4:.0f}"
                lines = [form.format(name, *entry["box"], **entry) for entry in found]
            print("".join(line + "\n" for line in lines), end="", flush=True)
            times.append(elapsed)
            count, total = count + 1, total + len(found)
    except KeyboardInterrupt:  # the way to end a camera
        if options.input:
            raise DetectError("interrupted; the copies made so far are whole") from None
    if times:
        last = f"of the last {len(times)}" if count > len(times) else "median"
        summary = f"{count} images, {total} detections; inference {np.median(times):.2f} ms ({last})"
        print(f"{summary}; copies in {options.output}", file=sys.stderr)
    if skipped:
        raise DetectError(f"{len(skipped)} images could not be read: {', '.join(skipped)}")


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description="Finds objects in images with a TFLite detector.")
    parser.add_argument("--model", required=True, type=Path, help="the .tflite file, compiled or not")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help="an image or a folder of images")
    source.add_argument("--camera", help="number or path of a camera: 0 or /dev/video1")
    parser.add_argument("--output", type=Path, default=Path("detections"), help="folder for drawn copies")
    parser.add_argument("--labels", default="", help="a text, one label per line, instead of the model's")
    parser.add_argument("--fit", choices=("stretch", "letterbox"), help="default: as in training")
    parser.add_argument("--threshold", type=float, help="lowest score; default: the model's")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; more than 1 may lose a class")
    parser.add_argument("--frames", type=int, default=0, help="of the camera; 0: until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="one JSON object per image")
    options = parser.parse_args()
    is_right = 0 <= (options.threshold or 0) <= 1 and 1 <= options.threads <= MAX_THREADS
    if not is_right or options.frames < 0:
        parser.error(f"expected --threshold in 0..1, --threads in 1..{MAX_THREADS}, --frames of at least 0")
    run(options)


if __name__ == "__main__":
    try:
        main()
    except (DetectError, BrokenPipeError) as error:
        sys.exit(" ".join(["error:", *str(error).split()]))
