"""
From files of images to the labels to look at
=============================================

A folder of images with labels, one of the files broken and three labels in ten wrong: features
without any label, probabilities that the labels are right, and a picture of those that are not.
Needs ``pip install "skclean[neural,report]"``.
"""

# %%
# A folder, as it might be downloaded. One file is no image.

import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.pipeline import Pipeline

from skclean import NeuralRetrainer, SSLFeaturizer, TransitionCleaner
from skclean.datasets import load_noisy_digits
from skclean.inspection import write_report

digits = load_noisy_digits(noise_rate=0.3, random_state=0)
folder = Path(tempfile.mkdtemp())
files = [folder / f"{i:04}.png" for i in range(1797)]
for path, image in zip(files, digits.images):
    Image.fromarray((image * 15).astype(np.uint8)).save(path)
paths, test_paths = files[:1000], files[1000:]
paths[-1].write_text("404 not found")
names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
y_noisy, y_true = names[digits.target_noisy[:1000]], names[digits.target[:1000]]
y_test = names[digits.target[1000:]]

# %%
# Features that no label has touched, then the cleaner. ``"kmeans"`` needs no GPU; ``"simclr"``
# and a pretrained network are there where one is. The broken file stays in its place as a row of
# status unknown, so that rows keep their order.

pipe = Pipeline(
    [("features", SSLFeaturizer("kmeans", on_error="skip")), ("clean", TransitionCleaner())]
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It tells which files could not be read.
    purified = pipe.fit_transform(paths, y_noisy)
print(purified)
print("not readable:", [paths[row].name for row in np.flatnonzero(~purified.readable)])
known = purified.known
print(f"right: {np.mean(y_noisy == y_true):.3f} of the given labels,", end=" ")
print(f"{np.mean(purified.labels[known] == y_true[known]):.3f} of the purified ones")

# %%
# The least credible labels, and what they become.

order = np.argsort(np.where(purified.readable, purified.clean_proba, np.inf))
fig, axes = plt.subplots(3, 6, figsize=(9, 5), layout="constrained")
for ax, row in zip(axes.flat, order):
    ax.imshow(Image.open(paths[row]), cmap="gray_r")
    ax.set_title(f"{y_noisy[row]} → {purified.labels[row]}", fontsize=9)
    ax.axis("off")

# %%
# To go through them by hand: a page for the browser, in which suggestions are accepted or rejected,
# or a table.

names_of_files = [path.name for path in paths]
report = write_report(purified, folder / "report.html", ids=names_of_files, cleaner=pipe)
print(f"{report.name}: {report.stat().st_size / 1e6:.1f} MB")

frame = purified.to_frame()
frame.insert(0, "file", names_of_files)
print(frame.sort_values("clean_proba").head(6).round(3).to_string(index=False))

# %%
# The container goes on to a network, which trains on the images: they travelled along as
# ``inputs``. Rows without a label help as unlabelled ones. The rest of the digits tests it.

retrainer = NeuralRetrainer(epochs=8).fit(purified)
print(f"test accuracy: {retrainer.score(test_paths, y_test):.3f}")
