"""
Purify the labels of digits
===========================

Four labels in ten of scikit-learn's digits are drawn at random. One pipeline leads from the images
to a network trained on what can be believed: features without labels, a cleaner, a relabeler, a
retrainer. A threshold is then cross-validated on the noisy labels alone.
"""

# %%
# The data: 1797 images, of which 40 % have a label drawn from all ten classes.

import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

from skclean import (
    CredibilityRelabeler,
    GMMCleaner,
    NeuralRetrainer,
    PurifiedClassifier,
    SSLFeaturizer,
    TransitionCleaner,
)
from skclean.datasets import load_noisy_digits

start = time.perf_counter()
digits = load_noisy_digits(noise_rate=0.4, random_state=0)
X_train, X_test, y_noisy, _, y_train, y_test = train_test_split(
    digits.images, digits.target_noisy, digits.target, test_size=0.3, random_state=0
)

# %%
# REED's pipeline. The features come from the images alone, so that no wrong label has touched them;
# the loss tells which labels are wrong, a second mixture which predictions are credible; MixMatch
# trains a small convolutional network on the labels that are left and on the images of all rows.

pipe = Pipeline(
    [
        ("features", SSLFeaturizer("kmeans")),
        ("clean", GMMCleaner()),
        ("relabel", CredibilityRelabeler()),
        ("retrain", NeuralRetrainer()),
    ]
).fit(X_train, y_noisy)

# %%
# What each stage gains: the share of right labels among those that it keeps, how many rows these
# are, and the accuracy on test images of a classifier trained on them.


def report(name, right, rows, accuracy):
    """One line of the table."""
    print(f"{name:42} {right:12.3f} {rows:8.3f} {accuracy:15.3f}")


def line(name, samples, model, X, X_test):
    """The line of a stage after which `model` is trained on the rows whose label is known."""
    known, labels = samples.known, samples.labels_or_missing()
    accuracy = model.fit(X[known], labels[known]).score(X_test, y_test)
    report(name, np.mean(labels[known] == y_train[known]), known.mean(), accuracy)


print(f"{'':42} labels right     rows   test accuracy")
classifier = LogisticRegression(max_iter=1000)
pixels, pixels_test = X_train.reshape(-1, 64) / 16, X_test.reshape(-1, 64) / 16
baseline = classifier.fit(pixels, y_noisy).score(pixels_test, y_test)
report("given labels, pixels", np.mean(y_noisy == y_train), 1, baseline)

embedded, embedded_test = (pipe[:1].transform(images).features for images in (X_train, X_test))
baseline = classifier.fit(embedded, y_noisy).score(embedded_test, y_test)
report("given labels, SSLFeaturizer", np.mean(y_noisy == y_train), 1, baseline)
line("+ GMMCleaner", pipe[:2].transform(X_train), classifier, embedded, embedded_test)
purified = pipe[:3].transform(X_train)
line("+ CredibilityRelabeler", purified, classifier, embedded, embedded_test)
known = purified.known
right = np.mean(purified.labels[known] == y_train[known])
report("+ NeuralRetrainer", right, known.mean(), pipe.score(X_test, y_test))

# %%
# The library's own cleaner does the work of both by one likelihood. Is cleaning worth it? Its
# estimate needs no true label.

cleaner = TransitionCleaner().fit(embedded, y_noisy)
print(f"\nTransitionCleaner: {np.mean(cleaner.transduction_ == y_train):.3f} of the labels right")
print(cleaner.audit())

# %%
# The threshold of the first mixture, cross-validated. Scoring uses the noisy labels of the held-out
# rows: noise lowers every score alike, so their order still tells which threshold is best.

reed = Pipeline([*pipe.steps[1:3], ("classify", PurifiedClassifier(classifier))])
search = GridSearchCV(reed, {"clean__threshold": [0.3, 0.5, 0.7]}, cv=3).fit(embedded, y_noisy)
print(f"\nbest threshold {search.best_params_['clean__threshold']}", end=", ")
print(f"test accuracy {search.score(embedded_test, y_test):.3f}")
print(f"{time.perf_counter() - start:.0f} seconds in all")
