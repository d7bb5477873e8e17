"""Images per second of the augmentation, beside kornia's and torchvision's.

    python -m benchmarks.bench_augment [--repeats 9] [--threads 1]

SimCLR's pipeline (resized crop, flip, colour jitter, grayscale; blur as well at 224 pixels) on
float32 images that lie on the device already:

- skclean: `Augmentation`, parameters for each row, one call for the batch;
- kornia: the same transforms as an `AugmentationSequential`, parameters for each row, with its
  ColorJitter (torchvision's definition, as ours) and with its older ColorJiggle; its crop by
  "slice", the default, and by "resample";
- torchvision: transforms.v2 image by image, as one call for a batch would give all rows the same
  parameters.

All of a size run in turn within each repeat, so that a busy machine is busy for all of them.
kornia is only needed here.
"""

import argparse
import time
import warnings

import numpy as np
import torch

from benchmarks import _results
from skclean.embeddings import Augmentation
from skclean.embeddings._torchvision import import_torchvision

SIZES = {"512 x 3 x 32 x 32": (512, 32), "64 x 3 x 224 x 224": (64, 224)}


def skclean_calls(size, generator):
    """Our pipeline for images of a size."""
    large = size >= 64
    settings = {"scale": (0.08, 1.0), "jitter": 1.0, "blur": 0.5} if large else {}
    augmentation = Augmentation(**settings)
    return {"skclean": lambda images: augmentation(images, generator)}, augmentation


def kernel_size(size):
    """Taps of the blur."""
    return 2 * max(1, size // 20) + 1


def kornia_calls(size, ours):
    """kornia's pipelines with the same parameters; none where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import kornia.augmentation as K
    except ImportError:
        return {}
    jitter = [0.8 * ours.jitter] * 3 + [0.2 * ours.jitter]
    blur = [K.RandomGaussianBlur((kernel_size(size),) * 2, ours.sigma, p=ours.blur)]

    def pipeline(crop, colours):
        return K.AugmentationSequential(
            K.RandomResizedCrop((size, size), ours.scale, ours.ratio, cropping_mode=crop),
            K.RandomHorizontalFlip(p=ours.flip),
            colours(*jitter, p=ours.jitter_proba),
            K.RandomGrayscale(p=ours.grayscale),
            *(blur if ours.blur else []),
        )

    return {
        f"kornia, {crop}, {colours.__name__}": pipeline(crop, colours)
        for crop in ("slice", "resample")
        for colours in (K.ColorJitter, K.ColorJiggle)
    }


def torchvision_calls(size, ours):
    """torchvision's pipeline, image by image."""
    v2 = import_torchvision("torchvision.transforms.v2")
    jitter = [0.8 * ours.jitter] * 3 + [0.2 * ours.jitter]
    blur = v2.RandomApply([v2.GaussianBlur(kernel_size(size), ours.sigma)], ours.blur)
    steps = [
        v2.RandomResizedCrop(size, ours.scale, ours.ratio, antialias=False),
        v2.RandomHorizontalFlip(ours.flip),
        v2.RandomApply([v2.ColorJitter(*jitter)], ours.jitter_proba),
        v2.RandomGrayscale(ours.grayscale),
    ]
    pipeline = v2.Compose(steps + [blur] if ours.blur else steps)
    return {"torchvision": lambda images: torch.stack([pipeline(image) for image in images])}


def timed(calls, images, repeats):
    """Seconds of each call, in turn, after two runs to warm up."""

    def wait():
        if images.is_cuda:
            torch.cuda.synchronize()

    seconds = {name: [] for name in calls}
    for repeat in range(-2, repeats):
        for name, call in calls.items():
            wait()
            start = time.perf_counter()
            call(images)
            wait()
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def measure(device, repeats):
    """Records of all pipelines and sizes on one device."""
    generator = torch.Generator(device).manual_seed(0)
    for what, (n, size) in SIZES.items():
        images = torch.rand(n, 3, size, size, device=device, generator=generator)
        calls, ours = skclean_calls(size, generator)
        calls |= kornia_calls(size, ours) | torchvision_calls(size, ours)
        seconds = timed(calls, images, repeats)
        first = np.median(seconds["skclean"])
        for name, taken in seconds.items():
            yield {
                "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
                "images": what,
                "who": name,
                "images/s": n / np.median(taken),
                "images/s, each repeat": [n / s for s in taken],
                "skclean is faster by": np.median(taken) / first,
            }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    records = []
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        for record in measure(device, args.repeats):
            records.append(record)
            print(
                f"{record['device']:>12}  {record['images']:>18}  {record['who']:<30}"
                f"{record['images/s']:>12,.0f} images/s  x {record['skclean is faster by']:.2f}"
            )
    peers = {p: _results._version(p) for p in ("kornia", "torchvision")}
    print(_results.write("augment", records, **vars(args), peers=peers))


if __name__ == "__main__":
    main()
