"""
What a few verified labels are worth
====================================

Somebody looks at some of the rows. How many are needed, and is it better to train on them alone?
"""

# %%
# Nine in ten labels are redrawn at random. `verified` is a boolean mask of the rows that were
# looked at, with the right label in `y`. The same rows serve a classifier that knows nothing
# else.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from skclean import LeastSquaresMetaPurifier
from skclean.datasets import load_noisy_digits

digits = load_noisy_digits(noise_rate=0.9, random_state=0)
X, y_true, y_noisy = digits.data[:1200] / 16, digits.target[:1200], digits.target_noisy[:1200]
rng = np.random.default_rng(0)
order = rng.permutation(len(X))
first = {label: order[y_true[order] == label] for label in range(10)}
per_class = [0, 1, 3, 10, 30]

alone, purified = [], []
for n in per_class:
    verified = np.zeros(len(X), dtype=bool)
    verified[np.concatenate([rows[:n] for rows in first.values()])] = True
    y = np.where(verified, y_true, y_noisy)
    purifier = LeastSquaresMetaPurifier().fit(X, y, trusted=verified)
    purified.append(np.mean((purifier.transduction_ == y_true)[~verified]))
    model = LogisticRegression().fit(X[verified], y[verified]) if n else None
    alone.append(np.mean(model.predict(X[~verified]) == y_true[~verified]) if n else np.nan)

# %%
# A verified label enters the likelihood past the noise, and counts more in the least squares than
# a noisy one. ``trusted_weight_`` says how much; it is chosen by the likelihood of all labels.

print(f"weight of a verified row in the last fit: {purifier.trusted_weight_:.0f}")
print("verified, a class   alone   with all labels")
for row in zip(per_class, alone, purified):
    print("{:17} {:7.3f} {:17.3f}".format(*row))

# %%
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
positions = np.arange(len(per_class))
given = np.mean(y_noisy == y_true)
ax.plot(positions, purified, "o-", label="LeastSquaresMetaPurifier, all labels")
ax.plot(positions, alone, "s-", label="logistic regression, verified rows alone")
ax.axhline(given, color="gray", linestyle=":", label="given labels")
ax.set_xticks(positions, per_class)
ax.set(xlabel="verified labels of each class", ylabel="right labels, of the rows not verified")
_ = ax.legend()
