"""
Patterns of noise, and how they are found
=========================================

Labels go wrong in patterns: any class for any other, a class for its neighbour, or the rows that
are hard to tell. The transition matrix says how often a true class (row) was given each label
(column).
Here it is estimated from features and noisy labels alone.
"""

# %%
# Three makers of noise, which return the noisy labels and the matrix that they were drawn by;
# that of noise which depends on the rows is an average.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skclean import GMMCleaner, TransitionCleaner
from skclean.datasets import (
    make_instance_dependent_noise,
    make_pair_noise,
    make_symmetric_noise,
)

X, y = load_digits(return_X_y=True)
patterns = {
    "symmetric, 40 %": make_symmetric_noise(y, 0.4, random_state=0),
    "pair, 30 %": make_pair_noise(y, 0.3, random_state=0),
    "instance-dependent, 30 %": make_instance_dependent_noise(X, y, 0.3, random_state=0),
}

# %%
# :class:`~skclean.TransitionCleaner` estimates the matrix with the labels.
# :class:`~skclean.GMMCleaner`, the rule of the papers, sees only whether a loss is large, and its
# labels are those that it keeps.

fig, axes = plt.subplots(3, 2, figsize=(6, 8.5), sharex=True, sharey=True, layout="constrained")
print(f"{'':26} given  TransitionCleaner  GMMCleaner (rows kept)")
for (name, (y_noisy, _)), row in zip(patterns.items(), axes):
    true = np.array([np.bincount(y_noisy[y == k], minlength=10) for k in range(10)])
    true = true / true.sum(axis=1, keepdims=True)
    cleaner = TransitionCleaner().fit(X, y_noisy)
    kept = GMMCleaner().fit_transform(X, y_noisy)
    for ax, matrix, title in zip(row, (true, cleaner.transition_matrix_), ("true", "estimated")):
        image = ax.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
        ax.set_title(f"{name}: {title}", fontsize=9)
    print(
        f"{name:26} {np.mean(y_noisy == y):.3f}  {np.mean(cleaner.transduction_ == y):17.3f}  "
        f"{np.mean((kept.labels == y)[kept.known]):10.3f} ({kept.known.mean():.2f})"
    )
for ax in axes[-1]:
    ax.set_xlabel("given label")
for ax in axes[:, 0]:
    ax.set_ylabel("true label")
_ = fig.colorbar(image, ax=axes, label="share of the true class", shrink=0.6)
