"""
Look at noisy labels
====================

Each display of :mod:`skclean.inspection` draws one thing that a cleaner found out. As in
scikit-learn, ``from_estimator`` takes a fitted cleaner, or a Pipeline that contains one, and
``from_predictions`` takes arrays or the container of purified labels.
"""

# %%
# Four labels in ten of scikit-learn's digits are drawn at random. `GMMCleaner` tells which are
# wrong, `CredibilityRelabeler` gives new ones where they are credible.

import matplotlib.pyplot as plt
from sklearn.pipeline import Pipeline

from skclean import CredibilityRelabeler, GMMCleaner, NeuralRetrainer
from skclean.datasets import load_noisy_digits
from skclean.inspection import (
    ClassBalanceDisplay,
    CredibilityDisplay,
    EmbeddingDisplay,
    LabelFlowDisplay,
    LossMixtureDisplay,
    RetrainingCurveDisplay,
)

digits = load_noisy_digits(noise_rate=0.4, random_state=0)
X, y_noisy = digits.data / 16, digits.target_noisy
pipe = Pipeline([("clean", GMMCleaner()), ("relabel", CredibilityRelabeler())])
samples = pipe.fit_transform(X, y_noisy)

# %%
# A container shows itself in a notebook.

samples  # noqa: B018

# %%
# Can the cleaner tell wrong labels from right ones?
# ---------------------------------------------------
#
# It can where the losses of the given labels fall into two groups. Left of the dotted line a label
# is kept. The true labels are known here, and show on the right what the cleaner could not see.

_, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
LossMixtureDisplay.from_estimator(pipe, ax=left)
LossMixtureDisplay.from_estimator(pipe, y_true=digits.target, ax=right)
plt.show()

# %%
# Which predicted labels are believed?
# ------------------------------------
#
# A row whose label was judged wrong takes the predicted one right of the line; left of it the label
# is withheld.

CredibilityDisplay.from_estimator(pipe)
plt.show()

# %%
# Which classes gave labels to which?
# -----------------------------------
#
# Labels that moved to another class are coloured; those that stayed or were withheld are grey. With
# many classes, or ``kind="flows"``, the largest flows are listed instead.

LabelFlowDisplay.from_estimator(pipe)
LabelFlowDisplay.from_predictions(y_noisy, samples.labels_or_missing(), kind="flows", n_flows=10)
plt.show()

# %%
# What becomes of the balance of the classes?
# -------------------------------------------
#
# Labels of hard classes are withheld more often than those of easy ones.

ClassBalanceDisplay.from_estimator(pipe)
plt.show()

# %%
# Where in the feature space do they lie?
# ---------------------------------------
#
# Principal components by default; a projection by t-SNE or UMAP is passed as ``projection``. The
# cleaner does not keep the features, so that the rows are passed again.

EmbeddingDisplay.from_estimator(pipe, X)
EmbeddingDisplay.from_estimator(pipe, X, by="label")
plt.show()

# %%
# Is the network trained long enough?
# -----------------------------------
#
# The accuracy is that on purified labels which were held out of the training.

retrainer = NeuralRetrainer("mixmatch", epochs=15, validation_fraction=0.1, random_state=0)
retrainer.fit(samples)
RetrainingCurveDisplay.from_estimator(retrainer)
plt.show()
