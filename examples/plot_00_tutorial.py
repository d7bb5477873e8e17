"""
Ten minutes with skclean
========================

From labels of which some are wrong to labels that can be trained on: is cleaning worth it, what is
wrong, does training gain by it, and how is the next batch cleaned? It runs in seconds on a CPU and
needs matplotlib besides the plain install.
"""

# %%
# The data
# --------
# scikit-learn's digits: 1797 images of 8 × 8 pixels. Three labels in ten are made wrong, as
# careless people do it: some digits are taken for the next one. In your own data the true labels
# are not known; here they are, so that every step can be checked. The first 1000 images are
# today's batch, the next 400 come next week, the rest is for testing.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

import skclean
from skclean import LabelledSamples, PurifiedClassifier, TransitionCleaner
from skclean.datasets import load_noisy_digits

digits = load_noisy_digits(noise="pair", noise_rate=0.3, random_state=0)
today, next_week, test = np.split(np.arange(1797), [1000, 1400])
X, y_noisy, y_true = digits.data / 16, digits.target_noisy, digits.target
print(f"labels that are right: {np.mean(y_noisy[today] == y_true[today]):.3f}")

# %%
# `X` is one row of numbers for each sample. Pixels will do for digits. For photographs and texts
# take embeddings: those of an encoder that you have, or of :class:`~skclean.SSLFeaturizer`.
#
# Audit: is it worth cleaning?
# ----------------------------
# A cleaner is fitted to features and given labels, like a classifier. ``audit`` sums up what it
# found. It has seen no true label.

cleaner = TransitionCleaner().fit(X[today], y_noisy[today])
print(cleaner.audit())

# %%
# It also found the pattern: row 3 of the transition matrix says what the images of a 3 were
# called.

print(cleaner.transition_matrix_[3].round(2))

# %%
# Purify
# ------
# ``transform`` gives a :class:`~skclean.LabelledSamples`: features, and with them all that is
# known of their labels. A label that is believed is kept, one that is not is replaced or, where
# the right one is not clear, of status unknown.

purified = cleaner.transform(X[today])
print(purified)
known = purified.known
print(f"rows with a label: {known.mean():.3f}")
print(f"of these right:    {np.mean(purified.labels[known] == y_true[today][known]):.3f}")

# %%
# Look
# ----
# ``clean_proba`` is the probability that the given label is right: labels where it is small are
# those to look at. Ten of them, drawn at random:

suspects = np.flatnonzero(purified.clean_proba < 0.5)
suspects = np.random.default_rng(0).choice(suspects, 10, replace=False)
fig, axes = plt.subplots(2, 5, figsize=(8, 4), layout="constrained")
for ax, row in zip(axes.flat, suspects):
    ax.imshow(digits.images[today][row], cmap="gray_r")
    ax.set_title(f"given {y_noisy[today][row]}, purified {purified.labels[row]}", fontsize=9)
    ax.axis("off")

# %%
# Here the truth is known, and shows how well ``clean_proba`` tells wrong labels from right ones.

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
right = y_noisy[today] == y_true[today]
bins = np.linspace(0, 1, 21)
ax.hist(
    [purified.clean_proba[right], purified.clean_proba[~right]],
    bins,
    stacked=True,
    label=["given label right", "given label wrong"],
)
ax.set(xlabel="clean_proba", ylabel="rows", yscale="log")
_ = ax.legend()

# %%
# Retrain
# -------
# In a Pipeline the labels travel with the features, and :class:`~skclean.PurifiedClassifier`
# trains any classifier on them. `y` stays what it was; ``predict`` and ``score`` need nothing
# new.

classifier = LogisticRegression(max_iter=1000)
pipe = Pipeline([("clean", TransitionCleaner()), ("classify", PurifiedClassifier(classifier))])
pipe.fit(X[today], y_noisy[today])

noisy = LogisticRegression(max_iter=1000).fit(X[today], y_noisy[today])
clean = LogisticRegression(max_iter=1000).fit(X[today], y_true[today])
for name, model in [("given", noisy), ("purified", pipe), ("true", clean)]:
    print(f"trained on the {name:8} labels: {model.score(X[test], y_true[test]):.3f} right")

# %%
# Where there are images and time, a network trained on purified labels and on the images whose
# label nobody knows does better still: :class:`~skclean.NeuralRetrainer`.
#
# Next week's batch
# -----------------
# It comes with labels of its own, of which some are wrong. The fitted cleaner judges them by what
# it has learned: put both into a container. Without labels, ``cleaner.transform(X_new)`` predicts
# them.

batch = LabelledSamples(X[next_week], y_noisy[next_week])
cleaned = cleaner.transform(batch)
print(f"given: {np.mean(y_noisy[next_week] == y_true[next_week]):.3f} right", end=", ")
print(f"purified: {np.mean(cleaned.labels == y_true[next_week]):.3f} right")

# %%
# Save
# ----
# The file holds plain values and arrays, no pickle. Loaded elsewhere, the cleaner purifies as it
# did here.

path = Path(tempfile.mkdtemp()) / "cleaner.skclean"
skclean.save(cleaner, path)
again = skclean.load(path).transform(batch)
print("the same labels:", np.array_equal(again.labels, cleaned.labels))

# %%
# Where to go: :doc:`which cleaner </user_guide/choosing>`, :doc:`trusted rows
# </user_guide/trusted>`, :doc:`a report for the browser </user_guide/report>`, :doc:`the command
# line </user_guide/cli>`.
