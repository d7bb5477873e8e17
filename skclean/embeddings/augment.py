"""Augmentation of image batches on their device, each row with random parameters of its own."""

import math
from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skclean._validation import Interval, StrOptions
from skclean.embeddings import transforms
from skclean.embeddings.transforms import ATTEMPTS, integers, per_row

#: Images are worked on in pieces of about so many bytes on a CPU, for its caches.
_CHUNK_BYTES = 1 << 22


class Augmentation(BaseEstimator):
    """Random crop, flip, colours, blur and inversion of images, on the device they lie on.

    Every row gets parameters of its own. All of it is batched tensor code without a
    synchronisation with the host, and all randomness comes from the generator that is passed. The
    transforms run in the order of the parameters below; colour jitter changes brightness, contrast,
    saturation and hue, always in this order.

    Crops are resized bilinearly without antialiasing. The defaults are SimCLR's
    at the size of CIFAR [1]_ (B.9); ``Augmentation(scale=(0.08, 1), jitter=1.0, blur=0.5)`` are
    those for larger images (A), and ``Augmentation(crop="padded", jitter=0, grayscale=0)`` is what
    classifiers are commonly trained with.

    Parameters
    ----------
    crop : {"resized", "padded"} or None, default="resized"
        "resized": a box of random area and aspect, resized. "padded": a box of the full size out of
        the image that is continued by `padding` reflected pixels. None: the whole image, resized
        where `size` asks for it.
    size : int or None, default=None
        Height and width of what comes out; None for those of the images.
    scale : (float, float), default=(0.2, 1.0)
        Share of the area that a resized crop keeps, in (0, 1].
    ratio : (float, float), default=(3 / 4, 4 / 3)
        Aspect, width by height, of a resized crop, positive.
    padding : int, default=4
        Pixels by which a padded crop may leave the image.
    flip : float, default=0.5
        Probability of turning left to right, as are all below.
    jitter : float, default=0.5
        Strength s of the colour jitter: factors of brightness, contrast and saturation in
        [1 - 0.8 s, 1 + 0.8 s], not below 0, and turns of the hue in [-0.2 s, 0.2 s]. In [0, 2.5];
        0 for none.
    jitter_proba : float, default=0.8
    grayscale : float, default=0.2
    blur : float, default=0.0
        The kernel reaches a twentieth of the image's smaller side, at least one pixel, both ways.
    sigma : (float, float), default=(0.1, 2.0)
        Bounds of the standard deviation of the blur, in pixels, positive.
    solarize : float, default=0.0
        Probability that values from 0.5 on are inverted.

    Raises
    ------
    ValueError
        On a call, if parameters or images are not as described.

    References
    ----------
    .. [1] T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A simple framework for contrastive
       learning of visual representations", ICML 2020, appendices A and B.9.

    Examples
    --------
    >>> import torch
    >>> from skclean.embeddings import Augmentation
    >>> images = torch.rand(8, 3, 32, 32)
    >>> view = Augmentation()(images, torch.Generator().manual_seed(0))
    >>> view.shape
    torch.Size([8, 3, 32, 32])
    """

    _parameter_constraints: dict = {
        "crop": [StrOptions({"resized", "padded"}), None],
        "size": [Interval(Integral, 1, None, closed="left"), None],
        "scale": [tuple, list],
        "ratio": [tuple, list],
        "padding": [Interval(Integral, 0, None, closed="left")],
        "flip": [Interval(Real, 0, 1, closed="both")],
        "jitter": [Interval(Real, 0, 2.5, closed="both")],
        "jitter_proba": [Interval(Real, 0, 1, closed="both")],
        "grayscale": [Interval(Real, 0, 1, closed="both")],
        "blur": [Interval(Real, 0, 1, closed="both")],
        "sigma": [tuple, list],
        "solarize": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        crop="resized",
        *,
        size=None,
        scale=(0.2, 1.0),
        ratio=(3 / 4, 4 / 3),
        padding=4,
        flip=0.5,
        jitter=0.5,
        jitter_proba=0.8,
        grayscale=0.2,
        blur=0.0,
        sigma=(0.1, 2.0),
        solarize=0.0,
    ):
        self.crop = crop
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self.padding = padding
        self.flip = flip
        self.jitter = jitter
        self.jitter_proba = jitter_proba
        self.grayscale = grayscale
        self.blur = blur
        self.sigma = sigma
        self.solarize = solarize

    @torch.no_grad()
    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A random version of each image.

        Parameters
        ----------
        images : Tensor of shape (b, 3, H, W)
            Floating, in [0, 1]. float16 and bfloat16 are computed with in float32.
        generator : torch.Generator
            On the device of the images. It advances by a number of draws that depends on b alone.

        Returns
        -------
        Tensor of shape (b, 3, size, size)
            Of the dtype of the images, in [0, 1].
        """
        self._check(images, generator)
        n, _, height, width = images.shape
        drawn = self.draw(n, height, width, generator)
        if images.device.type != "cpu" or not n:
            return self.apply(images, drawn)
        rows = max(1, _CHUNK_BYTES // (images[0].numel() * images.element_size()))
        split = {name: values.split(rows) for name, values in drawn.items()}
        pieces = enumerate(images.split(rows))
        return torch.cat(
            [self.apply(piece, {name: split[name][i] for name in split}) for i, piece in pieces]
        )

    def draw(
        self, n: int, height: int, width: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Parameters for n images of the given height and width.

        Returns
        -------
        dict of str to Tensor of shape (n,)
            top, left, height and width of the box; mirrored; factors of brightness, contrast and
            saturation; hue; gray; sigma (0: no blur); threshold (2: not solarized).
        """
        draws = torch.rand(
            2 * ATTEMPTS + 12, n, generator=generator, device=generator.device, dtype=torch.float32
        )
        boxes, draws = draws[:-10], draws[-10:]
        if self.crop == "resized":
            top, left, heights, widths = transforms.draw_boxes(
                boxes, height, width, self.scale, self.ratio
            )
        else:
            size = (height, width) if self.size is None else (self.size, self.size)
            heights = torch.full_like(boxes[0], height)
            widths = torch.full_like(boxes[0], width)
            top, left = torch.zeros_like(heights), torch.zeros_like(widths)
            if self.crop == "padded":
                top = integers(boxes[-2], height + 2 * self.padding - size[0]) - self.padding
                left = integers(boxes[-1], width + 2 * self.padding - size[1]) - self.padding
        untouched = draws[1] >= self.jitter_proba
        low = max(0.0, 1 - 0.8 * self.jitter)
        factors = low + (1 + 0.8 * self.jitter - low) * draws[2:5]
        factors = factors.masked_fill(untouched, 1)
        sigma = self.sigma[0] + (self.sigma[1] - self.sigma[0]) * draws[8]
        return {
            "top": top,
            "left": left,
            "height": heights,
            "width": widths,
            "mirrored": draws[0] < self.flip,
            "brightness": factors[0],
            "contrast": factors[1],
            "saturation": factors[2],
            "hue": (0.2 * self.jitter * (2 * draws[5] - 1)).masked_fill(untouched, 0),
            "gray": draws[6] < self.grayscale,
            "sigma": sigma.masked_fill(draws[7] >= self.blur, 0),
            "threshold": torch.full_like(sigma, 2).masked_fill(draws[9] < self.solarize, 0.5),
        }

    def apply(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """The transforms with the parameters that `draw` gave; see the call for shapes."""
        dtype = images.dtype
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        images = images.to(exact)
        drawn = {k: v.to(exact) if v.is_floating_point() else v for k, v in drawn.items()}
        height, width = images.shape[2:]
        size = (height, width) if self.size is None else (self.size, self.size)
        corner = drawn["top"], drawn["left"]
        if self.crop == "padded":
            images = transforms.crop_padded(images, *corner, size, drawn["mirrored"])
        elif self.crop == "resized" or size != (height, width):
            box = drawn["height"], drawn["width"]
            images = transforms.crop_resize(images, *corner, *box, size, drawn["mirrored"])
        elif self.flip:
            images = torch.where(per_row(drawn["mirrored"]), images.flip(3), images)
        if self.jitter and self.jitter_proba:
            images = transforms.adjust_brightness(images, drawn["brightness"])
            images = transforms.adjust_contrast(images, drawn["contrast"])
            images = transforms.adjust_saturation(images, drawn["saturation"])
            images = transforms.adjust_hue(images, drawn["hue"])
        if self.grayscale:
            images = torch.where(per_row(drawn["gray"]), transforms.to_gray(images), images)
        if self.blur:
            images = transforms.gaussian_blur(
                images, drawn["sigma"], max(1, min(images.shape[2:]) // 20)
            )
        if self.solarize:
            images = transforms.solarize(images, drawn["threshold"])
        return images.to(dtype)

    def _check(self, images, generator):
        self._validate_params()
        for name, most in (("scale", 1.0), ("ratio", math.inf), ("sigma", math.inf)):
            bounds = getattr(self, name)
            numbers = len(bounds) == 2 and all(isinstance(b, Real) for b in bounds)
            if not numbers or not 0 < bounds[0] <= bounds[1] <= most:
                raise ValueError(
                    f"Augmentation: expected {name}=(low, high) with 0 < low <= high"
                    f"{' <= 1' if most == 1 else ''}, got {bounds!r}; do pass two such numbers"
                )
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"Augmentation: expected floating images of shape (b, 3, H, W), got {images.dtype} "
                f"{tuple(images.shape)}; do scale to [0, 1] and repeat a single channel"
            )
        here, there = images.device, generator.device
        if here.type != there.type or (None not in (here.index, there.index) and here != there):
            raise ValueError(
                f"Augmentation: expected a generator on {here}, got one on {there}; do make it "
                f"with torch.Generator({str(here)!r})"
            )
        smallest = min(images.shape[2:])
        if self.crop == "padded":
            if self.padding >= smallest:
                raise ValueError(
                    f"Augmentation: expected padding below the images' {smallest} pixels, got "
                    f"{self.padding}; do lower it"
                )
            if self.size is not None and self.size > smallest + 2 * self.padding:
                raise ValueError(
                    f"Augmentation: expected size of at most {smallest + 2 * self.padding} for "
                    f"padded crops, got {self.size}; do lower it or pass crop='resized'"
                )
