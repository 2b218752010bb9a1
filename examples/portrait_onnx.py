"""From a flash photograph to a portrait, with a model that `deepflash export` wrote and no deepflash.

    python portrait_onnx.py MODEL.onnx PHOTO.jpg PORTRAIT.png [STRENGTH]

Needs onnxruntime, numpy and opencv-python. docs/phone-app.md says why each step is as it is.
"""

import math
import sys

import cv2
import numpy as np
import onnxruntime


def portrait(session, photo, strength=1.0):
    """Return the portrait of an upright sRGB photograph; both (H, W, 3) uint8."""
    known = session.get_modelmeta().custom_metadata_map
    height, width = photo.shape[:2]
    scale = min(int(known["size"]) / min(height, width), 4 * int(known["size"]) / max(height, width))
    small_size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(photo, small_size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR) / np.float32(255)
    if known["encoding"] == "C":
        sigma_s = max(1.0, float(known["sigma_s_share"]) * min(small_size))
        answer = ask(session, smoothed(small, sigma_s, float(known["sigma_r"])), int(known["multiple_of"]))
    else:
        answer = ask(session, small, int(known["multiple_of"]))
    difference = answer - small if known["encoding"] == "A" else 1 - 2 * answer  # equation 2 of the paper: x - 2y + 1
    return changed(photo, small, difference, strength)


def smoothed(small, sigma_s, sigma_r):
    """Approximate the joint-colour bilateral filter: OpenCV adds up the three distances, which are alike in skin."""
    side = 2 * math.ceil(2.5 * sigma_s) + 1
    return cv2.bilateralFilter(small, side, math.sqrt(3) * sigma_r, sigma_s, borderType=cv2.BORDER_REPLICATE)


def ask(session, prepared, multiple):
    """Ask the network, whose pictures have sides that are multiples of 32: the last row and column are repeated."""
    height, width = prepared.shape[:2]
    padded = cv2.copyMakeBorder(prepared, 0, -height % multiple, 0, -width % multiple, cv2.BORDER_REPLICATE)
    (answer,) = session.run(["answer"], {"prepared": padded.transpose(2, 0, 1)[None]})
    return np.ascontiguousarray(answer[0].transpose(1, 2, 0)[:height, :width])


def changed(photo, small, difference, strength):
    """Bring a difference up to full size along the photograph's edges, and add it (guided filter, He and Sun 2015)."""
    luma = np.float32([[0.299, 0.587, 0.114]])
    guide = cv2.transform(small, luma)[..., None]
    mean = box(guide)
    slope = box((box(guide * difference) - mean * box(difference)) / (box(guide * guide) - mean**2 + 1e-3))
    lines = np.concatenate([slope, difference - slope * guide], axis=2)
    lines = cv2.resize(lines, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    lines = cv2.resize(lines, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    before = photo / np.float32(255)
    added = lines[..., :3] * cv2.transform(before, luma)[..., None] + lines[..., 3:]
    added = np.clip(added, -0.95 * before, 0.8 * (1 - before))  # detail is not to become flat black or white
    return np.rint(255 * (before + strength * added)).astype(np.uint8)


def box(planes):
    """Average over 5 x 5 pixels."""
    return cv2.blur(planes, (5, 5), borderType=cv2.BORDER_REFLECT).reshape(planes.shape)


if __name__ == "__main__":
    model, source, target = sys.argv[1:4]
    picture = cv2.cvtColor(cv2.imread(source), cv2.COLOR_BGR2RGB)  # upright: OpenCV heeds EXIF
    result = portrait(onnxruntime.InferenceSession(model), picture, *map(float, sys.argv[4:]))
    cv2.imwrite(target, cv2.cvtColor(result, cv2.COLOR_RGB2BGR))
