"""
Purify the labels of digits
===========================

Four labels in ten of scikit-learn's digits are drawn at random. Two pipelines find the wrong ones,
replace them and train a classifier on what they believe; the threshold of one is then
cross-validated on the noisy labels alone.
"""

# %%
# The data: 1797 digits, of which 40 % have a label drawn from all ten classes.

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

from skclean import CredibilityRelabeler, GMMCleaner, PurifiedClassifier, TransitionCleaner
from skclean.datasets import load_noisy_digits

digits = load_noisy_digits(noise_rate=0.4, random_state=0)
X_train, X_test, y_noisy, _, y_train, y_test = train_test_split(
    digits.data / 16, digits.target_noisy, digits.target, test_size=0.3, random_state=0
)
classifier = LogisticRegression(max_iter=1000)
noisy = classifier.fit(X_train, y_noisy).score(X_test, y_test)
print(f"{'':34} labels right   test accuracy")
print(f"{'labels as given':34} {np.mean(y_noisy == y_train):12.3f} {noisy:15.3f}")

# %%
# REED's pipeline: the loss tells which labels are wrong, a second mixture which predictions are
# credible. The library's own cleaner does both by one likelihood. Rows whose label nobody can
# tell (status unknown) are left out of the training.

pipelines = {
    "GMMCleaner, CredibilityRelabeler": [
        ("clean", GMMCleaner()),
        ("relabel", CredibilityRelabeler()),
    ],
    "TransitionCleaner": [("clean", TransitionCleaner())],
}
for name, steps in pipelines.items():
    pipe = Pipeline([*steps, ("classify", PurifiedClassifier(classifier))]).fit(X_train, y_noisy)
    purified = pipe[:-1].transform(X_train)
    right = np.mean(purified.labels == y_train)
    print(f"{name:34} {right:12.3f} {pipe.score(X_test, y_test):15.3f}")

# %%
# Is cleaning worth it? The cleaner's own estimate, without any true label.

print(pipe["clean"].audit())

# %%
# The thresholds of REED's pipeline, cross-validated. Scoring uses the noisy labels of the held-out
# rows: noise lowers every score alike, so their order still tells which threshold is best.

reed = Pipeline(
    [
        *pipelines["GMMCleaner, CredibilityRelabeler"],
        ("classify", PurifiedClassifier(classifier)),
    ]
)
search = GridSearchCV(reed, {"clean__threshold": [0.3, 0.5, 0.7]}, cv=3).fit(X_train, y_noisy)
print("best threshold:", search.best_params_["clean__threshold"])
print(f"test accuracy: {search.score(X_test, y_test):.3f}")
